#!/usr/bin/env bash
# Checks how the sources are written.
#
#   bash tests/style/check.sh            all checks
#   bash tests/style/check.sh TOOL...    clang-format, shellcheck, ruff, cppcheck, clang-tidy
#
# clang-tidy reads build/release/compile_commands.json (FBT_BUILD: another build's folder): configure first. A minute and a half on two
# cores, so that it is left out of "all checks"; the tests run it.
#
# Exit code 77: the tool is missing, or is of another version than the one that the sources are written for.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."

skip() {
    echo "skipped: $1"
    exit 77
}

# Files under version control whose names match the given patterns.
sources() {
    git ls-files -- "$@"
}

check_clang_format() {
    command -v clang-format >/dev/null || skip "there is no clang-format; jobs/setup.sh --tests installs it"
    # Versions differ in details: one decides. CUDA sources are left out: it takes a launch's <<< apart.
    clang-format --version | grep -q ' version 14\.' || skip "$(clang-format --version) is not version 14"
    sources '*.c' '*.h' '*.cc' | xargs clang-format --dry-run -Werror
}

check_shellcheck() {
    command -v shellcheck >/dev/null || skip "there is no shellcheck; jobs/setup.sh --tests installs it"
    sources '*.sh' '*.sbatch' .ci/run | xargs shellcheck --external-sources
}

check_ruff() {
    [ -x .venv/bin/ruff ] || skip "there is no ruff in .venv; jobs/setup.sh --tests installs it"
    .venv/bin/ruff check --no-cache analysis jobs packaging tests
}

# Findings that are none are named in cppcheck.txt, each with its reason; what is there without a finding is told as well.
check_cppcheck() {
    command -v cppcheck >/dev/null || skip "there is no cppcheck; jobs/setup.sh --tests installs it"
    cppcheck --version | grep -q ' 2\.10' || skip "$(cppcheck --version) is not version 2.10"
    sources 'src/*.c' 'kernels/*.c' | grep -v '^kernels/cuda/' |
        xargs cppcheck --quiet --error-exitcode=1 --std=c11 --library=posix,gnu --enable=warning,performance,portability \
            -I src -I . -D_GNU_SOURCE -DFBT_X86 -DFBT_ISA=plain --suppressions-list=tests/style/cppcheck.txt \
            --suppress=missingIncludeSystem --template='{file}:{line}: {severity} [{id}] {message}'
}

check_clang_tidy() {
    local build="${FBT_BUILD:-build/release}"
    command -v clang-tidy-14 >/dev/null || skip "there is no clang-tidy-14; jobs/setup.sh --tests installs it"
    [ -f "$build/compile_commands.json" ] || skip "$build is not configured"
    .venv/bin/python tests/style/clang_tidy.py "$build"
}

[ $# -gt 0 ] || set -- clang-format shellcheck ruff cppcheck
for tool in "$@"; do
    "check_${tool//-/_}"
done
