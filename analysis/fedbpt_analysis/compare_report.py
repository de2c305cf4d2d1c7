"""A comparison in words, tables, pictures and one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes as PlotAxes

from . import compare_charts as charts
from . import page, style
from .charts import finite
from .compare import COLUMNS, Comparison, Group, in_order, overall
from .errors import AnalysisError
from .frame import title_of
from .naming import distinct, file_names, path_names, printable
from .output import write_csv, write_text
from .run import Run
from .schema import ENERGY
from .settings import SEED
from .stats import Estimate
from .tables import FORMATS, Table
from .words import bytes_text, energies, number_text, plural, spread_text, time_text, time_unit

CURVES_MAX = 8  # settings whose rounds are drawn
TIMES = 200  # at which curves by simulated time are drawn
SCORES_SHOWN = ("dev_accuracy_best", "test_accuracy_best", "test_accuracy_last", "test_loss_best", "test_loss_last")  # of each run


def interval_text(found: Estimate) -> str:
    """0.688 (95% interval 0.661 to 0.715)."""
    if not np.isfinite(found.low):
        return f"{found.mean:.3f} ({'one seed' if found.n == 1 else 'no seed was run with all of that'}: no interval)"
    if found.low == found.high:
        return f"{found.mean:.3f} (the same in all {found.n} seeds)"
    return f"{found.mean:.3f} (95% interval {found.low:.3f} to {found.high:.3f})"


def summary(comparison: Comparison) -> list[str]:
    """Say what was compared, what is best and how sure that is, what it cost."""
    runs, names = comparison.runs, comparison.axes.names
    groups = comparison.groups()
    varied = f" of {', '.join(map(printable, names))}" if names else ""
    seeds = sorted({comparison.n_seeds(part) for _, part in groups})
    counts = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    sentences = [f"{plural(len(runs), 'run')}: {plural(len(groups), 'setting')}{varied}, {counts} seed{'s' if seeds[-1] > 1 else ''} each."]
    follow = [f"{printable(name)} follows from {printable(leader)}" for name, leader in comparison.axes.follow.items()]
    if follow:
        sentences.append(f"Settings that do not vary by themselves: {_some(follow, '; ')}.")
    sentences += _besides_sentences(comparison) + _best_sentences(comparison)
    cost = overall(comparison)
    sentences.append(
        f"All runs together took {' and '.join([time_text(cost['seconds']), *energies(cost)])}; deployments would have sent "
        f"{bytes_text(cost['bytes_up'])} up and {bytes_text(cost['bytes_down'])} down."
    )
    if comparison.left_out:
        sentences.append(f"{plural(len(comparison.left_out), 'file')} left out; the first: {comparison.left_out[0]}.")
    return sentences


def _besides_sentences(comparison: Comparison) -> list[str]:
    """Say what differs among the runs of one setting, and what that means for the numbers."""
    runs, sentences = comparison.runs, []
    if comparison.besides:
        several = [f"{printable(name)} ({runs[name].nunique(dropna=False)} values)" for name in comparison.besides]
        sentences.append(f"Within a setting these differ too: {_some(several, ', ')}. A seed counts once, by its mean over them, if it was "
                         "run with all of them; --axes keeps settings apart.")
        if comparison.unequal:
            sentences.append("Not all settings were run with the same values of these, so that their means do not compare; their paired "
                             "differences do.")
    versions = runs[["program_version", "git_commit"]].drop_duplicates()
    if len(versions) > 1:
        shown = _some([f"{row['program_version']} ({str(row['git_commit'])[:12]})" for row in versions.to_dict("records")], ", ", 3)
        sentences.append(f"The runs were made by {len(versions)} versions of the program: {printable(shown)}.")
    return sentences


def _best_sentences(comparison: Comparison) -> list[str]:
    best = comparison.best()
    if best is None and comparison.runs["dev_accuracy_best"].notna().all():
        return ["No setting is chosen: there is nothing else that all of them were run with."]
    if best is None:
        return ["Not every run has dev samples, so that nothing but the test set could choose a setting; it does not."]
    part = dict(comparison.groups())[best]
    dev, shown = comparison.over_seeds(part, "dev_accuracy_best"), comparison.over_seeds(part, comparison.metric)
    text = (f"Best by dev accuracy: {comparison.name_of(best)}, with {dev.mean:.3f} on dev; {title_of(comparison.metric)}: "
            f"{interval_text(shown)}.")
    differences = comparison.differences_to_best()
    if differences.empty:
        return [text]
    told_apart = (differences["low95"] > 0) | (differences["high95"] < 0)
    clear = [f"{row['setting']} by {row['difference']:+.3f}" for row in differences[told_apart].to_dict("records")]
    unsure = [str(name) for name in differences.loc[~told_apart, "setting"]]
    parts = []
    if clear:
        parts.append(f"On equal seeds these differ from it by more than their 95% interval: {_some(clear, '; ')}.")
    if unsure:
        parts.append(f"Not told apart from it by these seeds: {_some(unsure, '; ')}.")
    return [text, *parts]


def _some(names: Sequence[str], separator: str, n: int = 6) -> str:
    rest = len(names) - n
    return separator.join(names[:n]) + (f"{separator}and {rest} more" if rest > 0 else "")


def settings_table(comparison: Comparison, columns: Sequence[str] = COLUMNS) -> Table:
    """A row a setting: mean and standard deviation over its seeds."""
    kept = tuple(name for name in columns if comparison.runs[name].notna().any())
    frame = comparison.settings(kept)
    best = comparison.best()
    rows, bold = [], set()
    for i, (values, _) in enumerate(comparison.groups()):
        line = frame.iloc[i]
        words = [comparison.value_names[name][value] for name, value in zip(comparison.axes.names, values, strict=True)] or ["all runs"]
        rows.append([*words, str(int(line["seeds"])), *(spread_text(line[name], line[f"{name}_sd"]) for name in kept)])
        if values == best and len(frame) > 1:
            bold.add(i)
    head = [*(comparison.axes.names or ("setting",)), "seeds", *map(title_of, kept)]
    note = "Mean ± standard deviation over the seeds." + (" Bold: best by dev accuracy." if bold else "")
    if comparison.besides:
        note += f" Within a setting these differ too: {', '.join(map(printable, comparison.besides))}; a seed is its mean over them."
    return Table("Settings", head, rows, words=max(1, len(comparison.axes.names)), bold=frozenset(bold), notes=[note])


def difference_text(row: dict[Any, Any], name: str = "difference", sign: str = "+") -> str:
    """+0.030 (+0.021 to +0.039)."""
    text = f"{row[name]:{sign}.3f}" if np.isfinite(row[name]) else "–"
    return text + (f" ({row['low95']:{sign}.3f} to {row['high95']:{sign}.3f})" if np.isfinite(row["low95"]) else "")


def pairs_table(comparison: Comparison) -> Table:
    """Values of each axis against each other."""
    rows = [[row["axis"], f"{row['value']} − {row['less']}", difference_text(row), number_text(row["sd"]), str(row["seeds"])]
            for axis in comparison.axes.names for row in comparison.pairs(axis).to_dict("records")]
    head = ["axis", "values", "difference (95%)", "sd", "seeds"]
    note = "All other settings and the seed equal; mean within a seed, interval over seeds."
    return Table(f"Paired differences of {title_of(comparison.metric)}", head, rows, words=2, notes=[note])


def effects_table(comparison: Comparison) -> Table:
    """Main effects of all axes."""
    several = len(comparison.axes.names) + len(comparison.besides) > 1
    rows = [[row["axis"], row["value"], difference_text(row, "mean", ""), difference_text({**row, "low95": np.nan}, "effect"),
             str(row["seeds"]), str(row["others"]) if several else "–"]
            for axis in comparison.axes.names for row in comparison.main_effects(axis).to_dict("records")]
    head = ["axis", "value", "mean (95%)", "effect", "seeds", "other settings"]
    return Table(f"Main effects on {title_of(comparison.metric)}", head, rows, words=2,
                 notes=["Effect: mean less the mean of all values, over the other settings under which every value was run."])


def best_table(comparison: Comparison) -> Table:
    """Every setting against the best one."""
    rows = [[row["setting"], difference_text(row), number_text(row["sd"]), str(row["seeds"])]
            for row in comparison.differences_to_best().to_dict("records")]
    best = comparison.best()
    less = comparison.name_of(best) if best is not None else "the best"
    return Table(f"{title_of(comparison.metric)} less that of {less}", ["setting", "difference (95%)", "sd", "seeds"], rows,
                 notes=["On equal seeds, all else equal."])


def _best_groups(comparison: Comparison) -> list[Group]:
    """Up to CURVES_MAX settings; of more those that are best by dev."""
    groups = comparison.groups()
    if len(groups) > CURVES_MAX:
        groups = sorted(groups, key=lambda group: -np.nan_to_num(group[1]["dev_accuracy_best"].mean(), nan=-np.inf))[:CURVES_MAX]
    return groups


def curves(comparison: Comparison, column: str) -> list[tuple[str, pd.DataFrame]]:
    """Each setting's name and rounds x runs, of _best_groups."""
    found = []
    for values, part in _best_groups(comparison):
        table = pd.DataFrame({path: Run(path).rounds[column].pipe(_drawn) for path in part["path"]}).dropna()
        if len(table):
            found.append((comparison.name_of(values), table))
    return found


def curves_by_time(comparison: Comparison, column: str) -> list[tuple[str, pd.DataFrame]]:
    """Each setting's name and seconds x runs: at TIMES times up to the end of the shortest run, what each run's last scored round had by
    then. Settings whose runs simulate no time are left out."""
    found = []
    for values, part in _best_groups(comparison):
        by_run = {path: _by_time(Run(path), column) for path in part["path"]}
        if all(len(series) > 1 for series in by_run.values()):
            times = np.linspace(0, min(series.index[-1] for series in by_run.values()), TIMES)
            held = {path: series.to_numpy()[np.searchsorted(series.index, times, side="right") - 1] for path, series in by_run.items()}
            found.append((comparison.name_of(values), pd.DataFrame(held, index=times)))
    return found


def _by_time(run: Run, column: str) -> pd.Series:
    """Scores by the simulated time of their rounds; empty where there is none."""
    elapsed = run.reports["elapsed_s"]
    values = _drawn(run.rounds[column])
    known = np.isfinite(elapsed[values.index])
    return values[known].set_axis(elapsed[values.index][known]) if elapsed.iloc[-1] > 0 else values.iloc[:0]


def _drawn(values: pd.Series) -> pd.Series:
    """Without what cannot be drawn."""
    return pd.Series(finite(values), values.index).dropna()


Picture = tuple[str, str, str, style.Draw, float]  # name, title, caption, how to draw, height


def _legend_room(names: Sequence[str]) -> float:
    """Inches that a legend with these entries adds to a picture."""
    shown = style.picture_names(names, "setting", charts.SETTING_WIDTH)
    return 0.17 * max(0, -(-len(shown) // charts.legend_columns(shown)) - 1)


def _said(caption: str, names: Sequence[str], kind: str, width: int = style.NAME_WIDTH) -> str:
    """A caption, and what the names in its picture stand for where they are not the names themselves."""
    behind = style.names_behind(names, kind, width)
    return caption + (f" In the picture, {behind}." if behind else "")


def pictures(comparison: Comparison) -> list[Picture]:
    """All pictures of a comparison."""
    found = _curve_pictures(comparison) + _time_pictures(comparison)
    groups = _best_groups(comparison)
    if len(groups) > 1 and (comparison.runs["bytes_up_client"] > 0).all() and comparison.runs[comparison.metric].notna().any():
        settings = [comparison.name_of(values) for values, _ in groups]
        caption = f"Mean and 95% interval over seeds, against what a client sends. {_first_of(comparison.groups())}".strip()
        caption = _said(caption, settings, "setting", charts.SETTING_WIDTH)
        found.append(("cost", "What it costs", caption, partial(_cost, comparison, groups), style.HEIGHT + _legend_room(settings)))
    names = comparison.axes.names
    for axis in names:
        caption = "Circles: runs. Diamonds: means over the other settings, and 95% intervals over seeds."
        if not comparison.counted(axis).all():
            caption += " Hollow circles do not count: under their other settings not every value was run."
        caption = _said(caption, _value_names(comparison, axis), "value")
        found.append((f"axis-{axis}", f"By {axis}", caption, partial(_axis, comparison, axis), style.HEIGHT))
    for one, other in combinations(names, 2):
        rows = comparison.runs[one].nunique()
        rest = [name for name in (*names, *comparison.besides) if name not in (one, other)]
        caption = "Mean over runs" + (f" of all values of {', '.join(rest)}" if rest else "") + "; grey: not run."
        for axis in (one, other):
            caption = _said(caption, _value_names(comparison, axis), "value")
        found.append((f"pair-{one}-{other}", f"By {one} and {other}", caption, partial(_pair, comparison, one, other),
                      max(style.HEIGHT, min(6.5, 1.3 + 0.28 * rows))))
    files = file_names([name for name, *_ in found])
    return [(name, printable(title), caption, draw, height) for name, (_, title, caption, draw, height) in zip(files, found, strict=True)]


def _value_names(comparison: Comparison, axis: str) -> list[str]:
    return [comparison.value_names[axis][value] for value in in_order(comparison.runs[axis])]


def _curve_pictures(comparison: Comparison) -> list[Picture]:
    found: list[Picture] = []
    for column, ylabel in (("test_accuracy", "test accuracy (fraction)"), ("train_loss", "train loss (mean over samples)")):
        by_setting = curves(comparison, column)
        if by_setting:
            names = [name for name, _ in by_setting]
            over = f"seeds and {', '.join(comparison.besides)}" if comparison.besides else "seeds"
            caption = f"Mean over {over}; the band reaches from the smallest to the largest. {_first_of(comparison.groups())}".strip()
            found.append((column, f"{title_of(column + '_')}, by round".replace(" ,", ",").capitalize(),
                          _said(caption, names, "setting", charts.SETTING_WIDTH), partial(_curves, by_setting, ylabel),
                          style.HEIGHT + _legend_room(names)))
    return found


def _time_pictures(comparison: Comparison) -> list[Picture]:
    """Test accuracy by simulated time, of runs that simulate it."""
    by_setting = curves_by_time(comparison, "test_accuracy")
    if not by_setting:
        return []
    names = [name for name, _ in by_setting]
    unit, seconds = time_unit(max(float(table.index[-1]) for _, table in by_setting))
    scaled = [(name, table.set_axis(table.index / seconds)) for name, table in by_setting]
    caption = "What the last scored round had by then; mean over the runs of a setting, up to the end of the shortest, and their band."
    return [("test_accuracy_time", "Test accuracy, by simulated time", _said(caption, names, "setting", charts.SETTING_WIDTH),
             partial(_time_curves, scaled, f"simulated time so far ({unit})"), style.HEIGHT + _legend_room(names))]


def _time_curves(by_setting: Sequence[tuple[str, pd.DataFrame]], xlabel: str, axes: PlotAxes) -> None:
    charts.draw_curves(axes, by_setting, "test accuracy (fraction)", xlabel)


def _first_of(groups: Sequence[object]) -> str:
    return f"The {CURVES_MAX} settings that are best by dev of {len(groups)}." if len(groups) > CURVES_MAX else ""


def _curves(by_setting: Sequence[tuple[str, pd.DataFrame]], ylabel: str, axes: PlotAxes) -> None:
    charts.draw_curves(axes, by_setting, ylabel)


def _cost(comparison: Comparison, groups: Sequence[Group], axes: PlotAxes) -> None:
    charts.draw_cost(axes, comparison, groups)


def _axis(comparison: Comparison, axis: str, axes: PlotAxes) -> None:
    charts.draw_axis(axes, comparison, axis)


def _pair(comparison: Comparison, one: str, other: str, axes: PlotAxes) -> None:
    charts.draw_pair(axes, comparison, one, other)


def overview(comparison: Comparison, path: Path) -> None:
    """Scores by round, what they cost, and the first axes or pairs: four pictures in one file."""
    chosen = [picture for picture in pictures(comparison) if picture[0] != "train_loss"][:4]
    if not chosen:
        raise AnalysisError("there is nothing to draw: the runs have no scores")
    height = max(picture[4] for picture in chosen)
    columns = min(2, len(chosen))
    style.save(style.panel([(title, draw) for _, title, _, draw, _ in chosen], columns, height), path)


def html(comparison: Comparison, title: str, drawn: Sequence[Picture]) -> str:
    """The page."""
    figures = [page.figure(style.single(draw, heading, height), name.replace(".", "-"), heading, caption)
               for name, heading, caption, draw, height in drawn]
    tables = [settings_table(comparison)]
    if comparison.axes.names:
        tables += [effects_table(comparison), pairs_table(comparison), best_table(comparison)]
    named = comparison.runs.assign(name=distinct([path_names(path) for path in comparison.runs["path"]]))
    measured = [name for name in (*ENERGY, "simulated_s") if named[name].notna().any()]
    runs = named[["name", *comparison.axes.names, SEED, "best_round", *SCORES_SHOWN, "seconds", *measured, "bytes_up", "bytes_down"]]
    titles = {name: title_of(name) for name in SCORES_SHOWN} | {"best_round": "best round", "seconds": "time (s)", "bytes_up": "up (bytes)",
                                                                "bytes_down": "down (bytes)"}
    titles |= {name: f"{what} (J)" for name, what in ENERGY.items()} | {"simulated_s": "simulated (s)"}
    write: dict[str, Callable[[Any], str]] = {name: page.fixed(4) for name in SCORES_SHOWN}
    write |= {SEED: str} | dict.fromkeys(("seconds", "simulated_s", *ENERGY), page.fixed(1))
    shown = [*(_html_table(table) for table in tables if table.rows), page.frame_table(runs, "Runs", titles, write)]
    return page.render("comparison.html", title=title, sentences=summary(comparison), figures=figures, shown=shown,
                       left_out=comparison.left_out)


def _html_table(table: Table) -> Markup:
    rows = [[_number_or_text(cell, i >= table.words) for i, cell in enumerate(row)] for row in table.rows]
    return page.table(rows, [page.Column(name) for name in table.head], table.caption, table.bold, table.notes)


class _Written(float):
    """A number that is shown as it was written and sorted by its value."""

    text: str

    def __str__(self) -> str:
        return self.text


def _number_or_text(cell: str, number: bool) -> object:
    if not number:
        return cell
    first = cell.split(" ")[0].replace(",", "").replace("−", "-")
    value = _Written("nan" if first == "–" else first)
    value.text = cell
    return value


def write_all(comparison: Comparison, folder: Path, title: str) -> list[Path]:
    """comparison.html; runs.csv; settings, pairs, effects and to_best as CSV (all digits), Markdown and LaTeX; the pictures as SVG and
    PNG."""
    written = [folder / "comparison.html", folder / "runs.csv"]
    drawn = pictures(comparison)
    write_text(written[0], html(comparison, title, drawn))
    write_csv(written[1], comparison.runs, index=False)
    tables = {"settings": (settings_table(comparison), comparison.settings())}
    if comparison.axes.names:
        frames = {"pairs": comparison.pairs, "effects": comparison.main_effects}
        texts = {"pairs": pairs_table, "effects": effects_table}
        for name, make in frames.items():
            tables[name] = (texts[name](comparison), pd.concat([make(axis) for axis in comparison.axes.names]))
        tables["to_best"] = (best_table(comparison), comparison.differences_to_best())
    for name, (table, frame) in tables.items():
        write_csv(folder / f"{name}.csv", frame, index=False)
        written.append(folder / f"{name}.csv")
        for form in ("markdown", "latex"):
            path = folder / f"{name}.{FORMATS[form]}"
            write_text(path, table.render(form))
            written.append(path)
    for name, heading, _, draw, height in drawn:
        for kind in ("svg", "png"):
            path = folder / f"{name}.{kind}"
            style.save(style.single(draw, heading, height), path)
            written.append(path)
    return written
