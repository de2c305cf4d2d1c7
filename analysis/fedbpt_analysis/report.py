"""A run, or several, as one HTML file; its pictures and tables as files on request."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup

from . import page, style
from .charts import CHARTS, CLIENTS_MAX, OVERVIEW, Chart
from .errors import AnalysisError
from .naming import distinct, path_names
from .output import write_csv
from .run import Run, last_scored
from .schema import ENERGY
from .settings import text_of
from .words import bytes_text, energies, number_text, plural, status_text, summary, time_text

ROUND_TITLES = {
    "round": "round", "train_loss": "train loss", "train_accuracy": "train accuracy", "dev_loss": "dev loss",
    "dev_accuracy": "dev accuracy", "dev_f1": "dev F1", "test_loss": "test loss", "test_accuracy": "test accuracy", "test_f1": "test F1",
    "step_size": "step size σ", "condition_number": "condition", "bytes_up": "up (bytes)", "bytes_down": "down (bytes)",
    "seconds": "time (s)", **{name: f"{what} (J)" for name, what in ENERGY.items()},
    "reported": "reported", "dropped": "dropped out", "late": "late", "simulated_s": "simulated (s)",
}
ROUNDS_SHOWN, CLIENTS_SHOWN, LABELS_SHOWN = 400, 25, 24  # in tables of a page; of more rounds evenly spread ones


def charts_of(run: Run, names: Sequence[str] | None = None) -> list[Chart]:
    """The pictures for which the run has data; those of the given names, in their order."""
    by_name = {chart.name: chart for chart in CHARTS if chart.applies(run)}
    return [by_name[name] for name in (by_name if names is None else names) if name in by_name]


def height_of(chart: Chart, run: Run) -> float:
    """Inches; pictures with a row for each client grow a little with them."""
    n = len(run.partition)
    return min(6.5, max(style.HEIGHT, 1.5 + 0.11 * n)) if chart.name in ("labels", "clients") and n <= CLIENTS_MAX else style.HEIGHT


def overview(run: Run, path: Path) -> None:
    """The four main pictures in one file, wide enough for two side by side to be read on a page."""
    charts = [(chart.title, partial(_on, chart, run)) for chart in charts_of(run, OVERVIEW)]
    if not charts:
        raise AnalysisError(f"{run.path}: there is nothing to draw: no round has a loss or an accuracy")
    style.save(style.panel(charts, columns=2), path)


def _on(chart: Chart, run: Run, axes: object) -> None:
    chart.draw(axes, run)  # type: ignore[arg-type]


def round_table(run: Run) -> pd.DataFrame:
    """Scores, step size and cost by round; columns without a number left out."""
    table = run.rounds.join(run.cost[["bytes_up", "bytes_down", "seconds", *ENERGY]]).join(run.reports).reset_index()
    kept = [name for name in ROUND_TITLES if table[name].notna().any()]
    return table[kept]


def client_table(run: Run) -> pd.DataFrame:
    """A row a client: samples, how often it took part, its loss at the first and the last time, evaluations."""
    there = run.participants >= 0
    clients, loss, evaluations = (values[there] for values in (run.participants, run.array("client/loss"), run.array("client/evaluations")))
    n, scored = len(run.partition), np.isfinite(loss)
    first, last = np.full(n, np.nan), np.full(n, np.nan)
    last[clients[scored]] = loss[scored]  # of a client that comes again, the last value stays
    first[clients[scored][::-1]] = loss[scored][::-1]
    columns = {"client": np.arange(n), "samples": run.partition.sum(axis=1), "rounds": np.bincount(clients, minlength=n)}
    columns |= {"first loss": first, "last loss": last}
    return pd.DataFrame(columns | {"evaluations": np.bincount(clients, evaluations, minlength=n).astype(np.int64)})


def _spread_of_clients(clients: pd.DataFrame) -> Markup:
    """Quantiles over the clients of each column of their table."""
    shares = {"smallest": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "largest": 1.0}
    rows = [(name, *(clients[name].quantile(share) for share in shares.values())) for name in clients.columns[1:]]
    columns = [page.Column("of a client"), *(page.Column(name, page.plain) for name in shares)]
    return page.table(rows, columns, f"Spread over {plural(len(clients), 'client')}")


def _client_rows(run: Run, clients: pd.DataFrame, caption: str) -> Markup:
    """Rows of the clients' table, with each client's samples by label where there are not too many labels. Labels stand as columns by
    place and not by name: one may be called `rounds`."""
    counts = run.partition.iloc[clients["client"]]
    shown: list[object] = list(counts.columns) if counts.shape[1] <= LABELS_SHOWN else []
    columns = [page.Column(name) for name in ("client", "samples")] + [page.Column(str(name)) for name in shown]
    columns += [page.Column("rounds"), page.Column("first loss", page.fixed(4)), page.Column("last loss", page.fixed(4)),
                page.Column("evaluations", page.plain)]
    rows = [(*row[:2], *(by_label if len(shown) else ()), *row[2:])
            for row, by_label in zip(clients.itertuples(index=False, name=None), counts.to_numpy().tolist(), strict=True)]
    return page.table(rows, columns, caption)


def _client_tables(run: Run) -> list[Markup]:
    """Each client; of many, their spread and those at both ends."""
    clients = client_table(run)
    if len(clients) <= CLIENTS_MAX:
        return [_client_rows(run, clients, "Clients: training samples by label, and what they found")]
    ordered = clients.dropna(subset="last loss").sort_values("last loss", kind="stable")
    ends = {"smallest": ordered.head(CLIENTS_SHOWN), "largest": ordered.tail(CLIENTS_SHOWN)[::-1]}
    return [_spread_of_clients(clients), *(_client_rows(run, part, f"The {len(part)} clients with the {name} last loss; --csv writes all")
                                           for name, part in ends.items() if len(part))]


def _round_rows(run: Run) -> Markup:
    """The rounds' table; of many rounds some, the best and the last among them."""
    rounds = round_table(run)
    caption = "Rounds"
    if len(rounds) > ROUNDS_SHOWN:
        kept = set(np.linspace(0, len(rounds) - 1, ROUNDS_SHOWN).astype(int)) | ({run.best_row} if run.best_row is not None else set())
        caption = f"{len(kept)} of {plural(len(rounds), 'round')}; --csv writes all"
        rounds = rounds.iloc[sorted(kept)]
    write = {name: page.fixed(4) for name in rounds.columns if name.endswith(("loss", "accuracy", "f1", "size", "number"))}
    return page.frame_table(rounds, caption, ROUND_TITLES, write | {"seconds": page.fixed(2)}
                            | dict.fromkeys((*ENERGY, "simulated_s"), page.fixed(1)))


def _tiles(run: Run) -> list[tuple[str, ...]]:
    """Key figures: what, value, and what stands small under it."""
    rounds, cost = run.rounds, run.cost
    split = "test" if rounds["test_accuracy"].notna().any() else "dev" if rounds["dev_accuracy"].notna().any() else "train"
    accuracy, loss = rounds[f"{split}_accuracy"], rounds[f"{split}_loss"]

    def both(row: int) -> tuple[str, str]:
        return number_text(accuracy.iloc[row]), f"loss {number_text(loss.iloc[row])}"

    last, used = last_scored(loss.to_numpy()), energies(run.energy)
    elapsed = float(run.reports["elapsed_s"].iloc[-1])
    values: list[tuple[str, ...]] = [(f"{split} accuracy before tuning", *both(0))]
    if run.best_row is not None:
        values.append((f"at the best on dev, round {run.best_round}", *both(run.best_row)))
    return [
        *values,
        (f"at the last, round {rounds.index[last]}", *both(last)),
        ("sent up by all clients", bytes_text(float(cost["bytes_up"].sum()))),
        ("sent down to all clients", bytes_text(float(cost["bytes_down"].sum()))),
        ("time", time_text(run.wall_time_s)),
        *([("simulated time of a deployment", time_text(elapsed))] if np.isfinite(elapsed) else []),
        *([("energy", *used)] if used else []),
        ("largest memory of a rank", bytes_text(float(cost["peak_memory"].max()))),
        ("tokens through the model", f"{cost['tokens'].sum() / 1e6:,.1f} million"),
    ]


def _settings_table(run: Run) -> Markup:
    rows = [(name, text_of(value)) for name, value in run.settings.items()]
    return page.table(rows, [page.Column("setting"), page.Column("value")], "Settings in force")


def _origin_table(run: Run) -> Markup:
    rows = [("run", "created", run.created), ("run", "program version", run.program_version), ("run", "git commit", run.git_commit)]
    rows += [("environment", name, value) for name, value in run.environment.items()]
    rows += [("inputs", name, value) for name, value in run.inputs.items()]
    return page.table(rows, [page.Column("from"), page.Column("what"), page.Column("value")], "Where it ran, on what")


def _caption(chart: Chart, run: Run) -> str:
    """The sentence under a picture, and the names that its numbers stand for where these could not be drawn."""
    behind = label_notes(run) if chart.name == "labels" else ""
    return f"{chart.caption} {behind}".strip()


def label_notes(run: Run) -> str:
    """The names that labels in the pictures stand for, where they are not their own."""
    behind = style.names_behind([str(name) for name in run.partition.columns], "label")
    return f"In pictures, {behind}." if behind else ""


def _section(run: Run, name: str, anchor: str) -> dict[str, object]:
    """All of a run for templates/report.html."""
    figures = []
    for chart in charts_of(run):
        picture = style.single(partial(_on, chart, run), chart.title, height_of(chart, run))
        figures.append(page.figure(picture, f"{anchor}-{chart.name}", chart.title, _caption(chart, run)))
    tables = [_round_rows(run), *_client_tables(run), _settings_table(run), _origin_table(run)]
    return {"name": name, "path": run.path, "sentences": summary(run), "tiles": _tiles(run), "figures": figures, "tables": tables}


def _index_table(runs: Sequence[Run], names: Sequence[str]) -> Markup:
    rows = []
    for run, name in zip(runs, names, strict=True):
        test, best = run.rounds["test_accuracy"], run.best_row
        at_best = np.nan if best is None else test.iloc[best]
        last = last_scored(run.rounds["test_loss"].to_numpy())
        rows.append((name, status_text(run), test.iloc[0], at_best, test.iloc[last], run.wall_time_s))
    columns = [page.Column("run"), page.Column("status"), page.Column("test accuracy before", page.fixed(3)),
               page.Column("best on dev", page.fixed(3)), page.Column("last", page.fixed(3)), page.Column("time (s)", page.fixed(0))]
    return page.table(rows, columns, "Runs")


def names_of(runs: Sequence[Run]) -> list[str]:
    """A name a run, with as much of its folder as tells it from the others."""
    return distinct([path_names(str(run.path)) for run in runs])


def html(runs: Sequence[Run]) -> str:
    """The page."""
    names = names_of(runs)
    sections = [_section(run, name, f"r{number}") for number, (run, name) in enumerate(zip(runs, names, strict=True))]
    several = len(runs) > 1
    heading = plural(len(runs), "run") if several else names[0]
    return page.render("report.html", title=f"{heading}: federated black-box prompt tuning", heading=heading, runs=sections,
                       index=_index_table(runs, names) if several else None)


def write_pictures(run: Run, folder: Path, kinds: Sequence[str]) -> list[Path]:
    """Every picture, and all of the overview's in one, as files of the given kinds ("png", "svg")."""
    written = []
    for kind in kinds:
        for chart in charts_of(run):
            path = folder / f"{chart.name}.{kind}"
            style.save(style.single(partial(_on, chart, run), chart.title, height_of(chart, run)), path)
            written.append(path)
        if charts_of(run, OVERVIEW):
            overview(run, folder / f"overview.{kind}")
            written.append(folder / f"overview.{kind}")
    return written


def write_tables(run: Run, folder: Path) -> list[Path]:
    """rounds.csv, cost.csv, clients.csv, partition.csv, settings.csv; of runs that simulate it reports.csv."""
    partition = run.partition.set_axis(distinct([[name] for name in ("client", *map(str, run.partition.columns))])[1:], axis=1)
    tables = {"rounds": run.rounds, "cost": run.cost, "clients": run.clients, "partition": partition,
              "settings": pd.Series(run.settings, name="value").map(text_of).rename_axis("setting").to_frame()}
    if run.reports["reported"].notna().any():
        tables["reports"] = run.reports
    for name, frame in tables.items():
        write_csv(folder / f"{name}.csv", frame, index=True)
    return [folder / f"{name}.csv" for name in tables]
