#!/usr/bin/env bash
# Fuzzes what reads files, with sanitizers: builds the preset fuzz and gives each target inputs for a time, as many targets at once as
# there are cores. What is new in an input's path through the program is kept in build/fuzz/corpus, an input that fails in
# build/fuzz/findings: mend the fault and add the input to tests/fuzz/corpus/TARGET, which every build's tests replay.
#
#   bash tests/fuzz/run.sh                               60 s for every target
#   bash tests/fuzz/run.sh --seconds 600 settings sweep  10 minutes for two of them
#   bash tests/fuzz/run.sh --runs 1000000 claim          so many inputs
#   build/fuzz/bin/fuzz_claim build/fuzz/findings/claim/crash-...    one input again
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
here=tests/fuzz build=build/fuzz limit=(-max_total_time=60) targets=()

usage() {
    echo "usage: bash tests/fuzz/run.sh [--seconds N | --runs N] [$(known | tr '\n' ' ' | sed 's/ $//; s/ / | /g')]..." >&2
    exit 2
}

known() {
    for file in "$here"/fuzz_*.c; do
        basename "$file" .c | sed 's/^fuzz_//'
    done
}

while [ "$#" -gt 0 ]; do
    case "$1" in
        --seconds | --runs)
            [[ "${2:-}" =~ ^[1-9][0-9]*$ ]] || usage
            if [ "$1" = --runs ]; then limit=("-runs=$2"); else limit=("-max_total_time=$2"); fi
            shift 2
            ;;
        *)
            [[ "$1" != */* && -f "$here/fuzz_$1.c" ]] || usage
            targets+=("$1")
            shift
            ;;
    esac
done
if [ "${#targets[@]}" -eq 0 ]; then
    mapfile -t targets < <(known)
fi

# One target, with files in memory where there is room for them. Its own folder is removed after a crash too.
fuzz() {
    local target="$1" log="$build/findings/$1.log" options=() files status
    files="$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo /tmp)/fbt_fuzz.XXXXXX")" || return
    mkdir -p "$build/corpus/$target" "$build/findings/$target"
    case "$target" in
        dataset | run_file) options=(-max_len=96 -len_control=0 -detect_leaks=0) ;; # HDF5 keeps memory from call to call
        assignment) options=(-max_len=512) ;;
        *) options=(-max_len=4096) ;;
    esac
    [ ! -f "$here/dictionary/$target.dict" ] || options+=("-dict=$here/dictionary/$target.dict")
    TMPDIR="$files" ASAN_OPTIONS=allocator_may_return_null=1:malloc_context_size=8:quarantine_size_mb=16 \
        LSAN_OPTIONS="suppressions=$PWD/tests/lsan.supp" \
        "$build/bin/fuzz_$target" "${limit[@]}" "${options[@]}" -timeout=60 -rss_limit_mb=2048 \
        -artifact_prefix="$build/findings/$target/" "$build/corpus/$target" "$here/corpus/$target" >"$log" 2>&1
    status=$?
    rm -rf "$files"
    if [ "$status" -eq 0 ]; then
        echo "fuzz_$target: $(sed -n 's/^Done \([0-9]*\) runs in \([0-9]*\) second.*/\1 inputs in \2 s, nothing found/p' "$log")"
    else
        echo "fuzz_$target: FAILED"
        grep -aE 'does not hold|last explanation|runtime error|ERROR|SUMMARY|Test unit written' "$log" | sed 's/^/    /'
        echo "    log: $log"
    fi
    return "$status"
}

mkdir -p build
{ cmake --preset fuzz && cmake --build --preset fuzz; } >"$build.log" 2>&1 || {
    tail -n 30 "$build.log"
    echo "error: the fuzz targets cannot be built, see $build.log; bash jobs/setup.sh --tests installs what they need" >&2
    exit 1
}
mkdir -p "$build/findings"
echo "fuzzing ${#targets[@]} targets, $(nproc) at once"
failed=0 running=0
for target in "${targets[@]}"; do
    if [ "$running" -ge "$(nproc)" ]; then
        wait -n || failed=1
        running=$((running - 1))
    fi
    fuzz "$target" &
    running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
done
[ "$failed" -eq 0 ] || echo "fuzzing FAILED: an input that fails lies beside each 'Test unit written to' above"
exit "$failed"
