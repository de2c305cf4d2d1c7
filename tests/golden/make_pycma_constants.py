#!/usr/bin/env python3
"""Records CMA-ES constants: pycma's own, and the tutorial's worked out here from its table 1.

    pip install cma==4.4.0 && python3 make_pycma_constants.py data/cma_constants.json

cases[]: constants "pycma" | "tutorial", covariance "full" | "separable", dimension, population, n_parents (0: default),
active, mirrored, and mu, mu_eff, c_sigma, d_sigma, c_c, c_1, c_mu, chi, lazy_gap (null when separable), weights
[population].
"""
import json
import math
import sys
import warnings

import cma
from cma.utilities.math import Mh

CASES = [(2, 6, 0), (5, 5, 0), (7, 4, 0), (10, 10, 0), (20, 12, 0), (40, 100, 0), (500, 5, 0), (500, 20, 0)]
CASES += [(12, 6, 6), (500, 10, 10), (50, 3, 3), (10, 8, 3), (10, 7, 4), (10, 2, 0), (3, 40, 0)]


def pycma_case(d, n, mu, active, separable):
    options = {"popsize": n, "CMA_mu": mu or None, "CMA_active": active, "CMA_diagonal": separable, "verbose": -9,
               "AdaptSigma": cma.sigma_adaptation.CMAAdaptSigmaCSA}
    es = cma.CMAEvolutionStrategy(d * [0], 1, options)
    es.adapt_sigma.initialize_base(es)
    es.adapt_sigma.initialize(es)
    learned = es.sm.parameters(mueff=es.sp.weights.mueff, lam=es.sp.weights.lambda_)
    return dict(mu=es.sp.weights.mu, mu_eff=es.sp.weights.mueff,
                c_sigma=es.adapt_sigma.cs, d_sigma=es.adapt_sigma.damps,
                c_c=es.sp.cc_sep if separable else es.sp.cc, c_1=es.sp.c1_sep if separable else learned["c1"],
                c_mu=es.sp.cmu_sep if separable else learned["cmu"], chi=Mh.chiN(d),
                lazy_gap=None if separable else es.sm.lazy_update_gap, mirrored=es.sp.lam_mirr > 0,
                weights=[float(w) for w in es.sp.weights(n)])


def tutorial_case(d, n, active, separable):
    raw = [math.log((n + 1) / 2) - math.log(i) for i in range(1, n + 1)]
    mu = n // 2
    head, tail = raw[:mu], raw[mu:]
    mu_eff = sum(head) ** 2 / sum(w * w for w in head)
    mu_eff_minus = sum(tail) ** 2 / sum(w * w for w in tail)
    c_sigma = (mu_eff + 2) / (d + mu_eff + 5)
    d_sigma = 1 + 2 * max(0, math.sqrt((mu_eff - 1) / (d + 1)) - 1) + c_sigma
    if separable:
        c_c = (1 + (1 + mu_eff) / d) / (math.sqrt(d) + (1 + 2 * mu_eff) / d)
        c_1 = 1 / (d + 2 * math.sqrt(d) + mu_eff / d)
        c_mu = min(1 - c_1, (mu_eff + 1 / mu_eff - 1.75) / (d + 4 * math.sqrt(d) + mu_eff / 2))
    else:
        c_c = (4 + mu_eff / d) / (d + 4 + 2 * mu_eff / d)
        c_1 = 2 / ((d + 1.3) ** 2 + mu_eff)
        c_mu = min(1 - c_1, 2 * (mu_eff - 2 + 1 / mu_eff) / ((d + 2) ** 2 + mu_eff))
    limits = [1 + 2 * mu_eff_minus / (mu_eff + 2)]
    if c_mu > 0:
        limits += [1 + c_1 / c_mu, (1 - c_1 - c_mu) / (d * c_mu)]
    scale = min(limits) if active else 0
    weights = [w / sum(head) for w in head] + [-w / sum(tail) * scale for w in tail]
    return dict(mu=mu, mu_eff=mu_eff, c_sigma=c_sigma, d_sigma=d_sigma, c_c=c_c, c_1=c_1, c_mu=c_mu,
                chi=math.sqrt(d) * (1 - 1 / (4 * d) + 1 / (21 * d * d)),
                lazy_gap=None if separable else 1 / (10 * d * (c_1 + c_mu)), mirrored=False, weights=weights)


def cases():
    for d, n, mu in CASES:
        for active in (True, False):
            for separable in (False, True):
                common = dict(dimension=d, population=n, n_parents=mu, active=active,
                              covariance="separable" if separable else "full")
                yield dict(common, constants="pycma", **pycma_case(d, n, mu, active, separable))
                if mu == 0:
                    yield dict(common, constants="tutorial", **tutorial_case(d, n, active, separable))


def main(path):
    warnings.simplefilter("ignore")
    assert cma.__version__.startswith("4.4.0"), f"pycma is {cma.__version__}; these numbers are of 4.4.0"
    with open(path, "w", encoding="ascii") as file:
        table = dict(format="fedbpt cma constants 1", pycma="4.4.0", cases=list(cases()))
        json.dump(table, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
