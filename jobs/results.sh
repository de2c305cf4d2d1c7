#!/usr/bin/env bash
# Makes the README's result tables and its two pictures from the quickstart's run and configs/sweeps/results.yaml. Run
# jobs/quickstart.sh first. Finished runs are used again; runs/results/ holds them, and runs/comparison/ what they show. About 15
# minutes on two cores.
# Usage: bash jobs/results.sh
set -euo pipefail

[ $# -eq 0 ] || { echo "usage: bash jobs/results.sh, without arguments" >&2; exit 2; }

# shellcheck source=jobs/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$FBT_ROOT"
fbt_local_caches

fbt_mpirun build/release/bin/fedbpt sweep configs/sweeps/results.yaml --ranks-per-run 2
.venv/bin/fedbpt-analysis compare runs/results --output runs/comparison
.venv/bin/fedbpt-analysis report runs/quickstart.h5 --overview docs/quickstart.svg
.venv/bin/fedbpt-analysis compare runs/results --overview docs/comparison.svg
