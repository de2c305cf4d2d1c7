#!/usr/bin/env bash
# Installs what the tests need, a CUDA toolkit where the machine has none, builds debug (sanitizers, warnings as errors, an
# emulated CUDA device) and release, runs every test of both, measures what of the CUDA kernels the tests run, and fuzzes what reads
# files, a minute a target.
# Usage: bash tests/run.sh
set -euo pipefail

# shellcheck source=jobs/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/../jobs/setup.sh"
cd "$FBT_ROOT"

fbt_local_caches
fbt_install_packages build cuda tests
fbt_make_venv
fbt_cuda_toolkit
fbt_nvdisasm

fbt_stage_quickstart # for the tests that run on real weights and text

failed=0
for preset in debug release; do
    printf '\n== %s\n' "$preset"
    cmake --preset "$preset" -DBUILD_TESTING=ON -DFBT_WARNINGS_ARE_ERRORS=ON
    cmake --build --preset "$preset"
    ctest --preset "$preset" || failed=1
done

printf '\n== coverage of the CUDA kernels\n'
bash tests/cuda/coverage.sh || failed=1

printf '\n== fuzzing\n'
bash tests/fuzz/run.sh --seconds 60 || failed=1
exit "$failed"
