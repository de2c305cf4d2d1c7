#!/usr/bin/env python3
"""Records how many evaluations other people's programs need to a target, for test_searcher_counts.c to compare with.

    pip install pypop7==0.0.82 evosax==0.3.2 numpy && python3 make_searcher_counts.py data/searcher_counts.json

pypop7 has LM-MA-ES and the cross-entropy method with dynamic smoothing (DSCEM), evosax OpenAI's evolution strategy (with Adam from
optax). Pairs of random directions (MeZO), those of a pool (FedKSeed) and random search around the best are written here, from their
papers, in NumPy.
counts[]: optimiser, parameters, problem, dimension, population, start, step_size, target, criterion ("candidate": the best so far, "mean"),
by, median of the evaluations of RUNS seeds.
"""
import functools
import json
import math
import sys

import numpy as np

RUNS, LIMIT = 21, 100_000


def sphere(x):
    return float(x @ x)


def ellipsoid(x):
    return float(10 ** (2 * np.arange(len(x)) / (len(x) - 1)) @ np.square(x))


def rosenbrock(x):
    return float((100 * np.square(np.square(x[:-1]) - x[1:]) + np.square(x[:-1] - 1)).sum())


PROBLEMS = {"sphere": sphere, "ellipsoid": ellipsoid, "Rosenbrock": rosenbrock}


class Reached(Exception):
    """The target."""


def pypop(kind, more):
    def run(f, case, seed):
        d, count = case["dimension"], 0

        def counted(x):
            nonlocal count
            count += 1
            if f(x) <= case["target"]:
                raise Reached
            return f(x)

        problem = {"fitness_function": counted, "ndim_problem": d, "lower_boundary": np.full(d, -10.0), "upper_boundary": np.full(d, 10.0)}
        start = np.full(d, float(case["start"]))
        options = {"seed_rng": seed, "mean": start, "x": start, "sigma": case["step_size"], "n_individuals": case["population"],
                   "max_function_evaluations": LIMIT, "verbose": 0, "is_restart": False, **more(case)}
        try:
            kind(problem, options).optimize()
        except Reached:
            return math.ceil(count / case["population"]) * case["population"]
        return math.inf

    return run


def lm_ma(case):
    return {}


def cem(case):
    p = case["parameters"]
    return {"n_parents": int(p["elite"] * case["population"]), "alpha": p["smoothing"], "beta": p["deviation_smoothing"]}


@functools.cache
def open_es(d, n, step_size, learning_rate, momentum):
    """Compiled once."""
    import jax
    import jax.numpy as jnp
    import optax
    from evosax.algorithms import Open_ES
    jax.config.update("jax_enable_x64", True)
    search = Open_ES(n, jnp.zeros(d), optimizer=optax.adam(learning_rate * step_size, b1=momentum),
                     std_schedule=optax.constant_schedule(step_size))
    return search, jax.jit(search.ask), jax.jit(search.tell)


def openai(f, case, seed):
    import jax
    import jax.numpy as jnp
    d, n, p = case["dimension"], case["population"], case["parameters"]
    search, ask, tell = open_es(d, n, case["step_size"], p["learning_rate"], p["momentum"])
    params = search.default_params
    state, key = search.init(jax.random.key(seed), jnp.full(d, float(case["start"])), params), jax.random.key(1000 + seed)
    for count in range(n, LIMIT, n):
        key, k_ask, k_tell = jax.random.split(key, 3)
        x, state = ask(k_ask, state, params)
        state, _ = tell(k_tell, x, jnp.array([f(row) for row in np.asarray(x)]), state, params)
        if f(np.asarray(state.mean)) <= case["target"]:
            return count
    return math.inf


def mezo(f, case, seed):
    rng, p, sigma = np.random.default_rng(seed), case["parameters"], case["step_size"]
    theta, momentum, gain, t = np.full(case["dimension"], float(case["start"])), 0, None, 0
    for count in range(case["population"], LIMIT, case["population"]):
        gradient = 0
        for _ in range(case["population"] // 2):
            z = rng.standard_normal(len(theta))
            gradient = gradient + (f(theta + sigma * z) - f(theta - sigma * z)) / (2 * sigma) * z / (case["population"] // 2)
        gain = gain or p["learning_rate"] * sigma / math.sqrt(np.mean(np.square(gradient)))
        t += 1
        momentum = p["momentum"] * momentum + (1 - p["momentum"]) * gradient
        theta = theta - gain * momentum / (1 - p["momentum"] ** t)
        if f(theta) <= case["target"]:
            return count
    return math.inf


def kseed(f, case, seed):
    rng, p, epsilon, d = np.random.default_rng(seed), case["parameters"], case["step_size"], case["dimension"]
    pool, w, eta = rng.standard_normal((p["seeds"], d)), np.full(d, float(case["start"])), p["learning_rate"] * epsilon ** 2
    for count in range(case["population"], LIMIT, case["population"]):
        z = pool[rng.integers(p["seeds"], size=case["population"] // 2)]
        gradients = np.array([(f(w + epsilon * v) - f(w - epsilon * v)) / (2 * epsilon) for v in z])
        w = w - eta * gradients @ z / len(z)
        if f(w) <= case["target"]:
            return count
    return math.inf


def random_search(f, case, seed):
    rng, best = np.random.default_rng(seed), np.full(case["dimension"], float(case["start"]))
    for count in range(case["population"], LIMIT, case["population"]):
        tried = [best, *(best + case["step_size"] * rng.standard_normal((case["population"] - 1, len(best))))]
        best = min(tried, key=f)
        if f(best) <= case["target"]:
            return count
    return math.inf


def case_of(optimiser, by, problem, d, n, start, step_size, target, criterion, **parameters):
    return {"optimiser": optimiser, "by": by, "problem": problem, "dimension": d, "population": n, "start": start, "step_size": step_size,
            "target": target, "criterion": criterion, "parameters": parameters}


ADAM = {"learning_rate": 0.3, "momentum": 0.9, "weight_decay": 0}
SLOW = {"learning_rate": 1, "momentum": 0.5, "weight_decay": 0}
CEM = {"elite": 0.2, "smoothing": 0.8, "deviation_smoothing": 0.7}
CASES = [
    case_of("lm-ma", "pypop7 LMMAES", "sphere", 40, 15, 3, 2, 1e-9, "candidate"),
    case_of("lm-ma", "pypop7 LMMAES", "ellipsoid", 40, 15, 3, 2, 1e-6, "candidate"),
    case_of("lm-ma", "pypop7 LMMAES", "Rosenbrock", 40, 15, 0, 0.1, 35, "candidate"),
    case_of("openai-es", "evosax Open_ES", "sphere", 40, 20, 3, 0.1, 1, "mean", **ADAM),
    case_of("openai-es", "evosax Open_ES", "ellipsoid", 40, 20, 3, 0.1, 30, "mean", **ADAM),
    case_of("openai-es", "evosax Open_ES", "Rosenbrock", 20, 20, 0, 0.02, 17, "mean", **ADAM),
    case_of("spsa", "NumPy", "sphere", 40, 20, 3, 0.1, 1e-9, "mean", **SLOW),
    case_of("spsa", "NumPy", "ellipsoid", 40, 20, 3, 0.1, 200, "mean", **SLOW),
    case_of("spsa", "NumPy", "Rosenbrock", 20, 20, 0, 0.003, 17, "mean", **SLOW),
    case_of("cem", "pypop7 DSCEM", "sphere", 10, 100, 3, 2, 0.1, "candidate", **CEM),
    case_of("cem", "pypop7 DSCEM", "ellipsoid", 10, 100, 3, 2, 1, "candidate", **CEM),
    case_of("cem", "pypop7 DSCEM", "Rosenbrock", 10, 100, 0, 0.5, 8.5, "candidate", **CEM),
    case_of("random", "NumPy", "sphere", 10, 10, 3, 0.3, 1, "mean"),
    case_of("random", "NumPy", "ellipsoid", 10, 10, 3, 0.3, 20, "mean"),
    case_of("random", "NumPy", "Rosenbrock", 10, 10, 0, 0.02, 8.5, "mean"),
    case_of("kseed", "NumPy", "sphere", 40, 20, 3, 0.1, 1e-9, "mean", learning_rate=5, seeds=400),
    case_of("kseed", "NumPy", "ellipsoid", 40, 20, 3, 0.1, 200, "mean", learning_rate=0.05, seeds=400),
    case_of("kseed", "NumPy", "Rosenbrock", 20, 20, 0, 0.003, 17, "mean", learning_rate=50, seeds=400),
]


def main(path):
    from pypop7.optimizers.cem.dscem import DSCEM
    from pypop7.optimizers.es.lmmaes import LMMAES
    programs = {"lm-ma": pypop(LMMAES, lm_ma), "cem": pypop(DSCEM, cem), "openai-es": openai, "spsa": mezo, "kseed": kseed,
                "random": random_search}
    for case in CASES:
        counts = sorted(programs[case["optimiser"]](PROBLEMS[case["problem"]], case, seed) for seed in range(1, RUNS + 1))
        case["median"] = counts[RUNS // 2]
        print(case["optimiser"], case["problem"], counts[0], case["median"], counts[-1], flush=True)
    assert all(case["median"] < math.inf for case in CASES)
    with open(path, "w", encoding="ascii") as file:
        json.dump({"format": "fedbpt searcher counts 1", "counts": CASES}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
