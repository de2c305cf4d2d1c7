#!/usr/bin/env bash
# How much of the CUDA kernels' code their own tests run: builds those for the emulated device with gcov's counters, runs them,
# prints the share of each file's lines, and fails where it is below 95 % of all. Needs what jobs/setup.sh --tests installs.
# Usage: bash tests/cuda/coverage.sh    The report is build/coverage/kernels.txt.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=build/coverage
least=95
tests=(test_row_kernels test_attention_kernels)

# Counters go into C++ alone, kernels and emulation; threads share them.
cmake -S . -B "$build" -G Ninja -DFBT_CUDA=EMULATED -DBUILD_TESTING=ON -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG="-O1" \
    -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g --coverage -fprofile-abs-path -fprofile-update=atomic"
cmake --build "$build" --target "${tests[@]}"
find "$build" -name '*.gcda' -delete
for name in "${tests[@]}"; do
    "$build/bin/$name"
done
status=0
gcovr --root . --filter 'kernels/cuda/[a-z0-9_]+\.cuh?$' --fail-under-line "$least" --output "$build/kernels.txt" "$build" || status=$?
cat "$build/kernels.txt"
exit "$status"
