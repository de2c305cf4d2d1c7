#!/usr/bin/env bash
# Makes the README's table of a causal model: SmolLM2-135M-Instruct on BBC News headlines and on movie reviews, clients' samples dealt
# evenly and by Dirichlet 0.5, three seeds each, beside the model without any prompt. Build first (jobs/quickstart.sh does); what is
# staged in or finished already is used again. About an hour on two cores with bfloat16 products (AMX), a night without.
# Usage: bash jobs/results_causal.sh
set -euo pipefail

[ $# -eq 0 ] || { echo "usage: bash jobs/results_causal.sh, without arguments" >&2; exit 2; }

# shellcheck source=jobs/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$FBT_ROOT"
fbt_local_caches

model=models/smollm2-135m
program=build/release/bin/fedbpt

stage_in() {
    local name="$1" task="$2" corpus="$3"
    [ -e "datasets/$name.h5" ] ||
        .venv/bin/python jobs/prepare_data.py --model "$model" --task "$task" --corpus "$corpus" --output "datasets/$name.h5"
}

results() {
    local name="$1" config="configs/$1.yaml"
    stage_in "$@"
    printf '\n== %s without a prompt, on the samples that the runs are tested on\n' "$name"
    "$program" evaluate --model "$model" --data "datasets/$name.h5" \
        --set "data.test_limit=$(sed -nE 's/^ +test_limit: ([0-9]+).*/\1/p' "$config")"
    printf '\n== %s\n' "$name"
    fbt_mpirun "$program" sweep "configs/sweeps/$name.yaml" --ranks-per-run 2
    .venv/bin/fedbpt-analysis compare "runs/results-$name" --output "runs/comparison-$name"
}

.venv/bin/python jobs/prepare_model.py smollm2 --output "$model"
results smollm2-bbcnews bbc-news-causal bbc-news-headlines
results smollm2-reviews movie-reviews-causal movie-reviews
