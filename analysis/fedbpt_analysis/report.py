"""A run, or several, as one HTML file; its pictures and tables as files on request."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from . import page, style
from .charts import CHARTS, OVERVIEW, Chart
from .run import Run
from .settings import text_of
from .words import bytes_text, number_text, plural, status_text, summary, time_text

ROUND_TITLES = {
    "round": "round", "train_loss": "train loss", "train_accuracy": "train accuracy", "dev_loss": "dev loss",
    "dev_accuracy": "dev accuracy", "dev_f1": "dev F1", "test_loss": "test loss", "test_accuracy": "test accuracy", "test_f1": "test F1",
    "step_size": "step size σ", "condition_number": "condition", "bytes_up": "up (bytes)", "bytes_down": "down (bytes)",
    "seconds": "time (s)",
}
LOSSES = {"first loss": 0, "last loss": -1}  # of a client, and where in its rounds


def charts_of(run: Run, names: Sequence[str] | None = None) -> list[Chart]:
    """The pictures for which the run has data; those of the given names, in their order."""
    by_name = {chart.name: chart for chart in CHARTS if chart.applies(run)}
    return [by_name[name] for name in (by_name if names is None else names) if name in by_name]


def height_of(chart: Chart, run: Run) -> float:
    """Inches; pictures with a row for each client grow a little with them."""
    return min(6.5, max(style.HEIGHT, 1.5 + 0.11 * len(run.partition))) if chart.name in ("labels", "clients") else style.HEIGHT


def overview(run: Run, path: Path) -> None:
    """The four main pictures in one file, wide enough for two side by side to be read on a page."""
    charts = [(chart.title, partial(_on, chart, run)) for chart in charts_of(run, OVERVIEW)]
    style.save(style.panel(charts, columns=2), path)


def _on(chart: Chart, run: Run, axes: object) -> None:
    chart.draw(axes, run)  # type: ignore[arg-type]


def round_table(run: Run) -> pd.DataFrame:
    """Scores, step size and cost by round; columns without a number left out."""
    table = run.rounds.join(run.cost[["bytes_up", "bytes_down", "seconds"]]).reset_index()
    kept = [name for name in ROUND_TITLES if table[name].notna().any()]
    return table[kept]


def client_table(run: Run) -> pd.DataFrame:
    """A row a client: samples, how often it took part, its loss at the first and the last time, evaluations."""
    loss = run.clients["loss"].unstack("client")
    frame = pd.DataFrame({"client": run.partition.index, "samples": run.partition.sum(axis=1)})
    frame = pd.concat([frame, run.partition], axis=1)
    frame["rounds"] = run.clients["participated"].unstack("client").sum().to_numpy()
    for name, place in LOSSES.items():
        frame[name] = [_end(loss[client], place) for client in loss]
    frame["evaluations"] = run.clients["evaluations"].unstack("client").sum().to_numpy()
    return frame


def _end(values: pd.Series, place: int) -> float:
    taken = values.dropna()
    return float(taken.iloc[place]) if len(taken) else np.nan


def _tiles(run: Run) -> str:
    rounds, cost = run.rounds, run.cost
    split = "test" if rounds["test_accuracy"].notna().any() else "dev" if rounds["dev_accuracy"].notna().any() else "train"
    accuracy, loss = rounds[f"{split}_accuracy"], rounds[f"{split}_loss"]

    def both(row: int) -> tuple[str, str]:
        return number_text(accuracy.iloc[row]), f"loss {number_text(loss.iloc[row])}"

    last = run.last_scored_row
    values: list[tuple[str, ...]] = [(f"{split} accuracy before tuning", *both(0))]
    if run.best_row is not None:
        values.append((f"at the best on dev, round {run.best_round}", *both(run.best_row)))
    values += [
        (f"at the last, round {rounds.index[last]}", *both(last)),
        ("sent up by all clients", bytes_text(float(cost["bytes_up"].sum()))),
        ("sent down to all clients", bytes_text(float(cost["bytes_down"].sum()))),
        ("time", time_text(run.wall_time_s)),
        ("largest memory of a rank", bytes_text(float(cost["peak_memory"].max()))),
        ("tokens through the model", f"{cost['tokens'].sum() / 1e6:,.1f} million"),
    ]
    return page.tiles(values)


def _settings_table(run: Run) -> str:
    rows = [(name, text_of(value)) for name, value in run.settings.items()]
    return page.table(rows, [page.Column("setting"), page.Column("value")], "Settings in force")


def _origin_table(run: Run) -> str:
    rows = [("run", "created", run.created), ("run", "program version", run.program_version), ("run", "git commit", run.git_commit)]
    rows += [("environment", name, value) for name, value in run.environment.items()]
    rows += [("inputs", name, value) for name, value in run.inputs.items()]
    return page.table(rows, [page.Column("from"), page.Column("what"), page.Column("value")], "Where it ran, on what")


def _section(run: Run, anchor: str) -> list[str]:
    figures = []
    for chart in charts_of(run):
        picture = style.single(partial(_on, chart, run), chart.title, height_of(chart, run))
        figures.append(page.figure(picture, f"{anchor}-{chart.name}", chart.title, chart.caption))
    rounds = round_table(run)
    write = {name: page.fixed(4) for name in rounds.columns if name.endswith(("loss", "accuracy", "f1", "size", "number"))}
    clients = client_table(run)
    return [
        *(page.paragraph(sentence) for sentence in summary(run)),
        _tiles(run),
        page.grid(figures),
        page.heading("Tables", 3),
        page.frame_table(rounds, "Rounds", ROUND_TITLES, write | {"seconds": page.fixed(2)}),
        page.frame_table(clients, "Clients: training samples by label, and what they found", write=dict.fromkeys(LOSSES, page.fixed(4))),
        _settings_table(run),
        _origin_table(run),
    ]


def _index_table(runs: Sequence[Run]) -> str:
    rows = []
    for run in runs:
        test, best = run.rounds["test_accuracy"], run.best_row
        at_best = np.nan if best is None else test.iloc[best]
        rows.append((run.name, status_text(run), test.iloc[0], at_best, test.iloc[run.last_scored_row], run.wall_time_s))
    columns = [page.Column("run"), page.Column("status"), page.Column("test accuracy before", page.fixed(3)),
               page.Column("best on dev", page.fixed(3)), page.Column("last", page.fixed(3)), page.Column("time (s)", page.fixed(0))]
    return page.table(rows, columns, "Runs")


def html(runs: Sequence[Run]) -> str:
    """The page."""
    if len(runs) == 1:
        run = runs[0]
        body = [page.heading(run.name, 1), page.paragraph(str(run.path), "soft"), *_section(run, "r0")]
        return page.page(f"{run.name}: federated black-box prompt tuning", body)
    links = " · ".join(f'<a href="#r{i}">{escape(run.name)}</a>' for i, run in enumerate(runs))
    body = [page.heading(plural(len(runs), "run"), 1), f"<p>{links}</p>", _index_table(runs)]
    for number, run in enumerate(runs):
        body += [page.heading(run.name, 2, f"r{number}"), page.paragraph(str(run.path), "soft"), *_section(run, f"r{number}")]
    return page.page(f"{plural(len(runs), 'run')}: federated black-box prompt tuning", body)


def write_pictures(run: Run, folder: Path, kinds: Sequence[str]) -> list[Path]:
    """Every picture, and all of the overview's in one, as files of the given kinds ("png", "svg")."""
    written = []
    for kind in kinds:
        for chart in charts_of(run):
            path = folder / f"{chart.name}.{kind}"
            style.save(style.single(partial(_on, chart, run), chart.title, height_of(chart, run)), path)
            written.append(path)
        overview(run, folder / f"overview.{kind}")
        written.append(folder / f"overview.{kind}")
    return written


def write_tables(run: Run, folder: Path) -> list[Path]:
    """rounds.csv, cost.csv, clients.csv, partition.csv, settings.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"rounds": run.rounds, "cost": run.cost, "clients": run.clients, "partition": run.partition,
              "settings": pd.Series(run.settings, name="value").map(text_of).rename_axis("setting").to_frame()}
    for name, frame in tables.items():
        frame.to_csv(folder / f"{name}.csv")
    return [folder / f"{name}.csv" for name in tables]
