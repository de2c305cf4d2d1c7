"""Deep prompts (prompt.deep): every layer has a prompt of its own, with all that other runs promise."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.numpy
import toy
from conftest import SANITIZED, Study, call, command, digest_of, environment, last_round, wait_for_rounds
from fedbpt_analysis import settings as recorded
from fedbpt_analysis.files import text_of
from fedbpt_analysis.verify import verify

DEEP = {"prompt__deep": "joint"}
OTHERS = {"perturb__rate": 0.4, "fed__participation": 0.6}
BOTH = pytest.mark.parametrize("deep", ["joint", "alternate"])
N_LAYERS, N_HIDDEN = 2, {"mask": 60, "embedding": 48, "decoder": 32, "labels": 32}


@pytest.fixture(params=["mask", "embedding", "decoder", "labels"])
def study(request: pytest.FixtureRequest) -> Study:
    return request.getfixturevalue(request.param)


def stds_of(path: Path) -> list[float]:
    with h5py.File(path) as file:
        text = recorded.recorded(text_of(file["config"].attrs["resolved"]))["prompt.hidden_std"]
    return [float(part) for part in str(text).split(",")]


@pytest.mark.thorough
@BOTH
def test_cuts(study: Study, deep: str) -> None:
    """Broken by a prompt that depends on what else is in a batch, or by a rank that scales projections by numbers of its own."""
    changes = {"prompt__deep": deep, **OTHERS}
    expected = study.digest(**changes)
    for ranks in (3,) if SANITIZED else (3, 5):
        assert study.digest(ranks=ranks, **changes) == expected, f"{ranks} ranks"
    for batch_tokens in (1, 60, 10_000_000):
        assert study.digest(backend__batch_tokens=batch_tokens, backend__threads=2, **changes) == expected, f"{batch_tokens} tokens"
    assert study.digest(**{**changes, "prompt__deep": "none"}) != expected


def test_modes(decoder: Study) -> None:
    """Adding and replacing are two things. Broken by a mode that is not told to the layers behind the first."""
    digests = [decoder.digest(**DEEP)]
    decoder.toy = toy.Toy.decoder(mode="add")
    toy.write(decoder.data, decoder.toy)
    digests += [decoder.digest(prompt__mode="add", **DEEP), decoder.digest(prompt__mode="add")]
    assert len(set(digests)) == 3


@pytest.mark.parametrize(("name", "deep"), [("embedding", "joint"), ("decoder", "joint"), ("decoder", "alternate")])
def test_kill_and_resume(name: str, deep: str, request: pytest.FixtureRequest) -> None:
    """Killed with all its ranks in some round, and finished by other numbers of ranks. Broken by standard deviations that are found
    anew, or by a server whose state is not all layers'."""
    study = request.getfixturevalue(name)
    changes = {"fed__rounds": 30, "fed__local_generations": 4, "prompt__deep": deep, **OTHERS}
    path = study.output()
    words = command(("run", study.config, *study.set(run__output=path, **changes)), 2)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment({}),
                          start_new_session=True) as process:
        wait_for_rounds(path, process, 3)
        os.killpg(process.pid, signal.SIGKILL)
    assert last_round(path) < 30
    call("run", study.config, "--resume", *study.set(run__output=path, **changes), ranks=3).good()
    assert digest_of(path) == study.digest(**changes)


def test_run_file(study: Study, request: pytest.FixtureRequest) -> None:
    """z of all layers, every layer's prompt, and what projections were scaled by. Each layer's prompt is linear in its part of z alone:
    broken by a projection that mixes layers, or by prompts written in another order."""
    path = study.finished(**DEEP)
    n_hidden = N_HIDDEN[request.node.callspec.params["study"]]
    stds = stds_of(path)
    assert len(stds) == N_LAYERS and min(stds) > 0
    with h5py.File(path) as file:
        prompt, z = file["result/last_prompt"][:], file["result/last_z"][:].reshape(N_LAYERS, 6)
        assert file["rounds/z"].shape[1] == 12
    assert prompt.shape == (N_LAYERS * 3, n_hidden)
    # Entries of A are normal with deviation alpha std / sqrt(d / L): those of A z are, with that times |z|.
    for layer, part in enumerate(np.split(prompt, N_LAYERS)):
        assert part.std() / (2 * stds[layer] / np.sqrt(6) * np.linalg.norm(z[layer])) == pytest.approx(1, abs=0.25)
    assert verify(path, None).problems == []


def test_hidden_std(decoder: Study) -> None:
    """Values that were found may be given, and others make another run."""
    path = decoder.finished(**DEEP)
    stds = ",".join(f"{value:.9g}" for value in stds_of(path))
    assert decoder.digest(prompt__hidden_std=stds, **DEEP) == digest_of(path)
    assert decoder.digest(prompt__hidden_std="0.3,0.7", **DEEP) != digest_of(path)


def clipped_std(x: np.ndarray) -> float:
    """As in the authors' deepbbt.py: five times over, at three standard deviations."""
    for _ in range(5):
        x = np.clip(x, x.mean() - 3 * x.std(), x.mean() + 3 * x.std())
    return float(x.std())


def llama_hidden_states(folder: Path, tokens: np.ndarray) -> list[np.ndarray]:
    """The input of each layer of a sequence, in float64, from the definitions of Llama."""
    w = {name: value.astype(np.float64) for name, value in safetensors.numpy.load_file(folder / "model.safetensors").items()}
    heads, kv, d = 4, 2, 8

    def norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * gain

    def rotate(x: np.ndarray) -> np.ndarray:
        angle = np.arange(len(x))[:, None] / 100.0 ** (np.arange(0, d, 2) / d)
        a, b, cos, sin = x[..., : d // 2], x[..., d // 2 :], np.cos(angle)[:, None], np.sin(angle)[:, None]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    x, states = w["model.embed_tokens.weight"][tokens], []
    for i in range(N_LAYERS):
        layer = {name.removeprefix(f"model.layers.{i}."): value for name, value in w.items()}
        states.append(x)
        y = norm(x, layer["input_layernorm.weight"])
        q, k, v = ((y @ layer[f"self_attn.{name}_proj.weight"].T).reshape(len(x), -1, d) for name in "qkv")
        k, v = (np.repeat(part, heads // kv, axis=1) for part in (rotate(k), v))
        scores = np.einsum("qhd,khd->hqk", rotate(q), k) / np.sqrt(d) + np.triu(np.full((len(x), len(x)), -np.inf), 1)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        context = np.einsum("hqk,khd->qhd", weights / weights.sum(-1, keepdims=True), v).reshape(len(x), -1)
        x = x + context @ layer["self_attn.o_proj.weight"].T
        y = norm(x, layer["post_attention_layernorm.weight"])
        gate, up = y @ layer["mlp.gate_proj.weight"].T, y @ layer["mlp.up_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ layer["mlp.down_proj.weight"].T
    return states


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 (Salmon et al. 2011)."""
    for number in range(10):
        bumped = [(key[0] + number * 0x9E3779B9) % 2**32, (key[1] + number * 0xBB67AE85) % 2**32]
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [b >> 32 ^ counter[1] ^ bumped[0], b % 2**32, a >> 32 ^ counter[3] ^ bumped[1], a % 2**32]
    return counter


def random_tokens(seed: int, sequence: int, n: int, n_words: int) -> np.ndarray:
    """As GSL's gsl_rng_uniform_int makes them of the stream for projections (purpose 1) of client 1 + sequence."""
    words = [word for block in range(n) for word in philox([block, 1 << 24, 0, (1 + sequence) << 16], [seed, 0])]
    numbers = [word // (0xFFFFFFFF // n_words) for word in words]
    return np.array([number for number in numbers if number < n_words][:n])


def test_standard_deviations(decoder: Study) -> None:
    """Against NumPy: those of the word embeddings for the first layer, and of clipped hidden states behind it. Broken by another
    layer's states, by other tokens, or by values that are clipped fewer times."""
    states = [llama_hidden_states(decoder.model, random_tokens(3, sequence, 32, 61)) for sequence in range(16)]
    words = safetensors.numpy.load_file(decoder.model / "model.safetensors")["model.embed_tokens.weight"]
    found = stds_of(decoder.finished(**DEEP))
    inputs = np.concatenate([state[1] for state in states])
    assert found[0] == pytest.approx(words.std(), rel=1e-5)
    assert found[1] == pytest.approx(clipped_std(inputs), rel=1e-5) != pytest.approx(inputs.std(), rel=1e-4)


def test_layers_in_turn(study: Study) -> None:
    """A round moves one layer's part of z, sends its numbers alone, and has them scored among those of the others."""
    path = study.finished(prompt__deep="alternate", fed__rounds=4)
    with h5py.File(path) as file:
        moved = np.diff(file["rounds/z"][:].reshape(5, N_LAYERS, 6), axis=0) != 0
        assert np.array_equal(moved.all(axis=2), moved.any(axis=2)) and moved[:, :, 0].tolist() == [[True, False], [False, True]] * 2
        n_up, n_down = 6 + 2 + 1, 6 + 1 + 21  # mean, step sizes, fitness; mean, step size, covariance
        assert (file["rounds/cost/bytes_up"][1:] == 5 * 4 * n_up).all() and (file["rounds/cost/bytes_down"][1:] == 5 * 4 * n_down).all()
        assert recorded.recorded(text_of(file["config"].attrs["resolved"]))["prompt.layers"] == N_LAYERS
    assert verify(path, None).problems == []


def test_first_layer_alone(mask: Study) -> None:
    """At z = 0 prompts that are added change nothing, so that the first round is that of a prompt at the first layer alone."""
    changes = {"fed__rounds": 1, "prompt__projection": "uniform"}
    with h5py.File(mask.finished(prompt__deep="alternate", **changes)) as file, \
         h5py.File(mask.finished(cma__dimension=6, **changes)) as first:
        assert np.array_equal(file["result/last_z"][:6], first["result/last_z"][:]) and not file["result/last_z"][6:].any()
        for name in ("train_loss", "dev_loss", "test_loss", "step_size", "client/fitness"):
            assert np.array_equal(file["rounds"][name][:], first["rounds"][name][:], equal_nan=True), name


def test_dry_run(decoder: Study) -> None:
    out = call("run", decoder.config, "--dry-run", *decoder.set(**DEEP)).good().out
    assert "# prompts: one of 3 vectors at the input of each of 2 layers, of 6 dimensions each" in out and "deep: joint" in out
    out = call("run", decoder.config, "--dry-run", *decoder.set(prompt__deep="alternate")).good().out
    assert "of 6 dimensions each, searched in turn, one in a round" in out and "layers: 2" in out
    out = call("run", decoder.config, "--dry-run", *decoder.set(prompt__hidden_std="1,1")).good().out
    assert "prompt.hidden_std: 1,1 has no effect" in out and "# prompts" not in out


@pytest.mark.thorough
@BOTH
def test_evaluate_and_rerun(study: Study, deep: str) -> None:
    """The recorded prompt gives the recorded scores to the last bit, and the run its numbers again."""
    path = study.finished(prompt__deep=deep)
    scored = call("evaluate", "--run", path, "--round", "last", "--json").good().out
    with h5py.File(path) as file:
        assert json.loads(scored)["loss"] == file["rounds/test_loss"][-1]
    call("rerun", path).good()


@BOTH
def test_precision_guard(embedding: Study, deep: str) -> None:
    """The fp32 model that a low precision is checked with has the run's own projections, also where the run falls back to it."""
    changes = {"prompt__deep": deep, "backend__precision": "int8", "backend__precision_check_every": 1}
    path = embedding.finished(**changes)
    with h5py.File(path) as file:
        assert np.nanmin(file["rounds/precision_tau"][1:]) > 0.3
    fallen = {**changes, "backend__precision_guard": "fallback", "backend__precision_guard_tau": 1}
    assert embedding.digest(ranks=3, **fallen) == embedding.digest(**fallen)


@pytest.mark.thorough
def test_sweep(decoder: Study) -> None:
    """Runs that keep the model open from one to the next. Broken by one run's standard deviations or prompts left to another."""
    values = {"name": "trial", "base": decoder.config.name, "output": str(decoder.folder / "runs"),
              "grid": {"prompt.deep": ["none", "joint"], "run.seed": [3, 4]}}
    sweep = toy.write_settings(decoder.folder / "sweep.yaml", values)
    call("sweep", sweep).good()
    found = {digest_of(path) for path in (decoder.folder / "runs").glob("*.h5")}
    assert found == {decoder.digest(prompt__deep=deep, run__seed=seed) for deep in ("none", "joint") for seed in (3, 4)}


@pytest.mark.parametrize(("changes", "parts"), [
    ({"cma__dimension": 13}, ["cma.dimension is 13", "prompt.deep=joint", "2 layers", "14"]),
    ({"prompt__hidden_std": "0.5"}, ["prompt.hidden_std", "2 positive numbers"]),
    ({"prompt__hidden_std": "0.5,-1"}, ["prompt.hidden_std", "part 2", "-1"]),
    ({"prompt__hidden_std": "0.5,1,2"}, ["prompt.hidden_std", "part 2"]),
    ({"prompt__deep": "alternate", "prompt__layers": 3}, ["prompt.layers is 3", "2 layers"]),
    ({"prompt__deep": "alternate", "cma__dimension": 13}, ["prompt.deep=alternate", "2 layers", "14"]),
    ({"prompt__deep": "alternate", "cma__dimension": 12, "fed__optimiser": "lm-ma", "fed__protocol": "synchronous", "cma__population": 8},
     ["cma.population", "lm-ma", "not 8"]),
])
def test_refused(decoder: Study, changes: dict[str, object], parts: list[str]) -> None:
    result = decoder.run(**{**DEEP, **changes})
    assert result.code == 1
    assert all(part in result.err for part in parts), result.err


def test_export(embedding: Study) -> None:
    """All layers' prompts as one array; PEFT has no adapter that puts them in."""
    path, npz = embedding.finished(**DEEP), embedding.folder / "prompt.npz"
    call("export", path, "--format", "npz", "--output", npz).good()
    with h5py.File(path) as file, np.load(npz) as made:
        assert made["prompt_embeddings"].shape == (N_LAYERS, 3, 48)
        best = file["result/best_prompt"][:].reshape(N_LAYERS, 3, 48)
        assert np.array_equal(made["prompt_embeddings"], best) and made["prompt_deep"] == "joint"
    result = call("export", path, "--format", "peft", "--output", embedding.folder / "adapter")
    assert result.code != 0 and "prompt.deep" in result.err and "npz" in result.err
