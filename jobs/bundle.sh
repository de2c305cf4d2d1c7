#!/usr/bin/env bash
# Packs the program, and all libraries that it needs but the C library, into one archive for machines without packages or network:
# unpack it anywhere and run bin/fedbpt. Beside it: mpirun, the conformance suite, settings, and a model and data if they are named.
#
#   bash jobs/bundle.sh                                     builds the preset release and packs it
#   bash jobs/bundle.sh --cuda                              with the CUDA backend; cuBLAS is taken from the machine that it runs on
#   bash jobs/bundle.sh --model models/all-MiniLM-L6-v2 --data datasets/bbc-headlines.h5
#                                                           with these; weights are rounded to bfloat16, for half the size
#   bash jobs/bundle.sh --cut ...                           and the models' vocabularies cut to what the data use, as NAME-cut: to
#                                                           compare backends alone
#   bash jobs/bundle.sh --build build/release               packs what is built there already
#   bash jobs/bundle.sh --output FOLDER                     puts the archive there instead of build/bundle
#
# Makes fedbpt-VERSION-linux-x86_64[-cuda].tar.xz. The machine needs a C library at least as new as this one's (getconf
# GNU_LIBC_VERSION), and for a device a driver and cuBLAS of the same CUDA (a toolkit, or PyTorch's Python packages).
set -euo pipefail

# shellcheck source=jobs/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$FBT_ROOT"

# Of these the machine has its own, that fit each other (the C library, a device's driver) or are too large (cuBLAS).
NOT_PACKED='^(ld-linux-x86-64|lib(c|m|mvec|dl|rt|pthread|resolv|util|anl|nss_[a-z]+|cuda|nvidia-ml|cublas|cublasLt))\.so'
FABRICS='lib(ucp|fabric|psm2|psm_infinipath|ibverbs|oshmem)\.so'
PROGRAMS=(fedbpt conformance)
KERNEL_TESTS=(test_row_kernels test_attention_kernels)
MPI_PROGRAMS=(mpirun orted)

build="" preset=release cut="" output=build/bundle models=() data=()
# The folder that is being packed, which has the archive's own name.
folder=""
libraries=() lapack=""

fail() {
    echo "error: $1" >&2
    exit 2
}

usage() {
    sed -nE '2,/^set -euo/{/^set/d;s/^# ?//p}' "${BASH_SOURCE[0]}"
}

read_arguments() {
    while [ $# -gt 0 ]; do
        case "$1" in
            --cuda) preset=cuda ;;
            --cut) cut=-cut ;;
            --build | --model | --data | --output)
                [ $# -gt 1 ] || fail "$1 needs a path; bash jobs/bundle.sh --help has examples"
                [ -e "$2" ] || fail "$1: $2 is not there"
                case "$1" in
                    --build) build="$2" ;;
                    --output) output="$2" ;;
                    --model) models+=("$2") ;;
                    --data) data+=("$2") ;;
                esac
                shift
                ;;
            --help | -h)
                usage
                exit 0
                ;;
            *) fail "'$1' is not expected; bash jobs/bundle.sh --help says what is" ;;
        esac
        shift
    done
}

# In a folder of its own: the preset's may be configured without tests.
build_programs() {
    local targets=("${PROGRAMS[@]}")
    build="build/bundle/$preset"
    cmake --preset "$preset" -B "$build" -DBUILD_TESTING=ON
    [ "$preset" != cuda ] || targets+=("${KERNEL_TESTS[@]}")
    cmake --build "$build" --target "${targets[@]}"
}

# Libraries that files load when they are started, with their dependencies, one path a line. Of a name that stands twice, the first.
needs_of() {
    ldd "$@" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
        awk -F/ -v not_packed="$NOT_PACKED" '$NF !~ not_packed && !seen[$NF]++'
}

# Open MPI's own folder for a kind of file, as it was built.
mpi_folder() {
    ompi_info --path "$1" --parsable | cut -d : -f 3
}

# Components, which libraries load by name at run time, to lib/NAME.
copy_components() {
    local to="$folder/lib/$1"
    shift
    mkdir -p "$to"
    cp -L "$@" "$to"
}

# Open MPI's components but those for fabrics, whose libraries load drivers that differ from machine to machine: messages, which are
# small, go by shared memory and TCP. PMIx has components of its own, beside its library, unless it is built into Open MPI.
copy_mpi() {
    local component library
    for component in "$(mpi_folder pkglibdir)"/*.so; do
        ldd "$component" | grep -qE "$FABRICS" || copy_components openmpi "$component"
    done
    library="$(needs_of "$folder"/lib/openmpi/*.so | grep '/libpmix\.so')" || return 0
    copy_components pmix "$(dirname "$(realpath "$library")")/pmix"/*.so
}

# Programs to libexec/, components and libraries to lib/.
copy_binaries() {
    local program library
    for program in "${PROGRAMS[@]}"; do
        cp "$build/bin/$program" "$folder/libexec/"
    done
    for program in "${MPI_PROGRAMS[@]}"; do
        cp -L "$(mpi_folder bindir)/$program" "$folder/libexec/"
    done
    copy_mpi
    lapack="$(strings -a "$build/bin/fedbpt" | grep -E '^/.*/liblapacke[^/]*\.so' | sed -n 1p)" || fail "$build/bin/fedbpt names no LAPACK to load"
    mapfile -t libraries < <(needs_of "$folder"/libexec/* "$folder"/lib/*/*.so "$lapack")
    for library in "${libraries[@]}"; do
        cp -L "$library" "$folder/lib/"
    done
    cp -L "$lapack" "$folder/lib/liblapacke.so.3"
}

# So that each finds the others wherever the folder lies, also under a profiler, whose own libraries a variable would replace.
# shellcheck disable=SC2016  # the loader replaces it
set_run_paths() {
    local file
    strip --strip-unneeded "$folder"/lib/*.so* "$folder"/lib/*/*.so "$folder"/libexec/*
    for file in "$folder"/lib/*.so*; do
        patchelf --set-rpath '$ORIGIN' "$file"
    done
    for file in "$folder"/lib/*/*.so; do
        patchelf --set-rpath '$ORIGIN/..' "$file"
    done
    for file in "$folder"/libexec/*; do
        patchelf --set-rpath '$ORIGIN/../lib' "$file"
    done
}

# The licence of the package that a file belongs to. Packages name files as they did before /lib became a link, or after.
copy_licence() {
    local file package
    file="$(realpath "$1")"
    [[ "$file" != */libcudart.so* ]] || return 0 # of a toolkit, not of a package; third-party-licences.md names its licence
    package="$({ dpkg-query -S "$file" "${file#/usr}" 2>/dev/null || true; } | sed -n '1s/:.*//p')"
    cp "/usr/share/doc/${package:-$file}/copyright" "$folder/licences/$package.txt" || fail "$file: no licence of it is found"
}

copy_texts() {
    local file
    mkdir -p "$folder/share/openmpi" "$folder/licences"
    cp "$(mpi_folder pkgdatadir)"/*.txt "$folder/share/openmpi/"
    cp -r configs "$folder/"
    cp LICENSE packaging/third-party-licences.md "$folder/licences/"
    for file in "${libraries[@]}" "$lapack" "$(mpi_folder bindir)/mpirun"; do
        copy_licence "$file"
    done
    sed "s/@VERSION@/$version/; s/@LIBC@/$(getconf GNU_LIBC_VERSION)/" packaging/bundle/README > "$folder/README"
}

# Starts of the programs: one file by several names.
make_starts() {
    local program
    install -m 755 packaging/bundle/start.sh "$folder/libexec/start"
    for program in "${PROGRAMS[@]}" mpirun; do
        ln -s ../libexec/start "$folder/bin/$program"
    done
}

copy_inputs() {
    local model file change=(--bf16)
    [ -z "$cut" ] || change+=(--cut-to "${data[@]}")
    mkdir "$folder/models" "$folder/datasets"
    for model in ${models[@]+"${models[@]}"}; do
        .venv/bin/python jobs/prepare_model.py "$model" "${change[@]}" --output "$folder/models/$(basename "$model")$cut"
    done
    for file in ${data[@]+"${data[@]}"}; do
        cp "$file" "$folder/datasets/"
    done
}

# Two streams, which tar and Python's tarfile read as one: programs, and what comes behind them in the archive, mostly weights of 16 bits.
pack() {
    local tar="$scratch/archive.tar" first
    local parts=(README bin configs lib libexec licences share)
    [ -z "$cublas" ] || parts+=(needs)
    echo "bundle: packing $(du -sh "$folder" | cut -f 1)" >&2
    tar -C "$scratch" --owner=0 --group=0 --format=ustar -b 1 -cf "$tar" "${parts[@]/#/$name/}"
    first="$(($(stat -c %s "$tar") - 1024))" # without the two empty blocks at its end
    tar -C "$scratch" --owner=0 --group=0 --format=ustar -b 1 -rf "$tar" "$name"/{models,datasets}
    { head -c "$first" "$tar" | xz -T0 --x86 --lzma2=preset=6 && tail -c "+$((first + 1))" "$tar" | xz -T0 --lzma2=preset=6,lp=1,pb=1; } \
        > "$archive.part"
    mv "$archive.part" "$archive"
}

read_arguments "$@"
[ -z "$cut" ] || [ "${#data[@]}" -gt 0 ] || fail "--cut goes by the data that --data names"
mkdir -p build/bundle
fbt_install_packages build bundle >&2
[ -n "$build" ] || build_programs >&2
cublas="$(ldd "$build/bin/fedbpt" | awk '$1 ~ /^libcublasLt/ { print $1 }')"
for name in "${KERNEL_TESTS[@]}"; do
    [ ! -x "$build/bin/$name" ] || PROGRAMS+=("$name")
done
version="$("$build/bin/fedbpt" --version | head -n 1 | awk '{ print $2 }')"
name="fedbpt-$version-linux-x86_64${cublas:+-cuda}"
archive="$output/$name.tar.xz"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
folder="$scratch/$name"
mkdir -p "$folder"/{bin,lib,libexec}
copy_binaries
set_run_paths
copy_texts
make_starts
copy_inputs
[ -z "$cublas" ] || echo "cublas $cublas" > "$folder/needs"
pack
echo "bundle: $(du -h "$archive" | cut -f 1) in $archive"
