# shellcheck shell=bash
# A CUDA toolkit: the machine's own where it is recent enough, else NVIDIA's Python packages in .venv. Sourced by jobs/setup.sh.
#
#   fbt_cuda_toolkit    finds or installs it; exports CUDA_HOME, CUDACXX and CUDAToolkit_ROOT, from which CMake takes it
#   fbt_nvdisasm        finds or installs the disassembler, which the tests read kernels with
#
# FBT_CUDA_PACKAGES=1 takes the packages whatever the machine has.

FBT_CUDA_OLDEST=12.8 # the first release that compiles for compute capability 10.0
FBT_CUDA_USUAL=/usr/local/cuda

# The toolkit that an nvcc belongs to: what it says itself, because PATH may hold a link or a wrapper.
fbt_cuda_home_of() {
    local top
    top="$("$1" --dryrun -x cu -c /dev/null -o /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')"
    [ -n "$top" ] && (cd "$top" 2>/dev/null && pwd -P)
}

fbt_cuda_release() {
    "$1/bin/nvcc" --version 2>/dev/null | sed -nE 's/.*release ([0-9]+\.[0-9]+),.*/\1/p'
}

# The first file among a toolkit's usual places for headers and libraries.
fbt_cuda_file() {
    local folder
    for folder in "$1" "$1"/targets/*; do
        compgen -G "$folder/$2" && return
    done
    return 1
}

# Why a toolkit is not good enough, in words; nothing if it is.
fbt_cuda_lacks() {
    local release header
    release="$(fbt_cuda_release "$1")"
    if [ -z "$release" ]; then
        echo "its nvcc does not run"
    elif [ "$(printf '%s\n' "$FBT_CUDA_OLDEST" "$release" | sort -V | head -n 1)" != "$FBT_CUDA_OLDEST" ]; then
        echo "it is CUDA $release, and at least $FBT_CUDA_OLDEST is needed"
    fi
    for header in cuda_runtime.h cublasLt.h; do
        fbt_cuda_file "$1" "include/$header" >/dev/null || echo "it has no $header"
    done
    fbt_cuda_file "$1" "lib*/libcublasLt.so" >/dev/null || echo "it has no libcublasLt.so"
}

# Prints the machine's own toolkit, if one is good enough; says on stderr why others are not.
fbt_cuda_of_machine() {
    local nvcc home lacks
    [ -z "${FBT_CUDA_PACKAGES:-}" ] || return 1
    for nvcc in "$(command -v nvcc)" "${CUDA_HOME:-/nowhere}/bin/nvcc" "$FBT_CUDA_USUAL/bin/nvcc"; do
        if [ ! -x "$nvcc" ] || ! home="$(fbt_cuda_home_of "$nvcc")"; then
            continue
        fi
        lacks="$(fbt_cuda_lacks "$home")"
        if [ -z "$lacks" ]; then
            echo "$home"
            return 0
        fi
        echo "cuda: the toolkit at $home is left aside: $(echo "$lacks" | paste -sd ';' | sed 's/;/; /g')" >&2
    done
    return 1
}

# Installs those of jobs/requirements-cuda.txt whose names match a pattern; .venv/cuda then leads to them.
fbt_cuda_install() {
    local venv="$FBT_ROOT/.venv" packages folder
    mapfile -t packages < <(grep -E "^($1)==" "$FBT_ROOT/jobs/requirements-cuda.txt")
    echo "cuda: installing ${packages[*]}"
    if ! "$venv/bin/python" -m pip install --quiet --no-deps --no-cache-dir --disable-pip-version-check "${packages[@]}"; then
        echo "error: could not install CUDA packages; see the message above (is the package index reachable?)" >&2
        return 1
    fi
    folder="$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/nvidia/cu13"
    ln -sfn "$folder" "$venv/cuda"
}

# Names that linkers look for and the packages leave out: lib64, and lib*.so beside lib*.so.13.
fbt_cuda_link_names() {
    local library
    ln -sfn lib "$1/lib64"
    for library in "$1"/lib/lib*.so.*; do
        ln -sf "$(basename "$library")" "${library%.so.*}.so"
    done
}

# Installs the packages unless what is in .venv was made from the same list.
fbt_cuda_of_packages() {
    local venv="$FBT_ROOT/.venv" wanted
    wanted="$(sha256sum < "$FBT_ROOT/jobs/requirements-cuda.txt")"
    if [ "$(cat "$venv/cuda/requirements.sha256" 2>/dev/null)" = "$wanted" ] && [ -z "$(fbt_cuda_lacks "$venv/cuda")" ]; then
        return 0
    fi
    fbt_cuda_install '[a-z-]+' && fbt_cuda_link_names "$venv/cuda" && echo "$wanted" > "$venv/cuda/requirements.sha256"
}

fbt_cuda_toolkit() {
    local home lacks
    if ! home="$(fbt_cuda_of_machine)"; then
        fbt_make_venv && fbt_cuda_of_packages || return
        home="$FBT_ROOT/.venv/cuda"
        lacks="$(fbt_cuda_lacks "$home")"
        if [ -n "$lacks" ]; then
            echo "error: the CUDA packages in $home do not work: $lacks" >&2
            return 1
        fi
    fi
    export CUDA_HOME="$home" CUDAToolkit_ROOT="$home" CUDACXX="$home/bin/nvcc"
    echo "cuda: toolkit $(fbt_cuda_release "$home") at $home"
}

# Call after fbt_cuda_toolkit.
fbt_nvdisasm() {
    local tool
    for tool in "$CUDA_HOME/bin/nvdisasm" "$FBT_ROOT/.venv/cuda/bin/nvdisasm" "$(command -v nvdisasm)"; do
        if [ -x "$tool" ]; then
            echo "cuda: nvdisasm at $tool"
            return 0
        fi
    done
    fbt_make_venv && fbt_cuda_install nvidia-cuda-nvdisasm
}
