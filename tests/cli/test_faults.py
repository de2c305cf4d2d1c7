"""Clients that drop out or are slow: who takes part in a round, when it is over, and what it leaves."""

from __future__ import annotations

import math
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Study, call, digest_of
from test_resume import PROTOCOLS, resume

COLUMNS = ("reported", "dropped", "late", "simulated_s")
# Half of the clients drop out, of those that do not some are late.
HARD = {"fed__clients": 6, "fed__participation": 0.5, "fed__over_selection": 1.7, "faults__dropout": 0.4, "pace__compute_seconds": 0.2,
        "pace__compute_sigma": 0.7, "pace__bytes_per_second": 1000, "pace__bandwidth_sigma": 0.5, "pace__latency_seconds": 0.1,
        "pace__deadline_seconds": 1.5, "fed__local_generations": 4, "data__shots": 0}
CHOSEN = 5  # of HARD: 1.7 times 3 participants


def columns(path: Path, *names: str) -> list[np.ndarray]:
    with h5py.File(path) as file:
        return [file[f"rounds/{name}"][:] for name in names]


@pytest.mark.thorough
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_half_drop_out(mask: Study, protocol: str) -> None:
    """Twenty rounds with as many participants as report: their values stand in front, nothing behind them, and the same on any number of
    ranks. Broken by a rule that counts on m reports, by a slot that an earlier round has left its values in."""
    changes = {"fed__protocol": protocol, "fed__rounds": 20, "faults__dropout": 0.5, "run__client_means": "true"}
    path = mask.finished(**changes)
    participants, reported, dropped, late, loss, evaluations = columns(path, "participants", *COLUMNS[:3], "client/loss",
                                                                       "client/evaluations")
    mean, step_size, z = columns(path, "client/mean", "client/step_size", "z")
    there = participants >= 0
    least = 2 if protocol in ("nvflare", "paper") else 1
    assert (reported + dropped + late)[1:].tolist() == [5] * 20 and not late.any() and len(set(reported.tolist())) > 3
    assert there.sum(axis=1).tolist() == np.where(reported < least, 0, reported).tolist()
    assert (np.diff(there.astype(int), axis=1) <= 0).all()
    for values in (loss, mean[..., 0], step_size[..., 0]):
        assert (np.isfinite(values) == there).all()
    assert ((evaluations > 0) == there).all() and np.isfinite(z).all()
    assert [digest_of(mask.finished(ranks=ranks, **changes)) for ranks in (3, 7)] == [digest_of(path)] * 2


@pytest.mark.thorough
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nobody_reports(mask: Study, protocol: str) -> None:
    """The server stays as it is and the run goes on; what it has sent is counted, to all that were chosen. Broken by an update of nothing,
    by a search that is reset."""
    changes = {"fed__protocol": protocol, "faults__dropout": 1, "pace__latency_seconds": 1}
    path = mask.finished(ranks=3, **changes)
    z, step_size, local, up, down, seconds = columns(path, "z", "step_size", "step_size_local", "cost/bytes_up", "cost/bytes_down",
                                                     "simulated_s")
    assert not z.any() and set(step_size) == set(local) == {1.0}
    assert not up.any() and not seconds.any()
    match = re.search(r"(\d+) down for each", call("run", mask.config, "--dry-run", *mask.set(fed__protocol=protocol)).good().out)
    sent = int(match.group(1)) if match else None
    assert down[1:].tolist() == [0 if protocol == "synchronous" else 5 * sent] * 3
    assert digest_of(path) == mask.digest(**changes)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_stopped_and_resumed(mask: Study, protocol: str) -> None:
    """With everything on. Broken by faults that depend on what was drawn before."""
    changes = {**HARD, "fed__protocol": protocol, "fed__rounds": 5}
    path = mask.output()
    assert mask.run(run__output=path, run__max_seconds=1e-6, **changes).code == 75
    assert resume(mask, path, ranks=3, run__max_seconds=1e-6, **changes).code == 75
    resume(mask, path, ranks=2, **changes).good()
    assert digest_of(path) == mask.expected(**changes)


@pytest.mark.parametrize("protocol", ["paper", "synchronous"])
@pytest.mark.parametrize("covariance", ["full", "separable"])
def test_resumed_before_a_round_without_reports(mask: Study, protocol: str, covariance: str) -> None:
    """It tells the same of the server, whoever goes on with the run. Broken by a condition number of the server's last factor, which an
    import makes anew."""
    changes = {"fed__protocol": protocol, "cma__covariance": covariance, "faults__dropout": 0.7, "fed__rounds": 40}
    path = mask.finished(**changes)
    there = (columns(path, "participants")[0] >= 0).any(axis=1)
    last = int(np.flatnonzero(there[:-1] & ~there[1:])[0])
    shorter = mask.finished(**{**changes, "fed__rounds": last})
    resume(mask, shorter, **changes).good()
    assert digest_of(shorter) == digest_of(path)


def client_seconds(study: Study, **changes: object) -> np.ndarray:
    """t_k of every client, read from rounds of one participant each, whose time it is."""
    path = study.finished(**{**changes, "fed__participants": 1, "fed__participation": 1, "fed__over_selection": 1, "faults__dropout": 0,
                             "pace__deadline_seconds": 0, "fed__rounds": 60, "eval__every": 60, "fed__local_generations": 4})
    participants, seconds = columns(path, "participants", "simulated_s")
    found = np.full(int(str(changes["fed__clients"])), np.nan)
    found[participants[1:, 0]] = seconds[1:]
    assert np.isfinite(found).all() and (seconds[1:] == found[participants[1:, 0]]).all() and seconds[0] == 0
    return found


@pytest.mark.thorough
@pytest.mark.parametrize("protocol", ["fedavg-bbt", "synchronous"])
def test_times_of_clients(mask: Study, protocol: str) -> None:
    """By the documented formula, from the tokens of the data set and the bytes of the ledger, where no speed varies. Broken by one
    direction, generation or exchange that is not counted, by tokens of another client."""
    changes = {"fed__protocol": protocol, "fed__clients": 6, "pace__compute_seconds": 3, "pace__bytes_per_second": 700,
               "pace__latency_seconds": 0.25, "perturb__rate": 0.3, "data__shots": 0}
    found = client_seconds(mask, **changes)
    path = mask.finished(**changes, fed__local_generations=4)
    with h5py.File(path) as run, h5py.File(mask.data) as data:
        lengths = np.diff(data["train/offsets"][:])
        index, offsets = run["partition/sample_index"][:], run["partition/sample_offsets"][:]
        n_bytes = (run["rounds/cost/bytes_up"][1] + run["rounds/cost/bytes_down"][1]) / 6
        evaluations = run["rounds/client/evaluations"][1]
    tokens = np.array([lengths[index[first:end]].sum() for first, end in zip(offsets, offsets[1:], strict=False)]) * evaluations
    exchanges = 4 if protocol == "synchronous" else 1
    assert found == pytest.approx(3 * tokens / 1000 + n_bytes / 700 + exchanges * 0.25, rel=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("protocol", ["fedavg-bbt", "synchronous"])
def test_who_reports_and_when(mask: Study, protocol: str) -> None:
    """All clients are chosen, and half of them count: those with the least times, up to the deadline; the round takes the time of the last
    of them, or the deadline. Broken by any other order, by a deadline for each exchange, by a round that waits for who is late."""
    changes = {**HARD, "fed__protocol": protocol, "faults__dropout": 0, "fed__over_selection": 2}
    seconds = client_seconds(mask, **changes)
    order = np.argsort(seconds)
    assert len(set(seconds)) == 6
    for deadline in (0, (seconds[order[1]] + seconds[order[2]]) / 2, seconds[order[4]]):
        path = mask.finished(**{**changes, "pace__deadline_seconds": repr(float(deadline))})
        in_time = [k for k in order[:3] if deadline == 0 or seconds[k] <= deadline]
        participants, reported, dropped, late, simulated = columns(path, "participants", *COLUMNS)
        assert participants[1:].tolist() == [sorted(in_time) + [-1] * (3 - len(in_time))] * 3
        assert (reported[1:] == len(in_time)).all() and not dropped.any() and (late[1:] == 6 - len(in_time)).all()
        assert (simulated[1:] == (seconds[in_time[-1]] if len(in_time) == 3 else deadline)).all()


def test_dropouts_take_the_first_reports(mask: Study) -> None:
    """Of those chosen and not dropped. As who drops out is not recorded, what holds of every round: at most three count, fewer only at the
    deadline or where the others have dropped out, and none that counts is slower than the round."""
    changes = {**HARD, "fed__protocol": "fedavg-bbt", "fed__rounds": 30}
    seconds = client_seconds(mask, **changes)
    participants, reported, dropped, late, simulated = columns(mask.finished(**changes), "participants", *COLUMNS)
    assert (reported + dropped + late)[1:].tolist() == [CHOSEN] * 30
    kinds = set()
    for row in range(1, 31):
        there = participants[row][participants[row] >= 0]
        slowest = seconds[there].max(initial=0)
        kinds.add((len(there) == 3, bool(late[row])))
        assert len(there) == reported[row] <= 3 and slowest <= 1.5
        assert simulated[row] == (slowest if len(there) == 3 else 1.5)
    assert len(kinds) >= 3


def test_bytes(mask: Study) -> None:
    """The server sends to all that were chosen; what it gets is of those that count. Broken by a ledger of m clients in any round."""
    up, down = (values[1] / 6 for values in columns(mask.finished(fed__protocol="fedavg-bbt", fed__clients=6, fed__local_generations=4),
                                                    "cost/bytes_up", "cost/bytes_down"))
    bytes_up, bytes_down, reported = columns(mask.finished(**HARD, fed__protocol="fedavg-bbt", fed__rounds=6), "cost/bytes_up",
                                             "cost/bytes_down", "reported")
    assert (bytes_up == reported * up).all() and (bytes_down[1:] == CHOSEN * down).all() and len(set(reported)) > 2


def test_nothing_is_kept_without_faults(mask: Study) -> None:
    """The file is that of earlier versions. Broken by columns of their own there."""
    with h5py.File(mask.finished()) as file:
        assert not set(file["rounds"]) & set(COLUMNS)
    with h5py.File(mask.finished(faults__dropout=0.1)) as file:
        assert set(COLUMNS) <= set(file["rounds"]) and np.isnan(file["rounds/simulated_s"][:]).all()


def test_rates_of_clients(mask: Study) -> None:
    """Their own rates make another run than one for all."""
    path = mask.finished(faults__dropout=0.5, faults__dropout_kind="client", fed__rounds=20)
    assert digest_of(path) != mask.digest(faults__dropout=0.5, fed__rounds=20)
    participants = columns(path, "participants")[0]
    counts = np.array([(participants == k).sum() for k in range(5)])
    assert np.ptp(counts) > 6  # under one rate for all a standard deviation is 2.2


def test_dry_run(mask: Study) -> None:
    """It tells what the run will simulate. Broken by other draws than the run's."""
    changes = {**HARD, "fed__rounds": 20}
    out = call("run", mask.config, "--dry-run", *mask.set(**changes)).good().out
    path = mask.finished(**changes)
    reported, simulated, tokens = columns(path, "reported", "simulated_s", "cost/tokens")
    match = re.search(r"on average ([\d.]+) of 5 chosen ones report in a round, (\d+) of 20 rounds are abandoned, a round takes "
                      r"([\d.]+) s, all rounds (\d+) s", out)
    assert match is not None
    average, abandoned, seconds, total = (float(word) for word in match.groups())
    assert math.isclose(average, reported.sum() / 20, abs_tol=0.051) and abandoned == (reported[1:] < 2).sum()
    assert math.isclose(seconds, simulated.sum() / 20, abs_tol=0.051) and math.isclose(total, simulated.sum(), abs_tol=0.51)
    assert f", {tokens.sum()} in all rounds" in out


def test_told(mask: Study) -> None:
    """A line a round, and `show`."""
    result = mask.run(**HARD).good()
    assert re.search(r"round +1/3: .*, \d of 5 reported \(\d dropped, \d late\), [\d.]+ s simulated, ", result.err)
    shown = call("show", mask.values["run"]["output"]).good().out
    assert re.search(r"reported +dropped +late +simulated s", shown)


@pytest.mark.parametrize(("changes", "words"), [
    ({"fed__over_selection": 1.3}, ("fed.over_selection", "fed.clients")),
    ({"pace__deadline_seconds": 5}, ("pace.deadline_seconds", "pace.compute_seconds")),
    ({"faults__dropout": 1.5}, ("faults.dropout", "from 0 to 1")),
    ({"fed__over_selection": 0.9}, ("fed.over_selection", "from 1 to")),
    ({"faults__dropout_kind": "always"}, ("faults.dropout_kind", "round or client")),
])
def test_refused(mask: Study, changes: dict[str, object], words: tuple[str, ...]) -> None:
    """By the names of the settings, before any work."""
    mask.run(**changes).sentence(*words)


def test_predictions_are_refused(mask: Study) -> None:
    """A run whose rounds have fewer participants now and then is no ground for predictions."""
    path = mask.finished(faults__dropout=0.3)
    call("bench", "--scale", path, "--latency", "2us", "--bandwidth", "1GB/s").sentence("faults.dropout", "pace.deadline_seconds")
