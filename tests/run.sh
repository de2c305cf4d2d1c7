#!/usr/bin/env bash
# Installs what the tests need, builds debug (sanitizers, warnings as errors) and release, and runs every test of both.
# Usage: bash tests/run.sh
set -euo pipefail

# shellcheck source=jobs/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/../jobs/setup.sh"
cd "$FBT_ROOT"

fbt_local_caches
fbt_install_packages build tests
fbt_make_venv

fbt_stage_quickstart # for the tests that run on real weights and text

failed=0
for preset in debug release; do
    printf '\n== %s\n' "$preset"
    cmake --preset "$preset" -DBUILD_TESTING=ON -DFBT_WARNINGS_ARE_ERRORS=ON
    cmake --build --preset "$preset"
    ctest --preset "$preset" || failed=1
done
exit "$failed"
