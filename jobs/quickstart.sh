#!/usr/bin/env bash
# From a fresh checkout to a finished federated run and its report: installs, builds, stages in a model and a corpus, runs, reports.
# Usage: bash jobs/quickstart.sh    What is already there is used again. Nothing outside the checkout changes but Debian packages.
set -euo pipefail

# shellcheck source=jobs/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$FBT_ROOT"

run=runs/quickstart.h5

step() { printf '\n== %s\n' "$1"; }

install() {
    step "1/5 packages and Python environment"
    fbt_local_caches
    fbt_install_packages build
    fbt_make_venv
}

build() {
    step "2/5 build: build/release/bin/fedbpt"
    mkdir -p build
    if ! { cmake --preset release -DBUILD_TESTING=OFF && cmake --build --preset release; } > build/quickstart.log 2>&1; then
        tail -n 30 build/quickstart.log >&2
        echo "error: the build failed; the whole log is build/quickstart.log" >&2
        exit 1
    fi
}

federate() {
    step "4/5 federated run: 10 clients, 24 rounds"
    mkdir -p runs
    fbt_mpirun build/release/bin/fedbpt run configs/quickstart.yaml --set run.output="$run" --set run.overwrite=true
}

install
build
step "3/5 model and corpus"
fbt_stage_quickstart
federate
step "5/5 report: open runs/quickstart.html in a browser"
.venv/bin/fedbpt-analysis report "$run"
