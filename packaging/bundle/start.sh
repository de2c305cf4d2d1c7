#!/bin/sh
# Starts the program of an unpacked archive by whose name this was called: it tells Open MPI, which looks for its parts where it was built,
# where they are now, and finds cuBLAS on this machine.
#
#   FEDBPT_CUBLAS=FOLDER    where libcublasLt.so is, if it is not found

here=$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")
name=$(basename -- "$0")
program=$here/libexec/$name

export OPAL_PREFIX="$here" OPAL_BINDIR="$here/libexec" OPAL_LIBDIR="$here/lib" OPAL_PKGDATADIR="$here/share/openmpi"
export OPAL_SYSCONFDIR="$here/share/openmpi"
export OMPI_MCA_mca_base_component_path="$here/lib/openmpi" PMIX_MCA_mca_base_component_path="$here/lib/pmix"
export HWLOC_PLUGINS_PATH="$here/lib/none"
export OMPI_MCA_plm_rsh_agent="${OMPI_MCA_plm_rsh_agent:-sh}" # a machine without ssh would be refused before anything starts

# Prints the first of the folders that has the file.
folder_with() {
    file=$1
    shift
    for folder in "$@"; do
        if [ -e "$folder/$file" ]; then
            echo "$folder"
            return
        fi
    done
    return 1
}

# In a toolkit, among what the loader knows, or in the packages that come with PyTorch.
find_cublas() {
    folder_with "$1" "$FEDBPT_CUBLAS" "$CUDA_HOME/lib64" /usr/local/cuda/lib64 /usr/local/cuda-*/lib64 && return
    known=$(ldconfig -p 2>/dev/null | sed -n "s|.*$1 .*=> ||p" | head -n 1)
    [ -z "$known" ] || { dirname -- "$known" && return; }
    packages=$(python3 -c 'import sys; print("\n".join(sys.path))' 2>/dev/null)
    for place in $packages; do
        folder_with "$1" "$place"/nvidia/cu*/lib "$place"/nvidia/cublas/lib && return
    done
    return 1
}

cublas=$(sed -n 's/^cublas //p' "$here/needs" 2>/dev/null)
if [ -n "$cublas" ] && [ "$name" != mpirun ]; then
    if ! folder=$(find_cublas "$cublas"); then
        echo "error: $cublas is not on this machine: it comes with a CUDA toolkit or PyTorch of that release; FEDBPT_CUBLAS=FOLDER names it" >&2
        exit 77
    fi
    LD_LIBRARY_PATH="$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    export LD_LIBRARY_PATH
fi
exec "$program" "$@"
