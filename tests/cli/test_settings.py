"""Settings that are wrong: one sentence that names the setting, before the first round, on every number of ranks."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Study, call

# --set, words of the sentence
WRONG = [
    ("fed.round=3", ["fed.round", "did you mean fed.rounds"]),
    ("federation.rounds=3", ["federation.rounds"]),
    ("fed.rounds=0", ["fed.rounds", "out of range"]),
    ("fed.rounds=-1", ["fed.rounds", "out of range"]),
    ("fed.rounds=1.5", ["fed.rounds", "integer"]),
    ("fed.rounds=many", ["fed.rounds", "integer", "many"]),
    ("fed.rounds=99999999999999999999", ["fed.rounds", "out of range"]),
    ("fed.rounds=", ["fed.rounds", "empty"]),
    ("fed.rounds", ["fed.rounds"]),
    ("=3", []),
    ("cma.sigma=0", ["cma.sigma", "out of range"]),
    ("cma.sigma=nan", ["cma.sigma", "number"]),
    ("cma.alpha=1e30", ["cma.alpha", "out of range"]),
    ("cma.population=1", ["cma.population"]),
    ("cma.dimension=1", ["cma.dimension"]),
    ("cma.dimension=1000000", ["cma.dimension", "full covariance", "separable"]),
    ("fed.participation=1.5", ["fed.participation"]),
    ("fed.participation=0.01", ["fed.participation", "less than one client"]),
    ("fed.participation=0.2", ["fed.clients", "nvflare", "only one"]),
    ("fed.clients=1", ["fed.clients", "nvflare", "only one"]),
    ("fed.protocol=gossip", ["fed.protocol", "gossip", "synchronous"]),
    ("fed.sizes=uneven", ["fed.sizes", "uneven", "lognormal"]),
    ("fed.size_alpha=0", ["fed.size_alpha", "out of range"]),
    ("fed.size_sigma=101", ["fed.size_sigma", "out of range"]),
    ("run.overwrite=yes", ["run.overwrite", "true or false"]),
    ("run.seed=0x10", ["run.seed"]),
    ("perturb.rate=2", ["perturb.rate"]),
    ("objective.loss=mse", ["objective.loss", "mse", "hinge"]),
    ("backend.name=tpu", ["backend.name", "tpu", "cpu"]),
    ("backend.precision=fp8", ["backend.precision", "fp8", "bf16"]),
    ("backend.threads=5000", ["backend.threads"]),
    ("backend.batch_tokens=-1", ["backend.batch_tokens"]),
    ("prompt.tokens=0", ["prompt.tokens"]),
    ("model.path=/no/such/folder", ["/no/such/folder", "config.json"]),
    ("data.path=/no/such/file.h5", ["/no/such/file.h5", "No such file"]),
]


@pytest.mark.parametrize(("assignment", "words"), WRONG, ids=[assignment for assignment, _ in WRONG])
def test_on_the_command_line(mask: Study, assignment: str, words: list[str]) -> None:
    call("run", mask.config, "--set", assignment).sentence(*words)
    assert not mask.folder.joinpath("run.h5").exists()


@pytest.mark.parametrize("assignment", ["fed.round=3", "fed.clients=1", "backend.name=tpu", "data.test_limit=-1"])
def test_on_three_ranks(mask: Study, assignment: str) -> None:
    call("run", mask.config, "--set", assignment, ranks=3).sentence(assignment.split("=")[0].split(".")[0])


# A whole file, words of the sentence. HEAD is what makes it complete.
FILES = [
    ("fed:\n  round: 3\n", ["settings.yaml:2", "fed.round", "did you mean"]),
    ("fed:\n  rounds: 3\n  clients: 2\n  rounds: 4\n", ["settings.yaml:4", "fed.rounds", "repeated", "line 2"]),
    ("fed:\n  rounds: 3\nfed:\n  clients: 2\n", ["settings.yaml:3", "fed", "repeated"]),
    ("fed:\n  rounds: soon\n", ["settings.yaml:2", "fed.rounds", "soon"]),
    ("fed:\n  rounds: '3'\n", ["settings.yaml:2", "quotes"]),
    ("fed:\n  rounds: [3]\n", ["settings.yaml:2", "fed.rounds", "list"]),
    ("fed: 3\n", ["settings.yaml:1", "fed"]),
    ("fde:\n  rounds: 3\n", ["settings.yaml:1", "unknown section", "fde"]),
    ("fed:\n\trounds: 3\n", ["settings.yaml:2", "YAML"]),
    ("fed:\n  rounds: {\n", ["settings.yaml", "YAML"]),
    ("- fed\n", ["settings.yaml:1", "sections"]),
    ("just words", ["settings.yaml:1", "sections"]),
    ("", ["model.path", "not set"]),
    ("fed:\n  rounds: 3\n---\nfed:\n  rounds: 4\n", ["settings.yaml", "second YAML document"]),
    ("[" * 2000, ["settings.yaml:1", "brackets"]),
    ("\xff\xfe\x00bad", ["settings.yaml"]),
    ("run:\n  output: 'a\0b'\n", ["settings.yaml"]),
    ("# " + "x" * 300_000 + "\n", ["settings.yaml", "longer than"]),
]


@pytest.mark.parametrize(("text", "words"), FILES, ids=range(len(FILES)))
def test_in_the_file(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(text.encode("latin-1"))
    call("run", path, "--dry-run").sentence(*words)


def test_no_file(tmp_path: Path) -> None:
    call("run", tmp_path / "none.yaml").sentence("none.yaml", "No such file")
    call("run", tmp_path, ranks=3).sentence(str(tmp_path), "directory")


def test_long_comments_are_recorded(mask: Study) -> None:
    """More text than an HDF5 attribute in compact storage can hold."""
    config = mask.folder / "long.yaml"
    config.write_text(mask.config.read_text() + "\n# why: " + "because " * 25_000 + "\n")
    path = mask.output()
    call("run", config, "--set", f"run.output={path}", "--set", "fed.rounds=1").good()
    assert call("show", "--json", path).good().out.count("because ") == 25_000


def test_bf16_on_a_processor_without(mask: Study) -> None:
    env = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    mask.run(backend__precision="bf16", env=env).sentence("backend.precision", "bf16")
    mask.run(backend__precision="bf16", env=env, ranks=3).sentence("backend.precision", "bf16")
    assert not mask.folder.joinpath("run.h5").exists()
    mask.run(backend__precision="auto", env=env).good()


def test_wrong_command_lines(mask: Study) -> None:
    """argp's own sentence and where to find help; never a run."""
    for words in (["run"], ["run", "a", "b"], ["run", "--rounds"], ["show"], ["show", "a", "b"], ["evaluate"],
                  ["evaluate", "--run"], ["evaluate", "--model", "m"], ["evaluate", "--model", "m", "--data", "d", "--round", "3"]):
        result = call(*words)
        assert result.code == 1 and "--help" in result.err and result.out == "", words
    call("walk").sentence("walk", "fedbpt --help")
    assert call().code == 1
