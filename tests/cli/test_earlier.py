"""Run files of earlier versions: they are gone on with and made again as what they were.

A file of format version 1 has a place for every client in each round. A file that does not name `cma.decomposition` sampled by the symmetric root; one that does not name `fed.wire` was run in float64, kept its checkpoint's counters as doubles, and counted 4 bytes a number.
"""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Study, call, command, digest_of, edited, environment, read_rounds
from fedbpt_analysis import open_run, verify
from fedbpt_analysis import settings as package_settings
from journal import journal_rounds
from toy import MASK_MODEL

DATA = Path(__file__).parent / "data"
DIGEST = "04a92ebea197f7e3aec77b4c1a26741bc80d4dc5056f62af34976bb63d0911d8"  # of the file, as the program that made it said
LATER = ("participants:", "train_limit:", "wire:", "optimiser:", "decomposition:", "precision_check_every:", "precision_guard:",
         "precision_guard_tau:", "sizes:", "size_alpha:", "size_sigma:", "deep:", "hidden_std:", "client_work:", "aggregation:",
         "weighting:", "ranking:", "only_client:", "average_means:", "norm_bound:", "norm_growth:", "norm_max:",
         "vocabulary:", "seeds:")
SETTINGS = """
run: {seed: 7, output: earlier.h5}
model: {path: model}
data: {path: data.h5, shots: 4, dev_shots: 2, test_limit: 6}
prompt: {tokens: 3}
fed: {protocol: paper, clients: 3, rounds: 3, local_generations: 2}
cma: {dimension: 8, population: 4}
backend: {precision: fp32, threads: 1}
"""


def unpack(name: str, path: Path) -> Path:
    path.write_bytes(gzip.decompress((DATA / name).read_bytes()))
    return path


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The old file, in a folder with all that it needs; calls are made from there."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(MASK_MODEL, tmp_path / "model")
    unpack("before_wire_data.h5.gz", tmp_path / "data.h5")
    (tmp_path / "settings.yaml").write_text(SETTINGS, encoding="utf-8")
    return unpack("before_wire.h5.gz", tmp_path / "earlier.h5")


@pytest.mark.parametrize("ranks", [1, 2])
def test_gone_on_with(earlier: Path, ranks: int) -> None:
    """Under the settings with which it began, which name no wire either. Broken by counters read as doubles alone, by a default of
    today, on some rank; by rounds that count bytes otherwise than those before them."""
    assert digest_of(earlier) == DIGEST
    call("run", "settings.yaml", "--resume", ranks=ranks).good()
    assert read_rounds(earlier) == ("finished", [0, 1, 2, 3])
    with h5py.File(earlier) as file:
        assert "wire: float64" in file["config"].attrs["resolved"]
        assert file["checkpoint/server_integers"].dtype == np.int64
        assert len(set(file["rounds/cost/bytes_up"][1:])) == 1 and len(set(file["rounds/cost/bytes_down"][1:])) == 1
        assert file["rounds/cost/bytes_up"][1] == 3 * 4 * (8 + 2 + 1)


def test_read_as_what_it_was(earlier: Path) -> None:
    """The Python package takes for a setting that an earlier file does not name what the program takes. Broken by an option that is new,
    or whose `earlier_text` changes, in src/config/options.c alone."""

    def resolved() -> str:
        with h5py.File(earlier) as file:
            return str(file["config"].attrs["resolved"])

    before = resolved()
    call("run", "settings.yaml", "--resume").good()
    after = package_settings.parse(resolved())
    later = {name: after[name] for name in after if name not in package_settings.parse(before)}
    assert later == package_settings.EARLIER
    assert package_settings.recorded(before).keys() == after.keys()


def test_another_wire_is_refused(earlier: Path) -> None:
    before = earlier.read_bytes()
    call("run", "settings.yaml", "--resume", "--set", "fed.wire=float32").sentence("fed.wire is float32", "float64")
    assert earlier.read_bytes() == before


def make_earlier(path: Path) -> None:
    """Takes out of a file what earlier versions did not write."""
    with edited(path) as file:
        texts = {name: str(file["config"].attrs[name]) for name in ("given", "resolved")}
        for name, text in texts.items():
            lines = [line for line in text.splitlines(keepends=True) if not line.strip().startswith(LATER)]
            assert name == "given" or len(lines) == len(text.splitlines()) - len(LATER)
            file["config"].attrs[name] = "".join(lines)
        del file["rounds/cost"].attrs["value_bytes"]
        for name in ("bytes_up", "bytes_down"):
            file[f"rounds/cost/{name}"][...] = file[f"rounds/cost/{name}"][:] // 2
        integers = file["checkpoint/server_integers"][:].astype(np.float64)
        del file["checkpoint/server_integers"]
        file["checkpoint/server_integers"] = integers


@pytest.mark.parametrize("protocol", ["nvflare", "fedavg-bbt", "synchronous"])
def test_same_digest(mask: Study, protocol: str) -> None:
    """A float64 run by the symmetric root has the digest that it had in earlier versions, and one of theirs is made again as that."""
    path = mask.finished(fed__protocol=protocol, fed__wire="float64", cma__decomposition="eigen")
    before = digest_of(path)
    make_earlier(path)
    assert digest_of(path) == before
    assert "the same results again" in call("rerun", path, ranks=2).good().out


def test_wires_differ(mask: Study) -> None:
    """float32 is the default; it counts half of float64's bytes, and searches otherwise in the last bits."""
    paths = [mask.finished(), mask.finished(fed__wire="float32"), mask.finished(fed__wire="float64")]
    assert digest_of(paths[0]) == digest_of(paths[1]) != digest_of(paths[2])
    files = [h5py.File(path) for path in paths[1:]]
    for name in ("bytes_up", "bytes_down"):
        assert (2 * files[0][f"rounds/cost/{name}"][:] == files[1][f"rounds/cost/{name}"][:]).all()
    assert [file["rounds/cost"].attrs["value_bytes"] for file in files] == [4, 8]
    assert np.allclose(files[0]["rounds/z"][1], files[1]["rounds/z"][1], rtol=1e-3, atol=1e-3)


def test_decompositions_differ(mask: Study) -> None:
    """cholesky is the default; it has other results than eigen from one start, and the same on any number of ranks. Broken by a
    setting that does not reach the searches."""
    paths = [mask.finished(), mask.finished(cma__decomposition="cholesky"), mask.finished(cma__decomposition="eigen")]
    assert digest_of(paths[0]) == digest_of(paths[1]) != digest_of(paths[2])
    assert "the same results again" in call("rerun", paths[0], ranks=3).good().out
    first, other = (h5py.File(path)["rounds/z"][:] for path in paths[1:])
    assert (first[0] == other[0]).all() and (first[-1] != other[-1]).any()


def test_another_decomposition_is_refused(earlier: Path) -> None:
    before = earlier.read_bytes()
    call("run", "settings.yaml", "--resume", "--set", "cma.decomposition=cholesky").sentence("cma.decomposition is cholesky", "eigen")
    assert earlier.read_bytes() == before


def test_sweeps_know_their_earlier_files(mask: Study) -> None:
    """A sweep that was begun before there was a wire is finished, or is to be gone on with, as it was. Broken by today's default, under
    which its files would be of other settings."""
    sweep = mask.folder / "sweep.yaml"
    lines = ["name: earlier", f"output: {mask.folder / 'runs'}", "seeds: [1, 2]"]
    mask.values["fed"]["wire"] = "float64"
    mask.values["cma"]["decomposition"] = "eigen"
    sweep.write_text("\n".join([*lines, f"base: {mask.config.name}"]), encoding="utf-8")
    call("sweep", sweep).good()
    for path in sorted((mask.folder / "runs").glob("*.h5")):
        make_earlier(path)
    del mask.values["fed"]["wire"], mask.values["cma"]["decomposition"]
    assert "wire" not in mask.config.read_text(encoding="utf-8")
    assert "sweep earlier: 2 finished;" in call("sweep", sweep, "--status").good().out


# Of a run of format version 1 that was stopped after the first round, and of the same run made whole, as the program that made them said.
STOPPED, WHOLE = "808b3154da9445e68d4f7817763dd2e56b9eb0e56ed7a547d56b82fde9460390", "a9782935ff24b21cc827a65c5074e691126f662d3c06055dc03289b28730baac"
SETTINGS_1 = """
run: {seed: 7, output: version1.h5, client_means: true}
model: {path: model}
data: {path: data.h5, shots: 4, dev_shots: 2, test_limit: 6}
prompt: {tokens: 3}
fed: {protocol: fedavg-bbt, clients: 6, rounds: 4, participation: 0.5, local_generations: 2}
cma: {dimension: 8, population: 4}
backend: {precision: fp32, threads: 1}
"""


@pytest.fixture
def version1(earlier: Path) -> Path:
    """A run file of format version 1: half of the clients take part in a round, their means are kept."""
    (earlier.parent / "settings.yaml").write_text(SETTINGS_1, encoding="utf-8")
    return unpack("version1.h5.gz", earlier.parent / "version1.h5")


@pytest.fixture
def whole(version1: Path) -> str:
    """The digest of the run made whole in today's layout. Bits are a processor's own: where they are not those of the processor that the
    file was made on, its numbers become those that the same round has here, in its own layout."""
    made = version1.with_name("made.h5")
    call("run", "settings.yaml", "--set", f"run.output={made.name}").good()
    found = digest_of(made)
    if found != WHOLE:
        made.unlink()
        call("run", "settings.yaml", "--set", f"run.output={made.name}", "--set", "run.max_seconds=1e-6")
        with edited(version1) as old, h5py.File(made) as new:
            take_numbers(old, new)
    return found


def take_numbers(old: h5py.File, new: h5py.File) -> None:
    """Those of a run of version 2 into the same run of version 1, which has a place for every client."""
    assert old["rounds/index"].shape == new["rounds/index"].shape == (2,)
    ids = new["rounds/participants"][1]
    assert np.flatnonzero(old["rounds/participants"][1]).tolist() == ids.tolist()
    for name, values in new["rounds"].items():
        if name != "participants" and name in old["rounds"] and isinstance(values, h5py.Dataset):
            np.testing.assert_allclose(old["rounds"][name][:], values[:], rtol=1e-2, atol=1e-3)
            old["rounds"][name][...] = values[:]
    for name, values in new["rounds/client"].items():
        old["rounds/client"][name][1, ids] = values[1]
    for name, values in new["checkpoint"].items():
        old["checkpoint"][name][...] = values[:]


def test_version_1_is_read(version1: Path) -> None:
    """By every reader, and as it is. Broken by a reader that takes places for participants."""
    before = version1.read_bytes()
    assert digest_of(version1) == STOPPED
    assert '"format_version": 1' in call("show", "--json", version1).good().out
    assert "clients: 6" in call("show", version1).good().out
    call("evaluate", "--run", version1).good()
    call("export", version1, "--format", "npz", "--output", version1.with_suffix(".npz")).good()
    assert verify.verify(version1, None).problems == []
    assert open_run(version1).clients.index.to_list() == [(1, 2), (1, 3), (1, 5)]
    assert version1.read_bytes() == before


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_version_1_is_gone_on_with(version1: Path, whole: str, ranks: int) -> None:
    """In its own layout, to the results that it would have had, and that a run in today's layout has; both are made again from it."""
    call("run", "settings.yaml", "--resume", ranks=ranks).good()
    assert digest_of(version1) == whole
    call("run", "settings.yaml", "--set", "run.output=version2.h5", ranks=ranks).good()
    assert digest_of(version1.with_name("version2.h5")) == whole
    old, new = (h5py.File(version1.with_name(f"version{number}.h5")) for number in (1, 2))
    assert [file.attrs["format_version"] for file in (old, new)] == [1, 2]
    flags, ids = old["rounds/participants"], new["rounds/participants"][:]
    assert flags.dtype == np.uint8 and flags.shape == (5, 6) and ids.shape == (5, 3) and (ids[0] == -1).all()
    for row in range(1, 5):
        assert np.flatnonzero(flags[row]).tolist() == ids[row].tolist()
        for name, values in new["rounds/client"].items():
            assert (np.isnan(values[row]) == np.isnan(old["rounds/client"][name][row, ids[row]])).all()
            np.testing.assert_array_equal(old["rounds/client"][name][row, ids[row]], values[row])
    assert "the same results again" in call("rerun", version1, ranks=ranks).good().out


@pytest.mark.usefixtures("whole")
def test_version_1_differs_by_a_number(version1: Path) -> None:
    """A rerun, in today's layout, names round, column and client in which an old file differs."""
    call("run", "settings.yaml", "--resume").good()
    with edited(version1) as file:
        client = int(np.flatnonzero(file["rounds/participants"][3])[1])
        file["rounds/client/loss"][3, client] += 1
    call("rerun", version1).sentence("round 3 is the first that differs", f"rounds/client/loss[{client}]")


@pytest.mark.usefixtures("whole")
def test_version_1_killed(version1: Path) -> None:
    """Its journal has rounds in its layout. Broken by one that is written or taken up in another."""
    words = ("run", "settings.yaml", "--resume", "--set", "fed.rounds=400")
    with subprocess.Popen(command(words, 1), stderr=subprocess.DEVNULL, env=environment({}), start_new_session=True) as process:
        end = time.monotonic() + 60
        while not journal_rounds(version1):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
    assert journal_rounds(version1) > 0
    call(*words, ranks=2).good()
    call("run", "settings.yaml", "--set", "fed.rounds=400", "--set", "run.output=whole.h5").good()
    assert digest_of(version1) == digest_of(version1.with_name("whole.h5"))
    with h5py.File(version1) as file:
        assert file.attrs["format_version"] == 1 and file["rounds/participants"].shape == (401, 6)
