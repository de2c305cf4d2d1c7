#!/usr/bin/env bash
# Takes the figures of docs/performance.md anew, and writes it: docs/performance/*.json, each with the machine's name. About eight
# minutes on two cores that have nothing else to do (else the page says that they had), and before the first time as long again for
# several GB of PyTorch and for a model.
# Usage: bash tests/peers/measure.sh [PART...]    parts: bench, cma, record, peer; int8 of the runs of configs/sweeps/int8.yaml, if there
# FBT_PEERS: folder of the environment and the model (build/peers)
set -euo pipefail

# shellcheck source=jobs/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../jobs/setup.sh"
cd "$FBT_ROOT"
fbt_local_caches

peers="${FBT_PEERS:-build/peers}"
model="$peers/roberta-large"
data="$peers/movie-reviews.h5"

cmake --preset release -DBUILD_TESTING=ON > /dev/null
cmake --build --preset release --target fedbpt bench_record > /dev/null

if [ ! -x "$peers/venv/bin/python" ]; then
    python3 -m venv "$peers/venv"
    "$peers/venv/bin/pip" install --quiet --requirement tests/peers/requirements.txt
fi
if [ ! -e "$model/model.safetensors" ]; then
    "$peers/venv/bin/python" tests/peers/make_model.py "$model"
fi
if [ ! -e "$data" ]; then
    .venv/bin/python jobs/prepare_data.py --model "$model" --task movie-reviews-mlm --corpus movie-reviews --test-size 200 \
        --prompt-mode add --prompt-tokens 50 --output "$data"
fi

.venv/bin/python tests/peers/measure.py --python "$peers/venv/bin/python" --model "$model" --data "$data" "$@"
.venv/bin/python tests/peers/describe_performance.py
