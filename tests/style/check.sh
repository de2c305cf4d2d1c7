#!/usr/bin/env bash
# Checks how the sources are written.
#
#   bash tests/style/check.sh            all checks
#   bash tests/style/check.sh TOOL...    clang-format, shellcheck, ruff
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
    sources '*.c' '*.h' '*.cc' | # not CUDA: version 14 takes a launch's <<< apart
         xargs clang-format --dry-run -Werror
}

check_shellcheck() {
    command -v shellcheck >/dev/null || skip "there is no shellcheck; jobs/setup.sh --tests installs it"
    sources '*.sh' '*.sbatch' .ci/run | xargs shellcheck --external-sources
}

check_ruff() {
    [ -x .venv/bin/ruff ] || skip "there is no ruff in .venv; jobs/setup.sh --tests installs it"
    .venv/bin/ruff check --no-cache analysis jobs packaging tests
}

[ $# -gt 0 ] || set -- clang-format shellcheck ruff
for tool in "$@"; do
    "check_${tool//-/_}"
done
