#!/usr/bin/env python3
"""The official code's way of one evaluation (NVIDIA/NVFlare, research/fed-bpt) in plain transformers and PyTorch, and the same population
by `fedbpt bench`, in turn: fp32, a client's samples padded to the longest, candidates and copies one after another, the whole
vocabulary's head at the mask. A second peer is PyTorch at its best: the whole population padded in one batch.

Both are first shown to compute the same: label logits of a prompt that a short run has found.

    python tests/peers/official_evaluation.py build/peers/roberta-large build/peers/movie-reviews.h5    needs requirements.txt

Prints JSON. Run by hand, by measure.sh.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import transformers as hf

PAD, SEARCH, TOLERANCE = 1, 500, 1e-3  # TOLERANCE: of the largest logit
N_CHECKED = 4


@dataclass
class Samples:
    """Rows of a data set's split, in mode add: the prompt's words are in the text."""

    tokens: list[list[int]]
    readout: list[int]
    labels: list[int]

    @classmethod
    def read(cls, file: h5py.File, split: str, n: int) -> Samples:
        group = file[split]
        offsets = group["offsets"][: n + 1]
        tokens = [group["tokens"][first:end].tolist() for first, end in zip(offsets[:-1], offsets[1:], strict=True)]
        return cls(tokens, group["readout"][:n].tolist(), group["labels"][:n].tolist())

    def repeated(self, n: int) -> Samples:
        return Samples(self.tokens * n, self.readout * n, self.labels * n)


class Official:
    """Label logits and losses of samples under a prompt."""

    def __init__(self, folder: Path, label_ids: list[int]) -> None:
        self.model = hf.RobertaForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.label_ids = label_ids
        self.prompt: torch.Tensor | None = None  # [n or 1, P, H], added to the rows behind the first token
        self.model.roberta.embeddings.register_forward_hook(self._add_prompt)

    def _add_prompt(self, _module: torch.nn.Module, _given: object, embedded: torch.Tensor) -> torch.Tensor:
        if self.prompt is None:
            return embedded
        embedded = embedded.clone()
        embedded[:, 1 : 1 + self.prompt.shape[1]] += self.prompt
        return embedded

    @torch.inference_mode()
    def logits(self, samples: Samples) -> torch.Tensor:
        longest = max(map(len, samples.tokens))
        ids = torch.tensor([row + [PAD] * (longest - len(row)) for row in samples.tokens])
        hidden = self.model.roberta(input_ids=ids, attention_mask=(ids != PAD).long()).last_hidden_state
        return self.model.lm_head(hidden[torch.arange(len(ids)), torch.tensor(samples.readout)])[:, self.label_ids]

    def loss(self, samples: Samples) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.logits(samples), torch.tensor(samples.labels), reduction="none")


@dataclass
class Population:
    samples: Samples
    n_candidates: int
    n_copies: int
    prompts: torch.Tensor  # [n_candidates, P, H]

    def one_after_another(self, official: Official) -> None:
        for prompt in self.prompts:
            official.prompt = prompt[None]
            for _ in range(self.n_copies):
                official.loss(self.samples).mean().item()

    def in_one_batch(self, official: Official) -> None:
        n = len(self.samples.tokens) * self.n_copies
        official.prompt = self.prompts.repeat_interleave(n, dim=0)
        official.loss(self.samples.repeated(self.n_candidates * self.n_copies)).reshape(self.n_candidates, n).mean(dim=1).tolist()


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Program:
    """fedbpt, on the same files with as many threads."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.path, self.model, self.data, self.threads = arguments.program, arguments.model, arguments.data, arguments.threads

    def call(self, *words: object) -> str:
        return subprocess.run([str(self.path), *map(str, words)], check=True, stdout=subprocess.PIPE, text=True).stdout

    def bench(self, arguments: argparse.Namespace) -> dict[str, Any]:
        words = ("--samples", arguments.samples, "--candidates", arguments.candidates, "--copies", arguments.copies)
        told = self.call("bench", self.model, "--data", self.data, *words, "--repeats", 1, "--precision", "fp32",
                         "--threads", self.threads, "--json")
        return json.loads(told)[0]

    def prompt_and_logits(self, folder: Path) -> tuple[np.ndarray, np.ndarray]:
        """A prompt that a round of one client finds, and the logits of the first test samples under it."""
        config, run, logits = folder / "c.yaml", folder / "run.h5", folder / "logits.h5"
        settings = {"run": {"output": str(run)}, "model": {"path": str(self.model)},
                    "data": {"path": str(self.data), "shots": 1, "dev_shots": 0, "test_limit": N_CHECKED},
                    "prompt": {"mode": "add", "tokens": 50}, "fed": {"clients": 1, "rounds": 1, "protocol": "synchronous",
                                                                     "local_generations": 1},
                    "cma": {"population": 2, "dimension": SEARCH, "alpha": 20.0},
                    "perturb": {"rate": 0.0}, "eval": {"every": 1, "test_every": 1},
                    "backend": {"precision": "fp32", "threads": self.threads}}
        config.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
        self.call("run", config)
        self.call("evaluate", "--run", run, "--round", "last", "--logits", logits)
        with h5py.File(run) as made, h5py.File(logits) as scored:
            return made["result/last_prompt"][:], scored["logits"][:]


def check_equal(official: Official, program: Program, test: Samples) -> float:
    """The largest difference of two logits, of the largest logit. Ends the measurement where the two compute different things."""
    with tempfile.TemporaryDirectory() as folder:
        prompt, theirs = program.prompt_and_logits(Path(folder))
    official.prompt = None
    bare = official.logits(test).numpy()
    official.prompt = torch.from_numpy(prompt)[None]
    ours = official.logits(test).numpy()
    error = float(np.abs(ours - theirs).max() / np.abs(ours).max())
    effect = float(np.abs(ours - bare).max() / np.abs(ours).max())
    if not error < TOLERANCE < effect:
        sys.exit(f"the logits differ by {error:.2g} of the largest, and the prompt changes them by {effect:.2g}: no comparison")
    return error


def make_population(official: Official, samples: Samples, arguments: argparse.Namespace) -> Population:
    """Random search points by a random projection, as fedbpt bench has them."""
    generator = torch.Generator().manual_seed(1)
    n_tokens, width = 50, official.model.config.hidden_size
    scale = official.model.get_input_embeddings().weight.std().item() / SEARCH**0.5
    projection = scale * torch.randn(n_tokens * width, SEARCH, generator=generator)
    points = torch.randn(arguments.candidates, SEARCH, generator=generator)
    return Population(samples, arguments.candidates, arguments.copies, (points @ projection.T).reshape(-1, n_tokens, width))


def measure(official: Official, program: Program, population: Population, arguments: argparse.Namespace) -> dict[str, Any]:
    """In turn, so that a noisy machine treats all alike; the first of PyTorch's warms up."""
    population.one_after_another(official)
    found: dict[str, list[float]] = {"official": [], "one_batch": [], "fedbpt": []}
    for _ in range(arguments.repeats):
        found["official"].append(seconds(lambda: population.one_after_another(official)))
        found["one_batch"].append(seconds(lambda: population.in_one_batch(official)))
        told = program.bench(arguments)
        found["fedbpt"].append(told["seconds_median"])
    medians = {name: statistics.median(values) for name, values in found.items()}
    ratios = {name: medians[name] / medians["fedbpt"] for name in ("official", "one_batch")}
    return {"machine": told["machine"], "batch": told["batch"], "seconds": found, "medians": medians, "ratios": ratios}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--program", type=Path, default=Path("build/release/bin/fedbpt"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    for name, default in (("samples", 8), ("candidates", 2), ("copies", 2), ("repeats", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    with h5py.File(arguments.data) as file:
        train, test = Samples.read(file, "train", arguments.samples), Samples.read(file, "test", N_CHECKED)
        official = Official(arguments.model, file.attrs["label_token_ids"].tolist())
    program = Program(arguments)
    error = check_equal(official, program, test)
    found = measure(official, program, make_population(official, train, arguments), arguments)
    padded = len(train.tokens) * max(map(len, train.tokens)) * arguments.candidates * arguments.copies
    versions = {"torch": torch.__version__, "transformers": hf.__version__}
    print(json.dumps({"model": arguments.model.name, "versions": versions, "logits_error": error, "padded_rows": padded, **found}, indent=1))


if __name__ == "__main__":
    main()
