"""Comparisons on made runs whose means, differences and effects are known."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path

import made
import pandas as pd
import pytest
from conftest import Result
from fedbpt_analysis import axes, compare_report
from fedbpt_analysis.compare import compare
from fedbpt_analysis.errors import AnalysisError
from fedbpt_analysis.stats import t_quantile
from fedbpt_analysis.tables import Table, escape_latex
from made import Made

NOISE = {1: 0.01, 2: -0.02, 3: 0.04}  # of a seed, the same for all settings


def run(folder: Path, name: str, seed: int, test: float, dev: float = 0.5, **changes: object) -> Path:
    """A run whose test and dev accuracy are the same in all rounds; `fed__protocol="paper"` is a setting."""
    settings = {key.replace("__", "."): value for key, value in changes.items()} | {"run.seed": seed, "run.output": f"runs/{name}.h5"}
    scores = {"test_accuracy": [test] * 5, "dev_accuracy": [dev] * 5, "dev_loss": [1.0, 0.9, 0.8, 0.7, 0.6]}
    return made.write(folder / f"{name}.h5", Made(settings, scores=scores))


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Two axes with additive effects: protocol (paper: +0.1), population (10: +0.03, 20: +0.05); one cell is missing."""
    for protocol, gain in (("nvflare", 0.0), ("paper", 0.1)):
        for population, more in ((5, 0.0), (10, 0.03), (20, 0.05)):
            for seed, noise in NOISE.items():
                if (protocol, population) != ("nvflare", 20):
                    name = f"{protocol}-{population}-{seed}"
                    scores = 0.6 + gain + more + noise, 0.5 + gain - more
                    run(tmp_path, name, seed, *scores, fed__protocol=protocol, cma__population=population)
    return tmp_path


def test_axes_and_means(grid: Path) -> None:
    comparison = compare([grid])
    assert comparison.axes.names == ("fed.protocol", "cma.population") and comparison.axes.follow == {}
    assert comparison.metric == "test_accuracy_best" and len(comparison.runs) == 15
    table = comparison.settings(("test_accuracy_best",)).set_index(["fed.protocol", "cma.population"])
    assert len(table) == 5 and set(table["seeds"]) == {3}
    assert table.loc[("paper", 20), "test_accuracy_best"] == pytest.approx(0.76)
    sd = pd.Series(NOISE).std()
    assert table.loc[("nvflare", 5), "test_accuracy_best_sd"] == pytest.approx(sd)
    half, p = t_quantile(2) * sd / math.sqrt(3), 0.61
    for name, sign in (("low95", -1), ("high95", 1)):
        end = 1 / (1 + math.exp(-(math.log(p / (1 - p)) + sign * half / (p * (1 - p)))))
        assert table.loc[("nvflare", 5), f"test_accuracy_best_{name}"] == pytest.approx(end)


def test_what_decides_nothing_is_no_axis(tmp_path: Path) -> None:
    """By what the files say: here of cma.sigma that it decides nothing, of run.max_seconds that it decides numbers."""
    for n in range(2):
        values = {"cma.sigma": 1 + n, "run.max_seconds": n, "run.seed": 1}
        made.write(tmp_path / f"{n}.h5", Made(values, decides="cma.sigma: nothing\nrun.output: nothing\n"))
    assert compare([tmp_path]).axes.names == ("run.max_seconds",)
    for n in range(2):  # without a word of theirs: as it was
        made.write(tmp_path / f"{n}.h5", Made({"cma.sigma": 1 + n, "run.max_seconds": n, "run.seed": 1}))
    assert compare([tmp_path]).axes.names == ("cma.sigma",)


@pytest.mark.parametrize(("digests", "axes_found"), [(("a", "a"), ()), (("a", "b"), ("data.path",)), (("", ""), ("data.path",))])
def test_an_input_is_what_it_holds(digests: tuple[str, str], axes_found: tuple[str, ...], tmp_path: Path) -> None:
    """Data that has moved is the same data, and a run on it a second one of the same settings; unless nobody knows what it held."""
    for n, digest in enumerate(digests):
        inputs = {"data_sha256": digest} if digest else {}
        made.write(tmp_path / f"{n}.h5", Made({"data.path": f"{n}/data.h5"}, inputs=inputs, created=f"2026-01-0{n + 1}"))
    comparison = compare([tmp_path])
    assert comparison.axes.names == axes_found
    assert len(comparison.runs) == (2 if axes_found else 1)


def test_a_precision_is_what_it_came_to(tmp_path: Path) -> None:
    """`auto` that came to bf16 is bf16; on machines where it comes to two precisions, there are two."""
    for n, (precision, outcome) in enumerate([("auto", "bf16"), ("bf16", "bf16"), ("auto", "fp32")]):
        made.write(tmp_path / f"{n}.h5", Made({"backend.precision": precision, "run.seed": n}, environment={"precision": outcome}))
    comparison = compare([tmp_path])
    assert comparison.axes.names == ("backend.precision",) and list(comparison.runs["backend.precision"]) == ["bf16", "bf16", "fp32"]


def test_paired_differences_lose_the_seeds_noise(grid: Path) -> None:
    """Seeds shift all settings alike, so that paired differences have no spread; the missing cell pairs with nothing."""
    pairs = compare([grid]).pairs("cma.population").set_index(["value", "less"])
    assert pairs.loc[("10", "5"), "difference"] == pytest.approx(0.03) and pairs.loc[("10", "5"), "pairs"] == 6
    assert pairs.loc[("20", "5"), "difference"] == pytest.approx(0.05) and pairs.loc[("20", "5"), "pairs"] == 3
    assert pairs["sd"].max() < 1e-12 and set(pairs["seeds"]) == {3}


def test_main_effects_are_not_fooled_by_the_missing_cell(grid: Path) -> None:
    """Over all runs population 20 would seem better by 0.1 than it is, having been run with the better protocol only."""
    comparison = compare([grid])
    effects = comparison.main_effects("cma.population").set_index("value")
    assert effects["mean"].to_dict() == pytest.approx({"5": 0.71, "10": 0.74, "20": 0.76}) and set(effects["others"]) == {1}
    assert effects.loc["20", "effect"] == pytest.approx(0.05 - 0.08 / 3)
    protocol = comparison.main_effects("fed.protocol").set_index("value")
    assert protocol.loc["paper", "mean"] - protocol.loc["nvflare", "mean"] == pytest.approx(0.1) and set(protocol["others"]) == {2}
    counted = comparison.counted("cma.population")
    assert set(comparison.runs.loc[counted, "fed.protocol"]) == {"paper"} and counted.sum() == 9


def test_seeds_that_lack_a_setting_widen_no_interval(grid: Path) -> None:
    """A seed that was run with the better protocol only is no sign that seeds spread."""
    (grid / "nvflare-5-3.h5").unlink()
    (grid / "nvflare-10-3.h5").unlink()
    comparison = compare([grid])
    assert set(comparison.main_effects("cma.population")["seeds"]) == {3}  # only `paper` counts, under which all were run
    assert comparison.main_effects("fed.protocol").set_index("value")["seeds"].to_dict() == {"nvflare": 2, "paper": 3}
    (grid / "paper-10-3.h5").unlink()
    assert compare([grid]).main_effects("fed.protocol").set_index("value")["seeds"].to_dict() == {"nvflare": 2, "paper": 2}


def test_best_is_chosen_on_dev(grid: Path) -> None:
    """paper with population 20 is best on the test set, with 5 on dev."""
    comparison = compare([grid])
    assert comparison.best() == ("paper", 5)
    differences = comparison.differences_to_best().set_index("setting")
    assert differences.loc["paper, 20", "difference"] == pytest.approx(0.05) and set(differences["less"]) == {"paper, 5"}
    text = " ".join(compare_report.summary(comparison))
    assert "Best by dev accuracy: paper, 5, with 0.600 on dev" in text and "0.710 (95% interval" in text and "5 settings" in text


def test_heat_map_has_holes(grid: Path) -> None:
    table = compare([grid]).grid("fed.protocol", "cma.population")
    assert list(table.columns) == [5, 10, 20] and math.isnan(table.loc["nvflare", 20]) and table.loc["paper", 20] == pytest.approx(0.76)


def test_settings_that_follow(tmp_path: Path) -> None:
    """A protocol that comes with its own population is one axis, not two; what only says where the file goes is none."""
    for seed in (1, 2):
        run(tmp_path, f"a{seed}", seed, 0.6, fed__protocol="nvflare", cma__population=5, backend__threads=seed)
        run(tmp_path, f"b{seed}", seed, 0.7, fed__protocol="synchronous", cma__population=20, backend__threads=4)
        run(tmp_path, f"c{seed}", seed, 0.7, fed__protocol="paper", cma__population=5, backend__threads=4)
    comparison = compare([tmp_path])
    assert comparison.axes.names == ("fed.protocol",) and comparison.axes.follow == {"cma.population": "fed.protocol"}


def test_axes_of_a_sweep(tmp_path: Path) -> None:
    """Axes that the sweep recorded count, not what else differs; a run may leave out a setting that others name."""
    for number, (protocol, sigma, dimension) in enumerate((("nvflare", 1, 6), ("paper", 1, 7), ("paper", 2, 7))):
        text = f"fed.protocol={protocol} run.seed=1" + (f" cma.sigma={sigma}" if sigma > 1 else "")
        declared = {"sweep_name": "s", "sweep_run": f"r{number}", "sweep_axes": text}
        settings = {"fed.protocol": protocol, "cma.dimension": dimension, "cma.sigma": sigma}
        made.write(tmp_path / f"{number}.h5", Made(settings, environment=declared))
    assert compare([tmp_path]).axes.names == ("fed.protocol", "cma.sigma")
    assert compare([tmp_path], axes=["cma.dimension"]).axes.names == ("cma.dimension",)
    assert axes.keys_of("data.path=a b=c.h5 cma.sigma=1.5") == ["data.path", "cma.sigma"]
    with pytest.raises(AnalysisError, match=r"fed\.protocoll"):
        compare([tmp_path], axes=["fed.protocoll"])


def test_only_seeds_differ(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        run(tmp_path, str(seed), seed, 0.6 + NOISE[seed])
    comparison = compare([tmp_path])
    assert comparison.axes.names == () and len(comparison.settings()) == 1
    assert "3 runs: 1 setting, 3 seeds each." in compare_report.summary(comparison)
    written = compare_report.write_all(comparison, tmp_path / "out", "seeds")
    assert {path.name for path in written} >= {"comparison.html", "runs.csv", "settings.tex", "test_accuracy.png"}


def test_equal_runs_and_unfinished_ones(tmp_path: Path) -> None:
    """Of equal settings and seed the newest run counts; what is not finished does not, unless asked for. Both are told."""
    run(tmp_path, "old", 1, 0.5)
    new = Made({"run.seed": 1}, created="2026-02-01T00:00:00Z", scores={"test_accuracy": [0.9] * 5})
    made.write(tmp_path / "new.h5", new)
    made.write(tmp_path / "live.h5", Made({"run.seed": 2}, rows=3, status="running"))
    (tmp_path / "damaged.h5").write_bytes(b"x")
    comparison = compare([tmp_path])
    assert comparison.runs["name"].to_list() == ["new"] and len(comparison.left_out) == 3
    assert "3 files left out" in " ".join(compare_report.summary(comparison))
    assert sorted(compare([tmp_path], unfinished=True).runs["name"]) == ["live", "new"]


def test_no_dev_samples(tmp_path: Path) -> None:
    for seed in (1, 2):
        for protocol in ("nvflare", "paper"):
            made.write(tmp_path / f"{protocol}{seed}.h5", Made({"run.seed": seed, "fed.protocol": protocol}, dev=False))
    comparison = compare([tmp_path])
    assert comparison.best() is None and comparison.metric == "test_accuracy_last" and comparison.differences_to_best().empty
    assert "nothing but the test set could choose" in " ".join(compare_report.summary(comparison))
    compare_report.write_all(comparison, tmp_path / "out", "none")


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    run(tmp_path, "a", 1, 0.6, fed__protocol="nvflare")
    run(tmp_path, "b", 1, 0.7, fed__protocol="paper")
    comparison = compare([tmp_path])
    assert "one seed: no interval" in " ".join(compare_report.summary(comparison))
    assert "±" not in compare_report.pairs_table(comparison).rows[0][2]


def test_files(grid: Path, call: Callable[..., Result]) -> None:
    """All tables in all forms; CSV has all digits."""
    folder = grid / "out"
    result = call("compare", grid, "--output", folder).good()
    assert "15 runs: 5 settings" in result.out and "| fed.protocol | cma.population |" in result.out and "comparison.html" in result.err
    for name in ("settings", "pairs", "effects", "to_best"):
        assert {path.suffix for path in folder.glob(f"{name}.*")} == {".csv", ".md", ".tex"}, name
    for name in ("axis-fed.protocol", "axis-cma.population", "pair-fed.protocol-cma.population", "test_accuracy", "train_loss", "cost"):
        assert (folder / f"{name}.svg").read_text().lstrip().startswith("<?xml") and (folder / f"{name}.png").read_bytes()[1:4] == b"PNG"
    runs = pd.read_csv(folder / "runs.csv")
    assert len(runs) == 15 and runs["test_accuracy_best"].max() == pytest.approx(0.79)
    assert len(pd.read_csv(folder / "effects.csv")) == 5
    assert call("compare", folder).code == 1  # the folder that was written holds no runs


@pytest.mark.parametrize("form", ["markdown", "latex", "csv"])
def test_printed_forms(form: str, grid: Path, call: Callable[..., Result]) -> None:
    out = call("compare", grid, "--format", form).good().out
    if form == "csv":
        rows = list(csv.reader(io.StringIO(out)))
        assert len(rows) == 6 and {len(row) for row in rows} == {len(rows[0])} and rows[1][:3] == ["nvflare", "10", "3"]
    if form == "latex":
        for word in (r"\toprule", r"\midrule", r"\bottomrule", r"$\pm$", r"\begin{tabular}{llr"):
            assert word in out
        assert len({line.count("&") for line in out.splitlines() if line.endswith(r"\\")}) == 1


def test_escapes() -> None:
    table = Table("a_b", ["x|y", "1"], [["50% & more_$", "2"]])
    assert r"x\|y" in table.markdown() and r"50\% \& more\_\$" in table.latex() and r"\caption{a\_b}" in table.latex()
    assert escape_latex("\\~^{}#") == r"\textbackslash{}\textasciitilde{}\textasciicircum{}\{\}\#"


def two_data_sets(folder: Path, seeds: dict[str, tuple[int, ...]]) -> None:
    """nvflare and paper (+0.1) on two data sets of one file name, agnews being easier by 0.2."""
    for data, gain in (("sst2", 0.0), ("agnews", 0.2)):
        for protocol, more in (("nvflare", 0.0), ("paper", 0.1)):
            for seed in seeds[data]:
                settings = {"data__path": f"{data}/data.h5", "fed__protocol": protocol}
                run(folder, f"{data}-{protocol}-{seed}", seed, 0.5 + gain + more + NOISE[seed], 0.5 + gain + more, **settings)


def test_one_name_a_setting(tmp_path: Path) -> None:
    """Data sets of one file name in two folders are two settings in tables, pictures and curves."""
    two_data_sets(tmp_path, {"sst2": (1, 2), "agnews": (1, 2)})
    comparison = compare([tmp_path])
    table = compare_report.settings_table(comparison)
    assert {tuple(row[:2]) for row in table.rows} == {("sst2/data", "nvflare"), ("sst2/data", "paper"), ("agnews/data", "nvflare"),
                                                     ("agnews/data", "paper")}
    drawn = compare_report.curves(comparison, "test_accuracy")
    assert len({name for name, _ in drawn}) == len(drawn) == 4 and {table.shape[1] for _, table in drawn} == {2}
    names = set(comparison.differences_to_best()["setting"])
    assert len(names) == 3 and comparison.name_of(comparison.best()) == "agnews/data, paper"
    assert set(comparison.pairs("data.path")["less"]) | set(comparison.pairs("data.path")["value"]) == {"sst2/data", "agnews/data"}


@pytest.mark.parametrize(("name", "values", "expected"), [
    ("data.path", ["a/data.h5", "b/data.h5", "mine.h5"], ["a/data", "b/data", "mine"]),
    ("data.path", ["/x/a/data.h5", "/y/a/data.h5", "data.h5", "data"], ["x/a/data", "y/a/data", "data.h5", "data"]),
    ("model.path", ["m", "./m", "m/"], ["m", "./m", "m/"]),
    ("cma.sigma", [0.1234567, 0.1234568, 0.5], ["0.1234567", "0.1234568", "0.5"]),
    ("prompt.text", ["a\nb", "a\\nb", "\x1b[1m"], ["a\\nb (1)", "a\\nb (2)", "\\x1b[1m"]),
])
def test_names_of_values(name: str, values: list[object], expected: list[str]) -> None:
    assert list(axes.names_of(name, values).values()) == expected


def test_names_that_join_alike(tmp_path: Path) -> None:
    """`a, b` with `c` and `a` with `b, c` are two settings."""
    for number, (one, other) in enumerate((("a, b", "c"), ("a", "b, c"))):
        run(tmp_path, str(number), 1, 0.5 + number / 10, data__path=one, model__path=other)
    comparison = compare([tmp_path], axes=["data.path", "model.path"])
    assert len({name for name, _ in compare_report.curves(comparison, "test_accuracy")}) == 2


def test_seeds_are_counted_within_equal_settings(tmp_path: Path) -> None:
    """Two data sets with two seeds each are two seeds, not four, and the data sets' distance is no spread of seeds."""
    two_data_sets(tmp_path, {"sst2": (1, 2), "agnews": (1, 2)})
    comparison = compare([tmp_path], axes=["fed.protocol"])
    assert comparison.besides == ("data.path",) and not comparison.unequal
    table = comparison.settings(("test_accuracy_best",)).set_index("fed.protocol")
    assert set(table["seeds"]) == {2} and set(table["runs"]) == {4}
    assert table.loc["paper", "test_accuracy_best"] == pytest.approx(0.7 + (NOISE[1] + NOISE[2]) / 2)
    assert table.loc["paper", "test_accuracy_best_sd"] == pytest.approx(abs(NOISE[1] - NOISE[2]) / math.sqrt(2))
    text = " ".join(compare_report.summary(comparison))
    assert "2 seeds each" in text and "these differ too: data.path (2 values)" in text
    pair = comparison.pairs("fed.protocol").iloc[0]
    assert pair["difference"] == pytest.approx(0.1) and (pair["seeds"], pair["pairs"]) == (2, 4)
    compare_report.write_all(comparison, tmp_path / "out", "two data sets")


def test_no_interval_over_seeds_of_unequal_settings(tmp_path: Path) -> None:
    """Each data set with seeds of its own: no seed shows how a setting spreads, so there is no interval."""
    two_data_sets(tmp_path, {"sst2": (1, 2), "agnews": (3,)})
    comparison = compare([tmp_path], axes=["fed.protocol"])
    table = comparison.settings(("test_accuracy_best",)).set_index("fed.protocol")
    assert table.loc["nvflare", "test_accuracy_best"] == pytest.approx((0.5 + (NOISE[1] + NOISE[2]) / 2 + 0.7 + NOISE[3]) / 2)
    assert table["test_accuracy_best_low95"].isna().all() and set(table["seeds"]) == {1}


def test_unequal_company(tmp_path: Path) -> None:
    """A protocol that was run on the easy data set too is neither better for it, nor chosen for it; differences are of equal data."""
    two_data_sets(tmp_path, {"sst2": (1, 2), "agnews": (1, 2)})
    for path in tmp_path.glob("agnews-paper-*.h5"):
        path.unlink()
    comparison = compare([tmp_path], axes=["fed.protocol"])
    assert comparison.unequal and comparison.best() == ("paper",)
    assert comparison.pairs("fed.protocol").iloc[0]["difference"] == pytest.approx(0.1)
    assert comparison.differences_to_best().iloc[0]["difference"] == pytest.approx(-0.1)
    assert "do not compare" in " ".join(compare_report.summary(comparison))


def test_same_settings_on_other_data(tmp_path: Path) -> None:
    """A data set that was staged anew under its old name is named, and its run is not taken for a newer one of the same."""
    for number, (seed, digest) in enumerate(((1, "a"), (2, "a"), (1, "b"))):
        made.write(tmp_path / f"{number}.h5", Made({"run.seed": seed}, inputs={"data_sha256": digest}, created=f"2026-01-0{number + 1}"))
    comparison = compare([tmp_path])
    assert len(comparison.runs) == 3 and comparison.besides == ("data_sha256",) and comparison.settings()["seeds"].to_list() == [1]
    assert "data_sha256 (2 values)" in " ".join(compare_report.summary(comparison))


def test_setting_that_some_runs_lack(tmp_path: Path) -> None:
    """A run of an older program has no value for a newer setting: that is a value of its own, in every table and picture."""
    for number, extra in enumerate(({}, {"cma.restarts": 2}, {"cma.restarts": 3})):
        made.write(tmp_path / f"{number}.h5", Made({**extra, "run.seed": 1}))
    comparison = compare([tmp_path])
    assert comparison.axes.names == ("cma.restarts",) and len(comparison.pairs("cma.restarts")) == 3
    assert "not recorded" in {row[0] for row in compare_report.settings_table(comparison).rows}
    compare_report.write_all(comparison, tmp_path / "out", "lack")


@pytest.mark.parametrize("values", [[0.99, 1.0], [1.0, 0.0], [0.999, 1.0, 1.0], [0.0, 0.001], [1.0, 1.0], [0.0, 0.0], [0.5]])
def test_intervals_of_fractions(values: list[float], tmp_path: Path) -> None:
    """Accuracies near their limits: intervals, and those of differences, stay where accuracies can be."""
    for seed, value in enumerate(values):
        run(tmp_path, f"a{seed}", seed, value, fed__protocol="nvflare")
        run(tmp_path, f"b{seed}", seed, 1 - value, fed__protocol="paper")
    comparison = compare([tmp_path])
    table, effects = comparison.settings(("test_accuracy_best",)), comparison.main_effects("fed.protocol")
    for frame, low, high, least in ((table, "test_accuracy_best_low95", "test_accuracy_best_high95", 0), (effects, "low95", "high95", 0),
                                    (comparison.pairs("fed.protocol"), "low95", "high95", -1)):
        mean = frame[low.removesuffix("_low95") if "_" in low else "mean" if "mean" in frame else "difference"]
        if len(values) > 1:
            assert ((least <= frame[low]) & (frame[low] <= mean) & (mean <= frame[high]) & (frame[high] <= 1)).all()
        else:
            assert frame[low].isna().all() and frame[high].isna().all()
    compare_report.summary(comparison)


def test_losses_have_no_limits(tmp_path: Path) -> None:
    for seed in NOISE:
        made.write(tmp_path / f"{seed}.h5", Made({"run.seed": seed}, scores={"test_loss": [2 + NOISE[seed]] * 5}))
    row = compare([tmp_path], "test_loss_best").settings(("test_loss_best",)).iloc[0]
    half = t_quantile(2) * pd.Series(NOISE).std() / math.sqrt(3)
    assert row["test_loss_best_low95"] == pytest.approx(2.01 - half) and row["test_loss_best_high95"] == pytest.approx(2.01 + half)


def test_errors(grid: Path, tmp_path: Path, call: Callable[..., Result]) -> None:
    (tmp_path / "empty").mkdir()
    call("compare", tmp_path / "empty").sentence("no run files")
    call("compare", tmp_path / "nowhere").sentence("nowhere", "there is no such file")
    call("compare", grid, "--metric", "luck").sentence("luck", "test_accuracy_best")
    call("compare", grid, "--overview", "x.gif").sentence("x.gif", ".svg")
    live = made.write(tmp_path / "empty" / "live.h5", Made(rows=2, status="running"))
    call("compare", live).sentence("none of the 1 runs is finished", "--unfinished")
