"""Runs whose clients drop out and are late: data frames, words, tables and pictures of who reported and when."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import h5py
import made
import numpy as np
import pandas as pd
import pytest
from conftest import Result
from fedbpt_analysis import charts, compare_report, frame, report, seal, watch, words
from fedbpt_analysis.compare import compare
from fedbpt_analysis.run import Run
from fedbpt_analysis.verify import verify


def test_frames(unreliable: list[Path]) -> None:
    """Broken by slots behind the last participant that count as client -1, by times that are not added up."""
    run = Run(unreliable[0])
    reports = run.reports
    assert ((reports["reported"] + reports["dropped"] + reports["late"]).iloc[1:] == 5).all() and reports["late"].sum() > 0
    assert run.n_turns == reports["reported"].sum() and len(run.clients) == run.n_turns and len(set(reports["reported"])) == 4
    assert set(run.clients.index.get_level_values("client")) <= set(range(5)) and np.isfinite(run.clients["loss"]).all()
    assert reports["elapsed_s"].tolist() == pytest.approx(np.cumsum(reports["simulated_s"]), rel=1e-12)
    assert (np.isfinite(run.by_client("client/loss")).sum(axis=1) == reports["reported"]).all()
    assert report.client_table(run)["rounds"].sum() == run.n_turns


def test_words(unreliable: list[Path], real: Path) -> None:
    """The sentence of a report, and the line of a terminal; neither of a run that simulates nothing."""
    run, none = Run(unreliable[0]), Run(real)
    counts = run.reports.iloc[1:].mean()
    nobody = int((run.reports["reported"].iloc[1:] == 0).sum())
    sentence = next(text for text in words.summary(run) if "chosen" in text)
    assert nobody > 0 and sentence.startswith(f"On average {counts['reported']:.1f} of 5 chosen clients reported in a round, ")
    assert f"; {nobody} round{'s' if nobody > 1 else ''} had too few reports and changed nothing. A deployment would have taken " in sentence
    last = run.reports.iloc[-1]
    line = next(text for text in watch.head(run, 200) if text.startswith("last round"))
    assert f"{last['reported']:.0f} of 5 clients reported, {last['dropped']:.0f} dropped out" in line and "simulated time" in line
    assert none.reports.isna().all(axis=None)
    assert "chosen" not in " ".join(words.summary(none)) and "reported" not in " ".join(watch.head(none, 200))


def test_report(unreliable: list[Path], real: Path, tmp_path: Path, call: Callable[..., Result]) -> None:
    """Pictures and columns are there, and not in a run that simulates nothing."""
    names = [chart.name for chart in report.charts_of(Run(unreliable[0]))]
    assert {"elapsed", "reports"} <= set(names)
    assert not {"elapsed", "reports"} & {chart.name for chart in report.charts_of(Run(real))}
    page = tmp_path / "page.html"
    call("report", unreliable[0], "-o", page, "--csv").good()
    assert pd.read_csv(tmp_path / "page-files" / "reports.csv")["reported"].tolist() == Run(unreliable[0]).reports["reported"].tolist()
    text = page.read_text()
    assert all(word in text for word in ("Accuracy by simulated time", "Who reported", "simulated (s)", "dropped out"))
    assert set(charts.REPORTS.values()) | {"simulated_s"} <= set(report.round_table(Run(unreliable[0])).columns)
    assert not charts.takes_all(Run(unreliable[0]))


def test_comparison(unreliable: list[Path], tmp_path: Path, call: Callable[..., Result]) -> None:
    """Accuracy by simulated time: each run's last score by then. Broken by rounds that are paired by their number, by scores from after the
    time."""
    call("compare", *unreliable, "-o", tmp_path / "comparison").good()
    assert (tmp_path / "comparison" / "test_accuracy_time.svg").exists()
    [(_, table)] = compare_report.curves_by_time(compare(unreliable), "test_accuracy")
    ends = [Run(path).reports["elapsed_s"].iloc[-1] for path in unreliable]
    assert table.index[-1] == min(ends) and ends[0] != ends[1]
    for path in unreliable:
        run = Run(path)
        for time in table.index[[0, 77, 150, 199]]:
            row = int(np.flatnonzero(run.reports["elapsed_s"] <= time)[-1])
            assert table.loc[time, str(path)] == run.rounds["test_accuracy"].iloc[row]
    collected = frame.collect([Run(path) for path in unreliable])
    assert collected["simulated_s"].tolist() == ends


def test_mixed_with_other_runs(unreliable: list[Path], tmp_path: Path, call: Callable[..., Result]) -> None:
    """Settings that simulate no time have no curve by it."""
    other = made.write(tmp_path / "made.h5")
    call("compare", *unreliable, other, "-o", tmp_path / "comparison").good()
    assert len(compare_report.curves_by_time(compare([*unreliable, other]), "test_accuracy")) == 1


@pytest.mark.parametrize(("column", "change", "problem"), [
    ("reported", lambda values: values + (np.arange(len(values)) == 3), "clients reported"),
    ("late", lambda values: values - 1, "were late"),
    ("participants", lambda values: np.where(np.arange(len(values))[:, None] == first_full(values), values[:, ::-1], values),
     "does not rise"),
    ("participants", lambda values: np.where(np.arange(len(values))[:, None] == first_full(values), -1, values), None),
])
def test_verify(unreliable: list[Path], tmp_path: Path, column: str, change: Callable[[np.ndarray], np.ndarray], problem: str | None) -> None:
    """Whole files have no problem; each damage has its own. An abandoned round is none: its reports counted for nothing."""
    assert [verify(path, None).problems for path in unreliable] == [[], []]
    path = tmp_path / "run.h5"
    path.write_bytes(unreliable[0].read_bytes())
    with h5py.File(path, "r+") as file:
        file[f"rounds/{column}"][...] = change(file[f"rounds/{column}"][:])
    seal.write(path)
    problems = " ".join(verify(path, None).problems)
    assert problem is None or re.search(problem, problems), problems
    assert problem is not None or "took part" not in problems


def first_full(participants: np.ndarray) -> int:
    """The first row in which all slots are taken."""
    return int(np.flatnonzero((participants >= 0).all(axis=1))[0])
