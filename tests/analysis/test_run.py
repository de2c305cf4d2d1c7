"""Run files as data frames: values, laziness, live files, errors."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import fedbpt_analysis as fa
import h5py
import made
import numpy as np
import pandas as pd
import pytest
from conftest import PROGRAM
from fedbpt_analysis import frame as frame_module
from fedbpt_analysis import report, schema, settings, words
from fedbpt_analysis.verify import verify
from made import Made


def columns(path: Path) -> dict[str, tuple[str, int]]:
    """Kind and rank of each data set below /rounds."""
    found: dict[str, tuple[str, int]] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = (item.dtype.kind, item.ndim)

    with h5py.File(path) as file:
        file["rounds"].visititems(visit)
    return found


def in_schema(*absent: str) -> dict[str, tuple[str, int]]:
    return {name: (kind, 1 + len(sizes)) for name, (kind, sizes) in schema.COLUMNS.items() if name not in absent}


def test_layout_of_the_program(real: Path, tmp_path: Path) -> None:
    """Breaks when src/record/run_layout.c has other columns than schema.py, and when the made files differ from real ones."""
    expected = in_schema(*schema.CHECKS, *schema.REPORTS)
    assert columns(real) == expected
    ours = columns(made.write(tmp_path / "made.h5"))
    assert ours == {name: entry for name, entry in expected.items() if name != "client/mean"}
    with h5py.File(real) as theirs, h5py.File(tmp_path / "made.h5") as file:
        assert set(theirs) == set(file) and set(theirs.attrs) == set(file.attrs)
        assert all(set(theirs[name]) == set(file[name]) for name in ("partition", "result"))


def test_checks(checked: Path, real: Path) -> None:
    """Findings of precision checks as the file has them, and a sentence of them. Broken by columns that a file in fp32 would need."""
    assert columns(checked) == in_schema("client/mean", *schema.REPORTS)
    run = fa.open_run(checked)
    found = run.precision_checks
    assert found.index.to_list() == [1, 2, 3] and found.columns.to_list() == [name.removeprefix("precision_") for name in schema.CHECKS]
    for name in schema.CHECKS:
        np.testing.assert_array_equal(found[name.removeprefix("precision_")], run.array(name)[1:])
    assert run.phases[-1] == "check"
    assert re.search(r"3 checks of the ranking in bf16 against fp32 had a Kendall's tau of \S+ on average", " ".join(words.summary(run)))
    none = fa.open_run(real)
    assert none.precision_checks.empty and "ranking" not in " ".join(words.summary(none))


def test_values(real: Path) -> None:
    """Every frame and array holds what the file holds, with its names."""
    run = fa.open_run(real)
    with h5py.File(real) as file:
        rounds = file["rounds"]
        assert run.rounds.index.name == "round" and run.rounds.index.to_list() == rounds["index"][:].tolist()
        for name in schema.SERVER:
            np.testing.assert_array_equal(run.rounds[name], rounds[name][:])
        for name in schema.COST:
            np.testing.assert_array_equal(run.cost[name], rounds["cost"][name][:])
        np.testing.assert_array_equal(run.cost["seconds"], rounds["cost/seconds"][:].sum(axis=1))
        assert run.phases == list(rounds["cost/seconds"].attrs["phases"])
        np.testing.assert_array_equal(run.participants, rounds["participants"][:])
        assert run.clients.index.to_list() == [(r, k) for r in range(1, 4) for k in rounds["participants"][r]] and run.n_turns == 12
        for name in ("fitness", "loss", "loss_perturbed", "condition", "evaluations"):
            np.testing.assert_array_equal(run.clients[name], rounds["client"][name][1:].ravel())
        for ours, name in ((run.z, "z"), (run.client_step_size, "client/step_size"), (run.client_mean, "client/mean")):
            np.testing.assert_array_equal(ours, rounds[name][:])
        for name in ("best_z", "last_z", "best_prompt", "last_prompt"):
            np.testing.assert_array_equal(getattr(run, name), file["result"][name][:])
        np.testing.assert_array_equal(run.partition, file["partition/class_count"][:])
        np.testing.assert_array_equal(run.samples["row"], file["partition/sample_index"][:])
        np.testing.assert_array_equal(run.samples.groupby("client").size(), np.diff(file["partition/sample_offsets"][:]))
        np.testing.assert_array_equal(run.dev_index, file["partition/dev_index"][:])
        assert run.best_round == file["result"].attrs["best_round"] and run.environment["ranks"] == "1"
        assert run.inputs["task"] == run.task == "toy"
    assert run.labels == ["red", "green", "blue"] == list(run.partition.columns)
    assert (run.status, run.last_round, run.n_rounds, run.n_rows, run.seed) == ("finished", 3, 3, 4, 3)
    assert run.settings["fed.participation"] == 0.8 and run.settings["cma.active"] is True and run.settings["cma.population"] == 4
    assert run.contents.loc["rounds/z", "shape"] == (4, 12) and run.contents["meaning"].str.len().min() > 0
    assert run.sessions["first_round"].to_list() == [0] and run.sweep == {}


@pytest.mark.parametrize("participation", [1, 0.5])
def test_versions_read_alike(participation: float, tmp_path: Path) -> None:
    """A run in the layout of version 1, a place for every client in each round, and in today's are one. Broken by a reader that takes a
    client's number for its place, or its place for its number."""
    changes: dict[str, object] = {"fed.participation": participation, "fed.clients": 6, "fed.rounds": 5}
    paths = [made.write(tmp_path / f"version{version}.h5", Made(changes, version=version)) for version in (1, 2)]
    old, new = runs = [fa.open_run(path) for path in paths]
    assert [run.format_version for run in runs] == [1, 2] and not any(verify(path, None).problems for path in paths)
    pd.testing.assert_frame_equal(old.clients, new.clients, check_dtype=False)
    for name in (name for name in schema.COLUMNS if schema.is_of_participants(name) and name != "client/mean"):
        np.testing.assert_array_equal(old.array(name), new.array(name), err_msg=name)
    pd.testing.assert_frame_equal(report.client_table(old), report.client_table(new))
    np.testing.assert_array_equal(old.by_client("client/loss"), new.by_client("client/loss"))
    with h5py.File(paths[0]) as file:
        np.testing.assert_array_equal(new.by_client("client/loss"), file["rounds/client/loss"][:])
    frames = [fa.collect([run]).drop(columns=["path", "name"]) for run in runs]
    pd.testing.assert_frame_equal(*frames)
    assert words.summary(old) == words.summary(new)


def test_documented_attributes(real: Path) -> None:
    """Every name in Run's description is there."""
    run = fa.open_run(real)
    described = fa.Run.__doc__ or ""
    names = set(re.findall(r"^ {6}(\w+)", described, flags=re.MULTILINE)) | set(re.findall(r";  (\w+)", described))
    names |= {"z", "client_step_size", "client_mean", "best_z", "last_z", "best_prompt", "last_prompt", "git_commit", "best_row", "name"}
    assert len(names) > 25
    for name in names:
        assert getattr(run, name) is not None, name


def test_scores_of_rounds_left_out(real: Path) -> None:
    run = fa.open_run(real)
    assert np.isfinite(run.rounds["train_loss"]).to_list() == [True, False, True, True]
    assert run.last_scored_row == 3


def test_live_run(tmp_path: Path) -> None:
    """An open file stays as it was while the file is replaced by a longer one; refresh() shows the rest."""
    path = made.write(tmp_path / "run.h5", Made(rows=2, status="running"))
    run = fa.open_run(path)
    made.replace(path, Made(rows=4, status="running"))
    assert len(run.rounds) == len(run.cost) == len(run.z) == run.n_rows == 2 and run.last_round == 1
    assert len(run.clients) == 4
    with pytest.raises(fa.RunError, match="refresh"):
        _ = run.last_prompt
    assert run.refresh() is run
    assert len(run.rounds) == len(run.cost) == len(run.z) == 4 and run.last_prompt.shape == (3, 8)
    made.replace(path, Made())
    assert run.refresh().status == "finished" and len(run.rounds) == 5


def test_while_the_program_writes(real: Path, tmp_path: Path) -> None:
    """Whenever a live file is opened, all that is read from it has the rows that it had then."""
    path = tmp_path / "live.h5"
    changes = (f"run.output={path}", "fed.rounds=100000", "fed.local_generations=1", "cma.population=2")
    words = [PROGRAM, "run", str(real.parent / "settings.yaml"), *(word for change in changes for word in ("--set", change))]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 60
            while not path.exists():
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.01)
            seen = []
            end = time.monotonic() + 8  # the file takes rounds up every two seconds
            while time.monotonic() < end:
                run = fa.open_run(path)
                assert run.status == "running" and run.n_rounds == 100_000
                assert len(run.rounds) == len(run.cost) == len(run.z) == len(run.clients) // 4 + 1 == run.n_rows
                seen.append(run.n_rows)
        finally:
            process.kill()
    assert seen == sorted(seen) and seen[-1] > seen[0] + 3


def test_replaced_by_another_run(tmp_path: Path) -> None:
    path = made.write(tmp_path / "run.h5")
    run = fa.open_run(path)
    made.replace(path, Made(created="2026-01-03T00:00:00Z"))
    with pytest.raises(fa.RunError, match="replaced by another run"):
        _ = run.rounds


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_unfinished(status: str, tmp_path: Path) -> None:
    run = fa.open_run(made.write(tmp_path / "run.h5", Made(rows=3, status=status)))
    assert (run.status, run.last_round, run.n_rounds) == (status, 2, 4)


def test_no_dev_samples(tmp_path: Path) -> None:
    run = fa.open_run(made.write(tmp_path / "run.h5", Made(dev=False)))
    assert run.best_round is None and run.best_row is None and run.best_z is None and run.best_prompt is None


def test_nothing_stays_open(tmp_path: Path) -> None:
    """A thousand runs would not fit into a process's open files otherwise."""
    for number in range(20):
        made.write(tmp_path / f"{number}.h5")
    before = len(os.listdir("/proc/self/fd"))
    runs = fa.open_runs(tmp_path)
    frames = [run.rounds for run in runs]
    assert len(frames) == 20 and len(os.listdir("/proc/self/fd")) == before


def test_open_runs(real: Path, tmp_path: Path) -> None:
    """Data sets, damaged and hidden files are passed over."""
    (tmp_path / "deep").mkdir()
    for name in ("b.h5", "deep/a.h5"):
        made.write(tmp_path / name)
    made.write(tmp_path / ".hidden.h5")
    (tmp_path / "damaged.h5").write_bytes(b"no HDF5")
    (tmp_path / "data.h5").write_bytes((real.parent / "data.h5").read_bytes())
    assert [str(run.path.relative_to(tmp_path)) for run in fa.open_runs(tmp_path)] == ["b.h5", "deep/a.h5"]
    with pytest.raises(fa.RunError, match="no such folder"):
        fa.open_runs(tmp_path / "nowhere")


@pytest.mark.parametrize(("content", "words"), [
    (None, "there is no such file"), (b"", "not an HDF5 file"), (b"text" * 1000, "not an HDF5 file"), ("folder", "is a folder"),
])
def test_no_run_file(content: bytes | str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(fa.RunError, match=words) as error:
        fa.open_run(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_truncated(tmp_path: Path) -> None:
    """Whatever is cut off, the error is a sentence."""
    whole = made.write(tmp_path / "run.h5").read_bytes()
    path = tmp_path / "cut.h5"
    for length in range(0, len(whole), len(whole) // 40):
        path.write_bytes(whole[:length])
        with pytest.raises(fa.RunError):
            fa.open_run(path)


def test_other_versions_and_lacks(tmp_path: Path) -> None:
    path = made.write(tmp_path / "run.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(fa.RunError, match="format version 99"):
        fa.open_run(path)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 2
        del file["rounds/test_loss"]
    with pytest.raises(fa.RunError, match="damaged"):
        _ = fa.open_run(path).rounds
    with h5py.File(path, "r+") as file:
        del file["rounds/index"]
    with pytest.raises(fa.RunError, match="not a run file"):
        fa.open_run(path)


def test_settings_text() -> None:
    """Numbers as the program prints them, 1e-05 among them, which YAML 1.1 takes for a text; words stay words."""
    text = 'cma:\n  sigma: 1e-05\n  alpha: 2.5e+06\n  dimension: 500\n  active: true\nfed:\n  protocol: fedavg-bbt\n'
    text += 'data:\n  path: "1e-05"\n'
    assert settings.parse(text) == {"cma.sigma": 1e-5, "cma.alpha": 2.5e6, "cma.dimension": 500, "cma.active": True,
                                    "fed.protocol": "fedavg-bbt", "data.path": "1e-05"}
    for bad in ("[1, 2]", "a: 1", "a: [", ""):
        with pytest.raises(ValueError, match="settings"):
            settings.parse(bad)


def test_what_settings_decide(real: Path, tmp_path: Path) -> None:
    """A file says what its settings decide; what is taken for files that do not say it is what the program says of the same settings.
    Broken by an option whose word changes in src/config/options.c alone."""
    theirs = fa.open_run(real).decides
    assert settings.DECIDES_EARLIER.items() <= theirs.items()
    assert set(theirs.values()) == {"nothing", "content", "length", "input", "outcome"}
    assert {name for name, what in theirs.items() if what == "input"} == set(frame_module.INPUTS)
    assert fa.open_run(made.write(tmp_path / "old.h5")).decides == settings.DECIDES_EARLIER
    assert fa.open_run(made.write(tmp_path / "new.h5", Made(decides="cma.sigma: nothing\n"))).decides == {"cma.sigma": "nothing"}


def test_collect(real: Path, tmp_path: Path) -> None:
    """One row a run; the best round is dev's, whatever the test set says."""
    scores = {"dev_accuracy": [0.5, 0.7, 0.7, 0.6, 0.6], "dev_loss": [1, 0.9, 0.8, 0.7, 0.6], "test_accuracy": [0.1, 0.2, 0.3, 0.9, 0.4]}
    frame = fa.collect([fa.open_run(made.write(tmp_path / "run.h5", Made(scores=scores))), fa.open_run(real)])
    assert isinstance(frame, pd.DataFrame) and len(frame) == 2
    row = frame.iloc[0]
    assert row["best_round"] == 2 and row["test_accuracy_best"] == 0.3 and row["test_accuracy_last"] == 0.4
    assert row["test_accuracy_start"] == 0.1 and row["test_accuracy_max"] == 0.9 and row["fed.protocol"] == "nvflare"
    assert row["bytes_up_client"] == 24 and row["bytes_down_client"] == 168 and row["evaluations"] == 4 * 4 * 11
