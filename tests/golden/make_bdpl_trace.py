#!/usr/bin/env python3
"""Records searches of words that are written here from BDPL's paper, with NumPy alone, for test_bdpl_trace.c to replay.

    build/release/bin/test_bdpl_trace draws > draws.json
    pip install numpy && python3 make_bdpl_trace.py draws.json data/bdpl_trace.json

draws.json: the uniform numbers of the program's own streams, [generation][candidate][place]. searches[]: learning rate, and for each
generation the words that are drawn, their losses, and the most probable words and all probabilities behind the update.
"""
import json
import sys

import numpy as np

N_WORDS = 7
LONGEST = 3.0  # gradient, as the authors' code cuts it (torch.nn.utils.clip_grad_norm_)


def losses_of(words, scale):
    """Words have costs by place, and neighbours that are the same word cost more."""
    costs = np.cos(1.7 * np.arange(1, words.shape[1] + 1)[:, None] * np.arange(1, N_WORDS + 1)[None, :])
    own = sum(costs[i, words[:, i]] for i in range(words.shape[1]))
    return scale * (own + 0.5 * (words[:, 1:] == words[:, :-1]).sum(axis=1))


def project(v):
    """The nearest point of the simplex, by sorting (Duchi et al. 2008, figure 1)."""
    u = np.sort(v)[::-1]
    over = u - (np.cumsum(u) - 1) / np.arange(1, len(u) + 1)
    rho = np.flatnonzero(over > 0)[-1]
    return np.maximum(v - (u[: rho + 1].sum() - 1) / (rho + 1), 0)


def gradients(p, words, losses):
    """Diao et al. 2022, equation 8 and the gradient of log P below equation 5: as it is, and without what the projection undoes."""
    whole, bare = np.zeros_like(p), np.zeros_like(p)
    weights = (losses - losses.mean()) / (len(losses) - 1)
    for prompt, weight in zip(words, weights, strict=True):
        for i, word in enumerate(prompt):
            log_p = np.full(N_WORDS, -1 / p[i, word])
            log_p[word] = 1 / p[i, word]
            whole[i] += weight * log_p
            bare[i] += weight * (log_p + 1 / p[i, word])
    return whole, bare


def record(rate, scale, draws):
    p, generations, n_cut = np.full((draws.shape[2], N_WORDS), 1 / N_WORDS), [], 0
    for u in draws:
        words = np.array([[np.searchsorted(np.cumsum(p[i]), x, side="right") for i, x in enumerate(row)] for row in u])
        losses = losses_of(words, scale)
        whole, bare = gradients(p, words, losses)
        length = np.linalg.norm(bare)
        n_cut += length > LONGEST
        step = rate * whole * min(1, LONGEST / length)
        p = np.array([project(row) for row in p - step])
        generations.append({"candidates": words.tolist(), "fitness": losses.tolist(), "mean": p.argmax(axis=1).tolist(),
                            "probabilities": p.ravel().tolist()})
    return {"learning_rate": rate, "n_cut": int(n_cut), "generations": generations}


def main(draws_path, path):
    with open(draws_path, encoding="ascii") as file:
        draws = np.array(json.load(file))
    searches = [record(0.05, 0.05, draws), record(0.02, 0.35, draws)]
    assert searches[0]["n_cut"] == 0 < searches[1]["n_cut"] < len(draws), [search["n_cut"] for search in searches]
    table = {"format": "fedbpt bdpl trace 1", "n_words": N_WORDS, "searches": searches}
    with open(path, "w", encoding="ascii") as file:
        json.dump(table, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
