#!/usr/bin/env bash
# Makes the README's result table: the quickstart's federation, IID and dealt by Dirichlet 0.5 under three protocols, three
# seeds each. Run jobs/quickstart.sh first. Finished runs are used again; runs/results/ holds them. About 15 minutes on two cores.
# Usage: bash jobs/results.sh
set -euo pipefail

# shellcheck source=jobs/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$FBT_ROOT"
fbt_local_caches
mkdir -p runs/results

# run NAME SEED SETTING...
run() {
    local name="$1" seed="$2" file="runs/results/$1-seed$2.h5" settings=()
    shift 2
    for setting in "$@"; do
        settings+=(--set "$setting")
    done
    if [ "$(build/release/bin/fedbpt show --json "$file" 2>/dev/null | grep -c '"status": "finished"')" = 1 ]; then
        return
    fi
    echo "== $name, seed $seed"
    fbt_mpirun build/release/bin/fedbpt run configs/quickstart.yaml \
        --set run.output="$file" --set run.overwrite=true --set run.seed="$seed" "${settings[@]}"
}

dirichlet=(fed.partition=dirichlet fed.dirichlet_alpha=0.5)
for seed in 1 2 3; do
    run 1-iid-nvflare "$seed"
    run 2-dirichlet-nvflare "$seed" "${dirichlet[@]}"
    run 3-dirichlet-fedavg-bbt "$seed" "${dirichlet[@]}" fed.protocol=fedavg-bbt
    run 4-dirichlet-synchronous "$seed" "${dirichlet[@]}" fed.protocol=synchronous cma.population=20 fed.local_generations=2
done
.venv/bin/python analysis/table_runs.py runs/results/*.h5
