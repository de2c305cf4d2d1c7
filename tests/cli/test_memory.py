"""Weights are in a node's memory once, however many ranks it has: proportional set sizes of runs on 1, 2 and 8 ranks."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import toy
from conftest import Study, call, command, environment, make_study, ranks_of
from safetensors.numpy import save_file

HIDDEN, WIDE, LAYERS, VOCABULARY, POSITIONS = 1024, 4096, 10, 97, 40  # 126 million weights, 504 MB in fp32
BASE_MB = 35.0  # of a rank: the program, its libraries, MPI's buffers, data set, optimisers
SHARE = 1.2


def tensors() -> dict[str, np.ndarray]:
    """Random weights by the names of a RoBERTa with a masked-language-model head."""
    draw = np.random.default_rng(1)
    found: dict[str, np.ndarray] = {}

    def add(name: str, *shape: int) -> None:
        found[name] = 0.02 * draw.standard_normal(shape, np.float32) if len(shape) > 1 else np.ones(shape, np.float32)

    for name, rows in (("word", VOCABULARY), ("position", POSITIONS), ("token_type", 1)):
        add(f"roberta.embeddings.{name}_embeddings.weight", rows, HIDDEN)
    layers = [f"roberta.encoder.layer.{i}" for i in range(LAYERS)]
    products = [(f"{layer}.{name}", HIDDEN, HIDDEN) for layer in layers
                for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")]
    products += [(f"{layer}.intermediate.dense", WIDE, HIDDEN) for layer in layers]
    products += [(f"{layer}.output.dense", HIDDEN, WIDE) for layer in layers]
    for name, n_out, n_in in [*products, ("lm_head.dense", HIDDEN, HIDDEN)]:
        add(f"{name}.weight", n_out, n_in)
        add(f"{name}.bias", n_out)
    norms = [f"{layer}.{part}.LayerNorm" for layer in layers for part in ("attention.output", "output")]
    for name in [*norms, "roberta.embeddings.LayerNorm", "lm_head.layer_norm"]:
        add(f"{name}.weight", HIDDEN)
        add(f"{name}.bias", HIDDEN)
    add("lm_head.bias", VOCABULARY)
    return found


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A model whose weights are nearly all of a run's memory."""
    folder = tmp_path_factory.mktemp("memory")
    model = toy.copy_model(toy.MASK_MODEL, folder / "model")
    sizes = {"hidden_size": HIDDEN, "intermediate_size": WIDE, "num_hidden_layers": LAYERS, "num_attention_heads": 16}
    (model / "config.json").write_text(json.dumps(json.loads((model / "config.json").read_text()) | sizes))
    save_file(tensors(), model / "model.safetensors")
    made = make_study(folder, model, toy.Toy(splits={"train": [4, 4, 4], "dev": [1, 1, 1], "test": [1, 1, 1]}))
    made.values["data"] |= {"shots": 3, "dev_shots": 0}
    made.values["fed"] |= {"clients": 8, "rounds": 1000, "local_generations": 1}
    made.values["cma"] |= {"population": 2, "dimension": 4}
    made.values["run"]["max_seconds"] = 8
    made.values["backend"]["precision_check_every"] = 0  # no second model, in fp32
    return made


def proportional_mb(process: int) -> float:
    """The memory that a process has alone, and its part of what it shares."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024e-6 if found else 0


def measure(study: Study, ranks: int, precision: str) -> float:
    """The most that all ranks together have, from the first round on, in MB."""
    arguments = ("run", study.config, *study.set(run__output=study.output(), backend__precision=precision))
    most, begun = 0.0, False
    log = study.folder / f"{precision}-{ranks}.log"
    with log.open("w") as err, subprocess.Popen(command(arguments, ranks), stderr=err, env=environment({})) as process:
        while process.poll() is None:
            begun = begun or "round   0/" in log.read_text()
            if begun:
                most = max(most, sum(map(proportional_mb, ranks_of(process) if ranks > 1 else [process.pid])))
            time.sleep(0.2)
    assert process.returncode == 75, log.read_text()
    return most


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_weights_are_in_memory_once(study: Study, precision: str) -> None:
    """Broken by a rank that loads weights of its own, and by a file or a second copy that stays mapped behind the weights."""
    told = call("run", study.config, "--dry-run", *study.set(backend__precision=precision))
    if "has no bfloat16 instructions" in told.err:
        pytest.skip("the processor has no bfloat16 instructions")
    found = re.search(r"# memory of rank 0 in \w+: ([\d.]+) MB of weights, ([\d.]+) MB of lookup tables.*?, ([\d.]+) MB of projection, "
                      r"(\d+) x ([\d.]+) MB", told.good().out)
    assert found is not None
    weights, tables, projection, n_streams, workspace = map(float, found.groups())
    for ranks in (1, 2, 8):
        most = measure(study, ranks, precision)
        allowed = SHARE * (weights + tables) + ranks * (BASE_MB + projection + n_streams * workspace)
        print(f"{precision}, {ranks} ranks: {most:.0f} MB of {allowed:.0f}, weights {weights + tables:.0f}, "
              f"a rank {(most - weights - tables) / ranks:.0f}")
        assert weights < most < allowed
