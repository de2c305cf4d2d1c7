#!/usr/bin/env python3
"""Records what the official FedBPT server and clients do with pycma, for a replay.

    pip install cma==4.4.0 && python3 make_pycma_trace.py data/nvflare_trace.json

The loop is that of NVIDIA/NVFlare, research/fed-bpt (src/global_es.py and src/fedbpt_train.py), with closed-form losses
in place of the language model. Per round:

- each client searches from `global_es._copy_light(...)`: the server's mean, covariance matrix and sigma, fresh paths,
  for I generations, noting sigma *before* each ask; then it uploads its mean, that mean's fitness and those sigmas;
- the server sets sigma' = sqrt(sum of all sigmas squared / (K mu)), mu the number of a client's parents, calls ask()
  and drops what it gets, tells the clients' means (foreign solutions, which pycma clips), and
- hands out sigma = (its sigma after the tell / sigma') * (the sigma it handed out before). The floor of 0.5 in that
  code is undone by its next statement.

Client k's fitness of z (components i = 0 .. d-1), with c_ki = offset + spread * sin(1.3 i + 0.7 k + 0.2):

    F_k(z) = 1 + (1/d) sum_i [ (z_i - c_ki)^2 (1 + i/d) / 4 + (1 - cos(3 (z_i - c_ki))) / 5 ]

Layout of the file (every number is the shortest decimal that reads back as the same double):

    format      "fedbpt nvflare trace 1"
    pycma       version
    runs[]      one federated run each:
      name, dimension d, clients K, population lambda, generations I, parents_local mu, rounds R, offset, spread
      start_covariance_diagonal [d]   the server's C before the first round (diagonal). pycma starts from
                                      exp(1e-4 i / d); where `identity_start` is true that was replaced by ones
      mirrored_local, mirrored_server   whether pycma mirrors (it does when population, or K, is below 6)
      rounds[]
        mean [d], step_size            what the server hands out
        clients[]
          seed                         pycma's
          generations[]
            candidates [lambda][d], fitness [lambda], mirrored [indices of candidates that are mirrors: [] or [0]]
            step_size_before           when they were sampled
            mean [d], step_size        after the tell
          path_sigma, path_c [d]       after the last tell
          mean [d], fitness            uploaded: the final mean and F_k of it
          step_sizes [I]               uploaded: step_size_before of each generation
        server_step_size               sigma'
        lengths [K]                    Mahalanobis lengths of the uploaded means before clipping
        server_mean [d], server_step_size_after, path_sigma [d], path_c [d]   after the server's tell
        covariance_diagonal [d], covariance_first_row [d]                    likewise
        next_step_size                 what the next round hands out
    searches[]  one plain search each, separable (pycma's CMA_diagonal), of F_0:
      name, dimension d, population lambda, active, offset, spread, mean [d], step_size
      generations[]    as above
      path_sigma, path_c, covariance_diagonal [d]   at the end
"""
import json
import sys
import warnings

import cma
import numpy as np
from cma.recombination_weights import RecombinationWeights

RUNS = [
    # One lot of noise for all clients, as the official code seeds them; a server and clients that decompose every time.
    dict(name="shared seed", dimension=12, clients=6, population=5, generations=8, rounds=3, offset=0.0, spread=1.5,
         identity_start=True, seeds=[1234] * 6),
    # Decompositions that skip updates on both sides (due every 2 rounds and generations); a server small enough to have
    # the damping of mirrored sampling.
    dict(name="lazy", dimension=40, clients=4, population=5, generations=4, rounds=5, offset=0.3, spread=1.0,
         identity_start=True, seeds=[11, 12, 13, 14]),
    # pycma's own start, slightly off the identity; an optimum so far off that client means are clipped.
    dict(name="clipped", dimension=6, clients=6, population=8, generations=7, rounds=3, offset=60.0, spread=5.0,
         identity_start=False, seeds=[21, 22, 23, 24, 25, 26]),
]


SEARCHES = [
    # Started with so small a sigma that p_sigma grows long and p_c stalls.
    dict(name="separable", dimension=8, population=9, generations=12, active=True, offset=1.0, spread=1.0,
         step_size=0.05),
    dict(name="separable, not active", dimension=5, population=6, generations=12, active=False, offset=1.0,
         spread=1.0, step_size=0.5),
]


def fitness(run, client, z):
    i = np.arange(run["dimension"])
    y = z - (run["offset"] + run["spread"] * np.sin(1.3 * i + 0.7 * client + 0.2))
    return float(1 + np.mean(y**2 * (1 + i / len(i)) / 4 + (1 - np.cos(3 * y)) / 5))


def numbers(vector):
    return [float(v) for v in vector]


def iterate(run, client, es):
    """Run a client's loop, and record it."""
    generations, sigmas = [], []
    while not es.stop():
        sigmas.append(float(es.sigma))
        solutions = es.ask()
        mirrored = [k for k, x in enumerate(solutions) if x in es._injected_solutions_archive]
        values = [fitness(run, client, x) for x in solutions]
        candidates = [numbers(x) for x in solutions]
        es.tell(solutions, values)
        generations.append(dict(candidates=candidates, fitness=values, mirrored=mirrored, step_size_before=sigmas[-1],
                                mean=numbers(es.mean), step_size=float(es.sigma)))
    assert len(generations) == run["generations"], es.stop()
    return generations, sigmas


def search(run, client, global_es, seed):
    es = global_es._copy_light(inopts={"seed": seed, "maxiter": run["generations"], "popsize": run["population"],
                                       "CMA_mu": None})
    generations, sigmas = iterate(run, client, es)
    return es, dict(seed=seed, generations=generations, path_sigma=numbers(es.adapt_sigma.ps), path_c=numbers(es.pc),
                    mean=numbers(es.mean), fitness=fitness(run, client, es.mean), step_sizes=sigmas)


def server_update(run, es, clients, local_mu, handed_out):
    squares = [np.sum(np.array(c["step_sizes"]) ** 2) for c in clients]
    es.sigma = float(np.sqrt(np.sum(squares) / run["clients"] / local_mu))
    before = es.sigma
    es.ask()
    means = [np.array(c["mean"]) for c in clients]
    lengths = [es.mahalanobis_norm(m - es.mean) for m in means]
    es.tell(means, [c["fitness"] for c in clients])
    after = float(es.sigma)
    es.sigma = after / before * handed_out
    c = es.sm.C
    return dict(server_step_size=before, lengths=numbers(lengths), server_mean=numbers(es.mean),
                server_step_size_after=after, path_sigma=numbers(es.adapt_sigma.ps), path_c=numbers(es.pc),
                covariance_diagonal=numbers(np.diag(c)), covariance_first_row=numbers(c[0]),
                next_step_size=float(es.sigma))


def record(run):
    d, n_clients = run["dimension"], run["clients"]
    es = cma.CMAEvolutionStrategy(d * [0], 1, inopts={"seed": 7, "popsize": n_clients, "maxiter": run["rounds"],
                                                      "verbose": -9, "CMA_mu": n_clients})
    if run["identity_start"]:
        es.sm.C, es.sm.B, es.sm.D = np.eye(d), np.eye(d), np.ones(d)
    local_mu = RecombinationWeights(run["population"]).mu
    result = {key: run[key] for key in ("name", "dimension", "clients", "population", "generations")}
    result.update(parents_local=local_mu, offset=run["offset"], spread=run["spread"],
                  identity_start=run["identity_start"], start_covariance_diagonal=numbers(np.diag(es.sm.C)),
                  mirrored_server=es.sp.lam_mirr > 0, mirrored_local=run["population"] < 6, rounds=[])
    for _ in range(run["rounds"]):
        this = dict(mean=numbers(es.mean), step_size=float(es.sigma), clients=[])
        for k in range(n_clients):
            local, record_k = search(run, k, es, run["seeds"][k])
            assert (local.sp.lam_mirr > 0) == result["mirrored_local"]
            this["clients"].append(record_k)
        this.update(server_update(run, es, this["clients"], local_mu, this["step_size"]))
        result["rounds"].append(this)
    return result


def record_separable(run):
    es = cma.CMAEvolutionStrategy(run["dimension"] * [0], run["step_size"],
                                  inopts={"seed": 3, "popsize": run["population"], "maxiter": run["generations"],
                                          "verbose": -9, "CMA_diagonal": True, "CMA_active": run["active"]})
    start = numbers(es.mean)
    generations, _ = iterate(run, 0, es)
    return dict(run, mean=start, generations=generations, path_sigma=numbers(es.adapt_sigma.ps), path_c=numbers(es.pc),
                covariance_diagonal=numbers(es.sigma_vec.scaling**2))


def main(path):
    assert cma.__version__.startswith("4.4.0"), f"pycma is {cma.__version__}; this trace is of 4.4.0"
    warnings.simplefilter("ignore")
    trace = dict(format="fedbpt nvflare trace 1", pycma="4.4.0", runs=[record(run) for run in RUNS],
                 searches=[record_separable(run) for run in SEARCHES])
    with open(path, "w", encoding="ascii") as file:
        json.dump(trace, file, separators=(",", ":"), allow_nan=False)
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
