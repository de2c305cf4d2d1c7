"""Clients by nature: a column of the training samples says whose they are."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest


def lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def clients_of(path: Path) -> tuple[list[str], list[str]]:
    """The clients' names, and that of each training sample."""
    with h5py.File(path) as file:
        ends, text = file["clients/offsets"][:], file["clients/names"][:].tobytes()
        names = [text[a:b].decode() for a, b in zip(ends[:-1], ends[1:], strict=True)]
        assert "client" not in file.get("test", {}) and "client" not in file.get("dev", {})
        return names, [names[number] for number in file["train/client"][:]]


AUTHORS = ["bob", "ana", "bob", "\u00e9va", 7, "ana", "bob"]


@pytest.fixture
def rows() -> list[dict[str, object]]:
    return [{"text": "film", "label": number % 2, "who": who} for number, who in enumerate(AUTHORS)]


def test_names_and_numbers(call, bert, task, tmp_path, rows):
    """Sorted names, so that no order of rows changes which client is which; each sample with its own. The other splits need no column."""
    test = lines(tmp_path / "test.jsonl", [{"text": "news", "label": 0}])
    more = ("--model", bert, "--task", task(), "--client", "who", "--output", tmp_path / "o.h5")
    result = call("prepare_data", *more, "--train", lines(tmp_path / "a.jsonl", rows), "--test", test)
    assert result.code == 0, result.err
    assert clients_of(tmp_path / "o.h5") == (["7", "ana", "bob", "\u00e9va"], [str(who) for who in AUTHORS])
    assert "clients by who: 4, 1 to 3 training samples each (median 1); for fed.partition natural set fed.clients to 4" in result.out
    assert call("prepare_data", *more, "--train", lines(tmp_path / "a.jsonl", rows[::-1])).code == 0
    assert clients_of(tmp_path / "o.h5") == (["7", "ana", "bob", "\u00e9va"], [str(who) for who in AUTHORS[::-1]])


def test_csv_and_a_drawn_test_split(call, bert, task, table, tmp_path):
    """Broken by cells in another place where the label is not the column behind the texts, and by clients of drawn test samples."""
    path = table(*[(number % 2, f"client{number % 3}", f"film {number}") for number in range(30)], header=("label", "who", "text"))
    more = ("--train", path, "--test-size", 6, "--client", "who", "--output", tmp_path / "o.h5")
    result = call("prepare_data", "--model", bert, "--task", task(), *more)
    assert result.code == 0, result.err
    names, samples = clients_of(tmp_path / "o.h5")
    with h5py.File(tmp_path / "o.h5") as file:
        assert len(samples) == 24 and samples == [f"client{row % 3}" for row in file["train/row"][:]]
        assert file["train/labels"][:].tolist() == [row % 2 for row in file["train/row"][:]]
    assert names == ["client0", "client1", "client2"]


def test_rows_that_are_left_out_are_nobodys(call, bert, task, tmp_path, rows):
    """A client whose only sample has no text, or a label that is skipped, is none; samples are counted behind that."""
    rows[3]["text"] = ""
    rows[1]["label"] = 9
    path = lines(tmp_path / "a.jsonl", rows)
    more = ("--model", bert, "--train", path, "--client", "who", "--output", tmp_path / "o.h5")
    skips = task(empty="skip", skip_labels=[9])
    assert call("prepare_data", "--task", skips, *more).code == 0
    assert clients_of(tmp_path / "o.h5") == (["7", "ana", "bob"], ["bob", "bob", "7", "ana", "bob"])
    result = call("prepare_data", "--task", skips, *more, "--client-min-samples", 2)
    assert clients_of(tmp_path / "o.h5") == (["bob"], ["bob"] * 3)
    assert "2 rows left out of clients with too few samples" in result.out
    result = call("prepare_data", "--task", skips, *more, "--client-min-samples", 4)
    assert result.code == 2 and "the train split has no samples" in result.err


@pytest.mark.parametrize("who", [None, "", "  ", 1.5, True, ["a"], "\ud83d"])
def test_rows_without_a_client(call, bert, task, tmp_path, rows, who):
    """Refused by their place. Broken by a client called None or nan."""
    rows[4]["who"] = who
    more = ("--train", lines(tmp_path / "a.jsonl", rows), "--client", "who", "--output", tmp_path / "o.h5")
    result = call("prepare_data", "--model", bert, "--task", task(), *more)
    assert result.code == 2 and "a.jsonl:5: " in result.err and not (tmp_path / "o.h5").exists()


@pytest.mark.parametrize(("words", "message"), [
    (("--client", "whom"), "has no column 'whom'"),
    (("--client", "text"), "must be different columns"),
    (("--client-min-samples", "2"), "goes with --client"),
    (("--client", "who", "--client-min-samples", "0"), "1 or more"),
])
def test_refused(call, bert, task, tmp_path, rows, words, message):
    path = lines(tmp_path / "a.jsonl", rows)
    result = call("prepare_data", "--model", bert, "--task", task(), "--train", path, "--output", tmp_path / "o.h5", *words)
    assert result.code == 2 and message in result.err


def test_not_for_a_packaged_corpus(call, bert, task, tmp_path):
    more = ("--corpus", "bbc-news", "--client", "who", "--output", tmp_path / "o.h5")
    result = call("prepare_data", "--model", bert, "--task", task(), *more)
    assert result.code == 2 and "--client is for files, not for --corpus" in result.err
