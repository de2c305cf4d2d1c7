"""show, info, help texts, dry runs and the committed settings files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import pytest
import toy
import yaml
from conftest import ROOT, Study, call, digest_of, edited
from toy import Toy, copy_model

ROBERTA_LARGE = {
    "architectures": ["RobertaForMaskedLM"], "attention_probs_dropout_prob": 0.1, "bos_token_id": 0, "eos_token_id": 2,
    "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 1024, "initializer_range": 0.02, "intermediate_size": 4096,
    "layer_norm_eps": 1e-05, "max_position_embeddings": 514, "model_type": "roberta", "num_attention_heads": 16,
    "num_hidden_layers": 24, "pad_token_id": 1, "type_vocab_size": 1, "vocab_size": 50265,
}


def test_text(mask: Study) -> None:
    path = mask.finished()
    out = call("show", path).good().out
    for word in (str(path), "finished", "clients: 5", "cpu", "roberta", "toy", "test acc", "best", "last"):
        assert word in out
    rounds = [line.split() for line in out.split("\nRounds\n")[1].splitlines()]
    assert [row[0] for row in rounds] == ["round", "0", "1", "2", "3"]
    with h5py.File(path) as file:
        assert float(rounds[3][1]) == pytest.approx(file["rounds/train_loss"][2], abs=1e-4)


def test_json(mask: Study) -> None:
    path = mask.finished(fed__clients=6)
    found = json.loads(call("show", "--json", path).good().out)
    assert found["status"] == "finished" and found["last_round"] == 3
    assert yaml.safe_load(found["config"]["resolved"])["fed"]["clients"] == 6
    assert "--set fed.clients=6" in found["config"]["given"]
    assert {"hosts", "ranks", "threads_per_rank", "mpi", "backend", "device", "precision", "libraries"} <= found["environment"].keys()
    assert {"model", "data", "data_source_sha256", "tokenizer_sha256"} <= found["inputs"].keys()
    with h5py.File(path) as file:
        assert found["best_round"] == file["result"].attrs["best_round"]
        for row, entry in enumerate(found["rounds"]):
            for name in ("index", "train_loss", "dev_accuracy", "test_loss", "step_size", "test_f1"):
                assert entry[name] == file["rounds"][name][row], name
            assert sum(entry["seconds"].values()) >= 0


def test_everything_is_described(mask: Study) -> None:
    """h5py alone is enough to know what a data set is."""
    bare = []

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not (item.attrs.get("long_name") and item.attrs.get("unit")):
            bare.append(name)

    with h5py.File(mask.finished(run__client_means="true")) as file:
        file.visititems(visit)
    assert bare == []


@pytest.mark.parametrize("option", [[], ["--json"], ["--digest"]])
def test_no_run_file(mask: Study, option: list[str]) -> None:
    path = mask.finished()
    call("show", *option, mask.folder / "none.h5").sentence("none.h5")
    call("show", *option, mask.folder).sentence(str(mask.folder))
    call("show", *option, mask.config).sentence(str(mask.config))
    content = path.read_bytes()
    for share in (0.0, 0.01, 0.2, 0.7, 0.99):
        path.write_bytes(content[: int(share * len(content))])
        call("show", *option, path).sentence(path.name)


def test_digest_sees_a_changed_bit(mask: Study) -> None:
    path = mask.finished()
    before = digest_of(path)
    with edited(path) as file:
        file["rounds/cost/seconds"][1] = 99.0
        file["rounds/cost/peak_memory"][1] = 99
    assert digest_of(path) == before
    with edited(path) as file:
        file["rounds/client/loss"][2, 3] *= 1 + 2**-52
    assert digest_of(path) != before


def test_names_like_options(mask: Study) -> None:
    """Files whose names begin with '-': found as they are, behind --, and as values of options."""
    folder = mask.folder
    (folder / "-s.yaml").write_text('{"name": "t", "base": "-c.yaml", "output": "-runs", "grid": {"run.seed": [3]}}')
    (folder / "-c.yaml").write_text(mask.config.read_text())
    for dashes in ((), ("--",)):
        call("run", "--set", "run.output=-x.h5", "--overwrite", *dashes, "-c.yaml", cwd=folder).good()
        digest = call("show", "--digest", *dashes, "-x.h5", cwd=folder).good().out
        assert digest == f"{digest_of(folder / '-x.h5')}\n"
        call("export", "--format", "npz", "--overwrite", *dashes, "-x.h5", cwd=folder).good()
        assert (folder / "-x.npz").exists()
        call("sweep", *dashes, "-s.yaml", cwd=folder).good()
        call("rerun", "--overwrite", *dashes, "-x.h5", cwd=folder).good()
    call("evaluate", "--run", "-x.h5", "--data", mask.data, cwd=folder).good()
    assert "invalid option" in call("show", "-y.h5", cwd=folder).err


@pytest.mark.parametrize("command", ["run", "evaluate", "show", "bench", "info"])
def test_help(command: str) -> None:
    out = call(command, "--help").good().out
    assert f"Usage: fedbpt {command}" in out and "Example" in out
    assert f"  fedbpt {command}" in out


def test_overview() -> None:
    assert call("--help").good().out == call("help").good().out
    assert "fedbpt 0." in call("--version").good().out
    out = call("info").good().out
    assert "backend: cpu" in out and "Open MPI" in out


def test_reference_of_settings(mask: Study) -> None:
    """Every setting of a resolved configuration is in the reference."""
    reference = call("run", "--options").good().out
    resolved = yaml.safe_load(call("run", mask.config, "--dry-run").good().out)
    for section, options in resolved.items():
        assert f"{section}:" in reference
        for name in options:
            assert f"  {name} " in reference, name


@pytest.mark.parametrize("ranks", [1, 3, 7])
def test_dry_run(mask: Study, ranks: int) -> None:
    result = call("run", mask.config, "--dry-run", "--set", "fed.partition=dirichlet", ranks=ranks).good()
    assert yaml.safe_load(result.out)["fed"]["partition"] == "dirichlet"
    assert "12 training, 12 dev, 21 test samples" in result.out
    clients = [line for line in result.out.splitlines() if line.startswith("#   client")]
    assert len(clients) == 5
    assert all("rank" in line for line in clients)
    if ranks == 7:
        assert sum(bool(re.search(r"ranks \d to \d", line)) for line in clients) == 2  # 7 ranks, 5 clients
    assert not mask.folder.joinpath("run.h5").exists()


def test_dry_run_is_a_configuration(mask: Study) -> None:
    """Its output runs to the same digest; so does what a run file recorded."""
    odd = mask.folder / 'a "b" #c: é\'s'
    model = copy_model(mask.model, odd)
    changes = {"fed__protocol": "paper", "perturb__rate": 0.1, "cma__sigma": 0.30000000000000004, "model__path": model}
    path = mask.finished(**changes)
    result = call("run", mask.config, "--dry-run", *mask.set(**changes)).good()
    again = mask.folder / "again.yaml"
    again.write_text(result.out)
    call("run", again, "--set", f"run.output={mask.folder / 'again.h5'}").good()
    assert digest_of(mask.folder / "again.h5") == digest_of(path)
    recorded = mask.folder / "recorded.yaml"
    with h5py.File(path) as file:
        recorded.write_text(file["config"].attrs["resolved"])
        assert file["config"].attrs["given"].startswith(mask.config.read_text())
    call("run", recorded, "--set", f"run.output={mask.folder / 'third.h5'}").good()
    assert digest_of(mask.folder / "third.h5") == digest_of(path)


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "configs").glob("*-roberta-large.yaml")))
def test_configurations_for_roberta_large(tmp_path: Path, name: str) -> None:
    """Valid but for the weights and texts that the user brings: config.json and a small data set stand in for them."""
    model = tmp_path / "roberta-large"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(ROBERTA_LARGE))
    n_labels = 4 if name.startswith("agnews") else 2
    shape = Toy(vocabulary=50265, prompt_tokens=50, prompt_words=1000, longest=120, mask=50264, splits={
        "train": [80] * n_labels, "test": [10] * n_labels})
    data = toy.write(tmp_path / "data.h5", shape)
    out = call("run", ROOT / "configs" / name, "--dry-run", "--set", f"model.path={model}", "--set", f"data.path={data}",
               "--set", f"run.output={tmp_path / 'run.h5'}", ranks=2).good().out
    settings = yaml.safe_load(out)
    assert settings["prompt"] == {"mode": "add", "tokens": 50, "projection": "normal", "vocabulary": 200, "deep": "none",
                                  "hidden_std": "auto", "layers": 0}
    assert f"{40 * n_labels} training, {40 * n_labels} dev" in out


def test_configurations_are_complete() -> None:
    """Each settings file names the keys that other programs set."""
    for path in (ROOT / "configs").glob("*.yaml"):
        found = yaml.safe_load(path.read_text())
        assert {"output", "seed", "max_seconds"} <= found["run"].keys(), path
        assert {"rounds", "clients", "protocol"} <= found["fed"].keys(), path
        assert {"name", "precision", "threads"} <= found["backend"].keys(), path
