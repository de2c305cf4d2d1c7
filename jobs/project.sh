# shellcheck shell=bash
# Enters the project's folder, the one above this file, from wherever the job was submitted. Sourced by the job scripts, without
# arguments: their own that name something in the folder left behind go on naming it; other relative paths are the project's.

FBT_ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"

if [ "$(pwd -P)" != "$(cd -- "$FBT_ROOT" && pwd -P)" ]; then
    fbt_arguments=()
    for fbt_argument in "$@"; do
        case "$fbt_argument" in
            "" | /* | -*) ;;
            *) [ ! -e "$fbt_argument" ] || fbt_argument="$PWD/$fbt_argument" ;;
        esac
        fbt_arguments+=("$fbt_argument")
    done
    set -- ${fbt_arguments[@]+"${fbt_arguments[@]}"}
    if [ -n "${FEDBPT_SITE:-}" ] && [ -f "$FEDBPT_SITE" ]; then
        FEDBPT_SITE="$(realpath -- "$FEDBPT_SITE")"
    fi
    echo "job: submitted from $PWD, runs in $FBT_ROOT: relative paths in settings are taken from there"
    cd -- "$FBT_ROOT" || exit
fi
