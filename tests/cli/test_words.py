"""Prompts of words (prompt.projection: words): that they are text, and all that other runs promise."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import toy
from conftest import Study, call, digest_of, edited
from fedbpt_analysis.verify import verify

N = 12
WORDS = {"prompt__projection": "words", "prompt__mode": "input", "prompt__vocabulary": N, "cma__dimension": 3, "fed__optimiser": "bdpl",
         "es__learning_rate": 0.1}
PROTOCOLS = {"synchronous": {"fed__protocol": "synchronous"}, "fedavg": {"fed__protocol": "fedavg-bbt", "fed__participation": 0.6},
             "fedone": {"fed__protocol": "fedavg-bbt", "fed__participants": 1}}


@pytest.fixture(params=["mask", "embedding", "decoder", "labels"])
def study(request: pytest.FixtureRequest) -> Study:
    return with_words(request.getfixturevalue(request.param))


@pytest.fixture
def words(decoder: Study) -> Study:
    return with_words(decoder)


def with_words(study: Study) -> Study:
    """Its data set for prompt mode input, with a vocabulary of every fourth token; settings of such a run."""
    study.toy.mode = "input"
    study.toy.words = list(range(4, study.toy.vocabulary, 4))[: N + 2]
    toy.write(study.data, study.toy)
    for key, value in WORDS.items():
        section, name = key.split("__")
        study.values.setdefault(section, {})[name] = value
    study.values["fed"]["protocol"] = "synchronous"
    return study


def as_text(study: Study, tokens: list[int]) -> Path:
    """The data set with these tokens in front of every text, and no prompt."""
    path = study.folder / "text.h5"
    path.write_bytes(study.data.read_bytes())
    p = len(tokens)
    with h5py.File(path, "r+") as file:
        file.attrs["prompt_mode"] = "none"
        for split in ("train", "dev", "test"):
            group = file[split]
            bounds, old, frozen = group["offsets"][:], group["tokens"][:], group["frozen"][:]
            rows = [old[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
            flags = [frozen[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
            read = group["readout"][:] + (p if file.attrs["readout"] != "embedding" else 0)
            new = {"tokens": np.concatenate([[*tokens, *row] for row in rows]).astype(np.int32),
                   "frozen": np.concatenate([[1] * p + flag.tolist() for flag in flags]).astype(np.uint8),
                   "offsets": np.cumsum([0, *(p + len(row) for row in rows)]), "readout": read.astype(np.int32)}
            for name, values in new.items():
                del group[name]
                group[name] = values
    return path


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_prompt_is_text(study: Study, precision: str) -> None:
    """The words found, written in front of the test texts as tokens, have the recorded loss to the last bit. Broken by an embedding that
    is scaled, by another word's row, by positions that are not counted on."""
    path = study.finished(backend__precision=precision)
    with h5py.File(path) as file:
        z, expected = file["result/last_z"][:].astype(int), file["rounds/test_loss"][-1]
        prompt = file["result/last_prompt"][:]
        assert set(z) - {0}, "no word but the first"
        tokens = [study.toy.words[number] for number in z]
        assert file["inputs/vocabulary/tokens"][:].tolist() == study.toy.words[:N]
    assert prompt.shape[0] == 3 and (z[0] == z[1]) == np.array_equal(prompt[0], prompt[1])
    scoring = [word for key in ("label_scoring",) if key in study.values["model"] for word in ("--set", f"model.{key}={study.values['model'][key]}")]
    found = call("evaluate", "--model", study.model, "--data", as_text(study, tokens), "--json", "--set", f"backend.precision={precision}",
                 *scoring).good().out
    assert json.loads(found)["loss"] == expected


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_words_are_found(words: Study, protocol: str) -> None:
    """The loss falls well below that of the first word everywhere, where a search begins. Broken by a gradient of the other sign, and by
    clients whose probabilities do not reach the server."""
    changes = {**PROTOCOLS[protocol], "fed__rounds": 25, "fed__local_generations": 4, "cma__population": 10, "es__learning_rate": 0.05}
    path = words.finished(**changes)
    with h5py.File(path) as file:
        loss, z = file["rounds/train_loss"][:], file["rounds/z"][:]
    assert loss[-5:].mean() < loss[0] - 0.02
    assert np.array_equal(z, np.floor(z)) and z.min() >= 0 and z.max() < N
    assert verify(path, None).problems == []


@pytest.mark.thorough
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_cuts_and_stops(words: Study, protocol: str) -> None:
    """Ranks, threads, batches, a stop. Broken by a prompt that depends on what else is in a batch, and by probabilities that a checkpoint
    leaves out."""
    changes = {**PROTOCOLS[protocol], "perturb__rate": 0.3}
    expected = words.digest(**changes)
    assert words.digest(ranks=3, **changes) == expected
    assert words.digest(backend__batch_tokens=60, backend__threads=2, **changes) == expected
    path = words.output()
    assert words.run(run__output=path, run__max_seconds=1e-6, **changes).code == 75
    call("run", words.config, "--resume", *words.set(run__output=path, **changes), ranks=2).good()
    assert digest_of(path) == expected


@pytest.mark.parametrize("changes", [{"fed__quantise_bits": 4}, {"fed__quantise_bits": 4, "fed__error_feedback": "true"},
                                     {"privacy__clip": 1, "privacy__noise_multiplier": 0.1}, {"fed__secure_aggregation": "true"}],
                         ids=["quantised", "with feedback", "noised", "masked"])
def test_transformed_messages(words: Study, changes: dict[str, object]) -> None:
    """Probabilities that are rounded, noised or summed under masks on their way still make words. Broken by a sum of probabilities other
    than 1 that is sampled from."""
    path = words.finished(fed__protocol="fedavg-bbt", **changes)
    with h5py.File(path) as file:
        z = file["rounds/z"][:]
        assert np.array_equal(z, np.floor(z)) and z.max() < N and np.isfinite(file["rounds/train_loss"][:]).all()


def test_bytes(words: Study) -> None:
    """Clients get and send the probabilities, the step size, and no mean."""
    with h5py.File(words.finished(fed__protocol="fedavg-bbt", fed__participants=2)) as file:
        for name in ("bytes_up", "bytes_down"):
            assert file[f"rounds/cost/{name}"][1:].tolist() == [2 * 4 * (3 * N + 1)] * 3


@pytest.mark.thorough
def test_evaluate_and_rerun(words: Study) -> None:
    """The words are the run's own, whatever the data set that is scored says. Broken by those of another vocabulary."""
    path = words.finished()
    with h5py.File(path) as file:
        expected = file["rounds/test_loss"][-1]
    call("rerun", path).good()
    words.toy.words = list(reversed(words.toy.words))
    for number, other in enumerate((words.toy.words, None)):
        words.toy.words = other
        data = toy.write(words.folder / f"other{number}.h5", words.toy)
        found = call("evaluate", "--run", path, "--round", "last", "--data", data, "--json").good().out
        assert json.loads(found)["loss"] == expected


def test_export(words: Study) -> None:
    """The words by their texts, in a file and on the terminal; PEFT takes their embeddings."""
    path = words.finished()
    with h5py.File(path) as file:
        z = file["result/last_z"][:].astype(int)
    expected = [toy.word_of(words.toy.words[number]) for number in z]
    out = call("export", path, "--format", "npz", "--round", "last").good().out
    assert f"words: {' '.join(expected)}" in out
    with np.load(path.with_suffix(".npz")) as made:
        assert made["prompt_words"].tolist() == expected and made["prompt_embeddings"].shape[0] == 3
    call("export", path, "--format", "peft").good()
    with edited(path) as file:
        file["result/last_z"][0] = N
    call("export", path, "--format", "safetensors", "--round", "last").sentence("z", "damaged")


def test_precision_guard(words: Study) -> None:
    """The fp32 model that a low precision is checked with has the same words."""
    path = words.finished(backend__precision="int8", backend__precision_check_every=1)
    with h5py.File(path) as file:
        assert np.nanmin(file["rounds/precision_tau"][1:]) > 0.3


REFUSED = [
    ({"fed__optimiser": "cma"}, ["prompt.projection", "words", "fed.optimiser cma", "bdpl"]),
    ({"prompt__projection": "normal"}, ["fed.optimiser", "bdpl", "prompt.projection"]),
    ({"prompt__mode": "cat"}, ["prompt.mode", "cat", "input"]),
    ({"prompt__deep": "joint"}, ["prompt.deep", "joint", "words"]),
    ({"cma__dimension": 4}, ["cma.dimension", "4", "prompt.tokens, 3"]),
    ({"cma__norm_bound": 1}, ["cma.norm_bound"]),
    ({"fed__average_means": 2}, ["fed.average_means", "words"]),
    ({"fed__protocol": "nvflare"}, ["fed.optimiser", "bdpl", "nvflare"]),
    ({"fed__protocol": "paper"}, ["fed.optimiser", "bdpl", "paper"]),
    ({"fed__protocol": "feedsign"}, ["pairs", "bdpl"]),
    ({"prompt__vocabulary": N + 3}, ["prompt.vocabulary", f"{N + 3}", f"{N + 2}", "--vocabulary"]),
]


@pytest.mark.parametrize(("changes", "parts"), REFUSED, ids=[" ".join(changes) for changes, _ in REFUSED])
def test_refused(words: Study, changes: dict[str, object], parts: list[str]) -> None:
    """By the settings' names, before anything is written."""
    path = words.output()
    words.run(run__output=path, **changes).sentence(*parts)
    assert not path.exists()


def test_refused_data(words: Study) -> None:
    """Broken by a data set without vocabulary that is taken, and by one whose words are no tokens."""
    words.toy.words = None
    toy.write(words.data, words.toy)
    words.run().sentence("prompt.projection", "words", "no vocabulary", "--vocabulary")
    words.toy.words = [words.toy.vocabulary + i for i in range(N)]
    toy.write(words.data, words.toy)
    words.run().sentence(str(words.data), "vocabulary", "word 0", "outside")
    with h5py.File(words.data, "r+") as file:
        del file["vocabulary/tokens"]
        file["vocabulary/tokens"] = np.arange(3, dtype=np.int32)
    words.run().sentence(str(words.data), "vocabulary/tokens", f"{N} integers")


def test_no_effect(words: Study) -> None:
    """Of the projection's scale and of the other searches' settings. Broken by one that changes words."""
    expected = read_z(words.finished())
    for key, value in (("cma.sigma", 2), ("cma.alpha", 3), ("cma.covariance", "separable"), ("cma.constants", "tutorial"), ("es.momentum", 0.5),
                       ("es.weight_decay", 0.1), ("es.elite", 1), ("es.smoothing", 0.5)):
        changes = {key.replace(".", "__"): value}
        assert np.array_equal(read_z(words.finished(**changes)), expected), key
        assert f"# {key}: {value} has no effect" in call("run", words.config, "--dry-run", *words.set(**changes)).good().out
    assert not np.array_equal(read_z(words.finished(es__learning_rate=0.4)), expected)


def read_z(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file["rounds/z"][:]
