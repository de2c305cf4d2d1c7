#!/usr/bin/env bash
# From a fresh checkout to a finished federated run and its report: installs, builds, stages in a model and a corpus, runs, reports.
# Takes at most five minutes on two cores: the run makes as many of its rounds as fit into 75 seconds; the last line says how to go on.
# Usage: bash jobs/quickstart.sh    What is already there is used again, rounds too: called again, it goes on with an unfinished run.
# Nothing outside the checkout changes but Debian packages.
set -euo pipefail

[ $# -eq 0 ] || { echo "usage: bash jobs/quickstart.sh, without arguments" >&2; exit 2; }

# shellcheck source=jobs/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$FBT_ROOT"

config=configs/quickstart.yaml
run=runs/quickstart.h5
run_seconds="${FBT_QUICKSTART_SECONDS:-75}" # for the rounds; the whole test set is scored after them
stopped=75 # exit code of fedbpt: the time was up before the last round
n_rounds="$(sed -nE 's/^ +rounds: ([0-9]+).*/\1/p' "$config")"

step() { printf '\n== %s\n' "$1"; }

install() {
    step "1/5 packages and Python environment"
    fbt_local_caches
    fbt_install_packages build
    fbt_make_venv
}

build() {
    step "2/5 build: build/release/bin/fedbpt, about a minute on two cores"
    mkdir -p build
    if ! { cmake --preset release -DBUILD_TESTING=OFF && cmake --build --preset release; } > build/quickstart.log 2>&1; then
        tail -n 30 build/quickstart.log >&2
        echo "error: the build failed; the whole log is build/quickstart.log" >&2
        exit 1
    fi
}

# Leaves the run's exit code in run_code.
federate() {
    step "4/5 federated run: 10 clients, as many of $n_rounds rounds as fit into $run_seconds s"
    mkdir -p runs
    run_code=0
    fbt_mpirun build/release/bin/fedbpt run "$config" --resume --set run.output="$run" --set run.max_seconds="$run_seconds" || run_code=$?
    if [ "$run_code" -ne 0 ] && [ "$run_code" -ne "$stopped" ]; then
        echo "error: the run did not end well, see above; called again, this goes on with it; to start anew, remove $run" >&2
        exit "$run_code"
    fi
}

# Accuracy of a round on the whole test set; while it runs, a part is scored.
test_accuracy() {
    fbt_mpirun build/release/bin/fedbpt evaluate --run "$run" --round "$1" --set data.test_limit=0 --json |
        sed -nE 's/^ *"accuracy": ([0-9.]+).*/\1/p'
}

report() {
    local rounds before best
    step "5/5 scores of the whole test set, and the report"
    before="$(test_accuracy 0)"
    best="$(test_accuracy best)"
    LC_ALL=C printf 'test accuracy: %.3f before tuning, %.3f with the prompt of the round that was best on dev samples\n' "$before" "$best"
    .venv/bin/fedbpt-analysis report "$run"
    echo "open runs/quickstart.html in a browser"
    if [ "$run_code" -eq "$stopped" ]; then
        rounds="$(build/release/bin/fedbpt show --json "$run" | sed -nE 's/^ *"last_round": ([0-9]+).*/\1/p')"
        echo "$rounds of $n_rounds rounds fitted into $run_seconds s; this makes the others:"
        echo "    build/release/bin/fedbpt run $config --resume --set backend.threads=0"
    fi
}

install
build
step "3/5 model and corpus"
fbt_stage_quickstart
federate
report
