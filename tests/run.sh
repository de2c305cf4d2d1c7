#!/usr/bin/env bash
# Installs what the tests need, builds, and runs them.
#
#   bash tests/run.sh            every test: builds debug (sanitizers, warnings as errors, an emulated CUDA device) and release, runs the
#                                tests of both, builds and tests in a second environment (other compilers, MPI and oneDNN), measures
#                                what of the CUDA kernels the tests run, and fuzzes what reads files, a minute a target; installs a
#                                CUDA toolkit where the machine has none, and stages in SmolLM2-135M. Up to an hour on two cores.
#   bash tests/run.sh --quick    release alone: unit, conformance and golden tests and a federated run. Two minutes, once it is built.
#   bash tests/run.sh --help     prints this
#
# A single test: cmake --build --preset release && ctest --preset release -R NAME (ctest --preset release -N lists them).
# Exit code 0: all passed.
set -euo pipefail

# shellcheck source=jobs/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/../jobs/setup.sh"
cd "$FBT_ROOT"

# One more than there are cores: many tests wait now and then, for a signal's effect or for SLURM.
n_at_once=$(($(nproc) + 1))
failed=0
times=()

# Runs a step, told with a headline, and notes how long it took; a step that fails does not stop those after it.
stage() {
    local name="$1" start="$SECONDS"
    shift
    printf '\n== %s\n' "$name"
    "$@" || failed=1
    times+=("$name $((SECONDS - start)) s")
}

set_up() {
    fbt_local_caches
    fbt_install_packages build "$@"
    fbt_make_venv
    fbt_stage_quickstart # for the tests that run on real weights and text
}

# shellcheck disable=SC2317  # stage calls it
build() {
    if ! { cmake --preset "$1" -DBUILD_TESTING=ON -DFBT_WARNINGS_ARE_ERRORS=ON && cmake --build --preset "$1"; }; then
        echo "error: the build failed; see above" >&2
        exit 1
    fi
}

# shellcheck disable=SC2317  # stage calls it
run_tests() {
    ctest --preset "$1" --parallel "$n_at_once" "${@:2}"
}

everything() {
    set_up cuda bundle tests
    fbt_cuda_toolkit
    fbt_nvdisasm
    "$FBT_WORK/.venv/bin/python" jobs/prepare_model.py smollm2 --output "$FBT_WORK/models/smollm2-135m" # for test_model_smollm2
    for preset in debug release; do
        stage "$preset: build" build "$preset"
        stage "$preset: tests" run_tests "$preset"
    done
    stage "second environment: oneDNN 3, Open MPI 5, MPICH 5, Clang" bash tests/environments/second.sh
    stage "coverage of the CUDA kernels" bash tests/cuda/coverage.sh
    stage "fuzzing" bash tests/fuzz/run.sh --seconds 60
}

quick() {
    set_up tests
    stage "release: build" build release
    stage "release: unit, conformance and golden tests" run_tests release --label-regex '^(unit|conformance|golden)$' --label-exclude '^long$'
    stage "release: a federated run" run_tests release --tests-regex '^cli_packaged$'
}

case "$*" in
    "") everything ;;
    --quick) quick ;;
    --help | -h)
        sed -nE '2,/^set -euo/{s/^# ?//p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    *)
        echo "error: '$*' is not expected; bash tests/run.sh --help says what is" >&2
        exit 2
        ;;
esac

printf '\n%s\n' "$([ "$failed" -eq 0 ] && echo "all passed" || echo "SOME FAILED, see above")"
printf '  %s\n' "${times[@]}"
exit "$failed"
