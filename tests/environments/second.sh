#!/usr/bin/env bash
# Builds and tests with other compilers and libraries than Debian's defaults: oneDNN 3, Open MPI 5 and MPICH 5, from the Python
# package index, Clang and GCC. Called by tests/run.sh; after bash jobs/setup.sh --tests it can be called alone.
#
#   bash tests/environments/second.sh                both
#   bash tests/environments/second.sh openmpi5       Clang with Open MPI 5: unit, conformance and MPI tests
#   bash tests/environments/second.sh mpich5         GCC with MPICH 5: builds everything, MPI tests of one and two ranks
#
# A single test: ctest --preset openmpi5 -R NAME. Two minutes for both on two cores.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."

requirements=tests/environments/requirements.txt

# Installs the packages whose names match a pattern below a folder of their own, which the preset of that name looks into first.
install() {
    local folder="build/prefix/$1" wanted packages
    wanted="$(sha256sum < "$requirements") $(sed -n 1p .venv/pyvenv.cfg)"
    if [ "$(cat "$folder/installed" 2>/dev/null)" = "$wanted" ]; then
        return 0
    fi
    mapfile -t packages < <(sed -nE "s/^(($2)[a-z-]*==[0-9.]+).*/\1/p" "$requirements")
    echo "$1: installing ${packages[*]}"
    rm -rf "$folder"
    if ! .venv/bin/python -m pip install --quiet --no-deps --ignore-installed --no-cache-dir --disable-pip-version-check \
        --prefix "$folder" "${packages[@]}"; then
        echo "error: could not install them; see the message above (is the package index reachable?)" >&2
        return 1
    fi
    echo "$wanted" > "$folder/installed"
}

build() {
    cmake --preset "$1" && cmake --build --preset "$1"
}

# Open MPI stays out of the way of ranks that wait: more ranks than processors are quick with it.
openmpi5() {
    install openmpi5 'onednn|openmpi'
    build openmpi5
    ctest --preset openmpi5 --parallel "$(($(nproc) + 1))" --label-regex '^(unit|conformance|mpi)$' --label-exclude '^long$'
}

# MPICH's ranks poll while they wait.
mpich5() {
    install mpich5 'onednn|mpich'
    build mpich5
    ctest --preset mpich5 --label-regex '^mpi$' --tests-regex '_(n1|n2|alone)$'
}

[ $# -gt 0 ] || set -- openmpi5 mpich5
for environment in "$@"; do
    case "$environment" in
        openmpi5 | mpich5) "$environment" ;;
        *)
            echo "usage: bash tests/environments/second.sh [openmpi5] [mpich5]" >&2
            exit 2
            ;;
    esac
done
