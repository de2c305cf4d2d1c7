# shellcheck shell=bash
# Enters the project's folder, the one above this file, from wherever the job was submitted. Sourced by the job scripts, without
# arguments: their own that name something in the folder left behind go on naming it; other relative paths are the project's.
# An installed copy (PREFIX/share/fedbpt) is nobody's to write in: its jobs stay where they were submitted, and their arguments that
# are there only in the copy (configs/...) name that.

FBT_ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
FBT_PROGRAM="$FBT_ROOT/build/release/bin/fedbpt" # the program, unless the site's file says otherwise

if [ -x "$FBT_ROOT/bin/fedbpt" ]; then
    # shellcheck disable=SC2034  # for the site's file
    FBT_PROGRAM="$FBT_ROOT/bin/fedbpt"
    fbt_arguments=()
    for fbt_argument in "$@"; do
        if [ ! -e "$fbt_argument" ] && [ -f "$FBT_ROOT/$fbt_argument" ]; then
            fbt_argument="$FBT_ROOT/$fbt_argument"
        fi
        fbt_arguments+=("$fbt_argument")
    done
    set -- ${fbt_arguments[@]+"${fbt_arguments[@]}"}
elif [ "$(pwd -P)" != "$(cd -- "$FBT_ROOT" && pwd -P)" ]; then
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
