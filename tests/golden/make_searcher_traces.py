#!/usr/bin/env python3
"""Records searches that are written here from their papers, with NumPy alone, for test_searcher_traces.c to replay.

    build/release/bin/test_searcher_traces draws > draws.json
    pip install numpy && python3 make_searcher_traces.py draws.json data/searcher_traces.json

draws.json: what the program's own streams hold, so that what is asked can be compared, too: normal numbers
[generation][candidate][d], seeds of a pool [generation][pair] and their directions [seed][d]. searches[]: optimiser,
parameters, and for each generation the candidates, their fitness, and mean, step size and shape (cem: relative
variances; kseed: accumulators) behind the update.
"""
import json
import math
import sys

import numpy as np

START, STEP = 1.5, 0.7


def objective(x, ties):
    weights = 10 ** (2 * np.arange(x.shape[1]) / (x.shape[1] - 1))
    values = (weights * np.square(x - 0.3)).sum(axis=1) + 5 * np.cos(2 * x).sum(axis=1)
    return np.round(values / 150) if ties else values


class OpenAI:
    """Salimans et al. 2017, algorithm 2, as its authors' code has it: returns are maximised."""

    def __init__(self, d, n, p):
        self.theta, self.p, self.t = np.full(d, START), p, 0
        self.m, self.v = np.zeros(d), np.zeros(d)

    def ask(self, z):
        self.noise = z[0::2]
        return np.stack([self.theta + STEP * self.noise, self.theta - STEP * self.noise], axis=1).reshape(len(z), -1)

    def tell(self, x, f):
        returns = -f
        ranks = np.array([(returns < r).sum() + ((returns == r).sum() - 1) / 2 for r in returns])
        shaped = (ranks / (len(f) - 1) - 0.5).reshape(-1, 2)
        ascent = (shaped[:, 0] - shaped[:, 1]) @ self.noise / len(f)
        globalg = -ascent + self.p["weight_decay"] * self.theta / STEP
        self.t += 1
        b1, b2 = self.p["momentum"], 0.999
        rate = self.p["learning_rate"] * math.sqrt(1 - b2 ** self.t) / (1 - b1 ** self.t)
        self.m = b1 * self.m + (1 - b1) * globalg
        self.v = b2 * self.v + (1 - b2) * globalg * globalg
        self.theta = self.theta - STEP * rate * self.m / (np.sqrt(self.v) + 1e-8)

    def state(self):
        return {"mean": self.theta, "step_size": STEP}


class SPSA:
    """Malladi et al. 2023, algorithm 1 with n pairs; Spall 1998 for the gain; Adam's corrected first moment."""

    def __init__(self, d, n, p):
        self.theta, self.p, self.estimates, self.gain = np.full(d, START), p, [], None

    def ask(self, z):
        self.z = z[0::2]
        return np.stack([self.theta + STEP * self.z, self.theta - STEP * self.z], axis=1).reshape(len(z), -1)

    def tell(self, x, f):
        projected = (f[0::2] - f[1::2]) / (2 * STEP)
        gradient = (projected[:, None] * self.z).mean(axis=0)
        self.estimates.append(gradient)
        p, t = self.p, len(self.estimates)
        if self.gain is None:
            self.gain = p["learning_rate"] * STEP / np.sqrt(np.mean(np.square(gradient)))
        b = p["momentum"]
        weights = np.array([b ** (t - 1 - i) for i in range(t)])
        mean_gradient = weights @ np.array(self.estimates) / weights.sum()
        self.theta = self.theta - self.gain * mean_gradient - p["learning_rate"] * p["weight_decay"] * self.theta

    def state(self):
        return {"mean": self.theta, "step_size": STEP}


class LMMA:
    """Loshchilov, Glasmachers, Beyer 2019, algorithm 1, with the z that it samples."""

    def __init__(self, d, n, p):
        self.y, self.sigma, self.t, self.d, self.n = np.full(d, START), STEP, 0, d, n
        self.count = 4 + int(3 * math.log(d))
        self.path, self.m = np.zeros(d), np.zeros((self.count, d))
        mu = n // 2
        self.w = np.array([math.log(mu + 0.5) - math.log(i + 1) for i in range(mu)])
        self.w /= self.w.sum()
        self.mu_w = 1 / np.square(self.w).sum()
        self.c_sigma = 2 * n / d
        self.c_d = [1 / (1.5 ** i * d) for i in range(self.count)]
        self.c_c = [n / (4.0 ** i * d) for i in range(self.count)]

    def ask(self, z):
        self.z, self.steps = z, z.copy()
        for i in range(len(z)):
            for j in range(min(self.t, self.count)):
                self.steps[i] = (1 - self.c_d[j]) * self.steps[i] + self.c_d[j] * self.m[j] * (self.m[j] @ self.steps[i])
        return self.y + self.sigma * self.steps

    def tell(self, x, f):
        best = np.argsort(f, kind="stable")[: len(self.w)]
        self.y = self.y + self.sigma * self.w @ self.steps[best]
        z = self.w @ self.z[best]
        c = self.c_sigma
        self.path = (1 - c) * self.path + math.sqrt(self.mu_w * c * (2 - c)) * z
        for i, c_c in enumerate(self.c_c):
            self.m[i] = (1 - c_c) * self.m[i] + math.sqrt(self.mu_w * c_c * (2 - c_c)) * z
        self.sigma *= math.exp(c / 2 * (self.path @ self.path / self.d - 1))
        self.t += 1

    def state(self):
        return {"mean": self.y, "step_size": self.sigma}


class CEM:
    """de Boer et al. 2005, section 5, smoothed as Kroese, Porotsky, Rubinstein 2006: mu and sigma of each coordinate."""

    def __init__(self, d, n, p):
        self.mu, self.sigma, self.p, self.t = np.full(d, START), np.full(d, STEP), p, 0

    def ask(self, z):
        return self.mu + self.sigma * z

    def tell(self, x, f):
        self.t += 1
        p = self.p
        elite = x[np.argsort(f, kind="stable")[: int(p["elite"] * len(f))]]
        beta = p["deviation_smoothing"] - p["deviation_smoothing"] * (1 - 1 / self.t) ** 5
        self.mu = p["smoothing"] * elite.mean(axis=0) + (1 - p["smoothing"]) * self.mu
        self.sigma = beta * elite.std(axis=0) + (1 - beta) * self.sigma

    def state(self):
        mean = np.square(self.sigma).mean()
        return {"mean": self.mu, "step_size": math.sqrt(mean), "shape": np.square(self.sigma) / mean}


class KSeed:
    """Qin et al. 2024, algorithm 1 with n pairs, by its scalar gradients: w is made of them and the seeds' z each time."""

    def __init__(self, d, n, p):
        self.start, self.p, self.gradients = np.full(d, START), p, np.zeros(p["seeds"])
        self.eta = p["learning_rate"] * STEP ** 2

    def w(self):
        return self.start - self.eta * self.gradients @ self.pool

    def ask(self, z):
        z = self.pool[self.seeds]
        return np.stack([self.w() + STEP * z, self.w() - STEP * z], axis=1).reshape(2 * len(z), -1)

    def tell(self, x, f):
        np.add.at(self.gradients, self.seeds, (f[0::2] - f[1::2]) / (2 * STEP) / len(self.seeds))

    def state(self):
        return {"mean": self.w(), "step_size": STEP, "shape": -self.eta * self.gradients}


class Random:
    """Matyas 1965: around the best so far, which is a candidate itself."""

    def __init__(self, d, n, p):
        self.best = np.full(d, START)

    def ask(self, z):
        return np.concatenate([[self.best], self.best + STEP * z[1:]])

    def tell(self, x, f):
        self.best = x[np.argmin(f)]

    def state(self):
        return {"mean": self.best, "step_size": STEP}


GRADIENT = [{"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.0}, {"learning_rate": 0.3, "momentum": 0.0, "weight_decay": 0.05}]
ELITE = [{"elite": 0.5, "smoothing": 0.8, "deviation_smoothing": 0.8}, {"elite": 0.34, "smoothing": 1.0, "deviation_smoothing": 0.5}]
SEARCHES = [("openai-es", OpenAI, p, ties) for p in GRADIENT for ties in (False, True)]
SEARCHES += [("spsa", SPSA, p, False) for p in GRADIENT] + [("cem", CEM, p, False) for p in ELITE]
SEARCHES += [("kseed", KSeed, {"learning_rate": rate, "seeds": 4}, False) for rate in (1e-3, 5e-3)]
SEARCHES += [("lm-ma", LMMA, {}, ties) for ties in (False, True)] + [("random", Random, {}, ties) for ties in (False, True)]


def record(name, kind, parameters, ties, draws):
    _, n, d = draws["normal"].shape
    search, generations = kind(d, n, parameters), []
    search.pool = draws["pool"]
    for z, search.seeds in zip(draws["normal"], draws["seeds"], strict=True):
        x = search.ask(z)
        f = objective(x, ties)
        search.tell(x, f)
        state = {key: np.asarray(value).tolist() for key, value in search.state().items()}
        generations.append({"candidates": x.tolist(), "fitness": f.tolist(), **state})
    return {"optimiser": name, "parameters": parameters, "ties": ties, "generations": generations}


def main(draws_path, path):
    with open(draws_path, encoding="ascii") as file:
        draws = {name: np.array(values) for name, values in json.load(file).items()}
    searches = [record(*search, draws) for search in SEARCHES]
    table = {"format": "fedbpt searcher traces 1", "start": START, "step_size": STEP, "searches": searches}
    with open(path, "w", encoding="ascii") as file:
        json.dump(table, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
