"""Texts that users chose (labels, paths, settings) as names: printable, no two alike, short enough for a picture."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import PurePath

_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Marks that reorder the text around them: what is read would not be what is written.
_REORDER = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Spellings of our own characters for an output that lacks them.
_ASCII = {"±": "+-", "–": "-", "−": "-", "λ": "lambda", "σ": "sigma", "·": "|", "†": "(a)", "‡": "(b)", "…": "...", "≤": "<=", "≥": ">="}
ASCII_ERRORS = "fedbpt-ascii"  # an error handler of codecs


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_ASCII.get(c) or c.encode("ascii", "backslashreplace").decode("ascii") for c in text), error.end


codecs.register_error(ASCII_ERRORS, _spell)


def printable(text: object, keep: str = "") -> str:
    r"""Control characters, marks that reorder text and halves of characters as escapes (`\x1b`, `\n`), so that no name moves a
    cursor, breaks a line of a table or is not XML. `keep`: control characters that stay."""
    given = str(text)
    if given.isascii() and given.isprintable():
        return given
    return "".join(c if c in keep or not _is_control(c) else c.encode("unicode_escape").decode("ascii") for c in given)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in _CONTROLS or character in _REORDER or ord(character) & 0xFFFE == 0xFFFE


def width_of(text: str) -> int:
    """Columns of a terminal: two for a wide character, none for a mark over the one before."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) or c in "\u200d\ufe0f" else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, width: int) -> str:
    """At most `width` columns of a text; what is left out shows as an ellipsis."""
    if width_of(text) <= width:
        return text
    kept = text
    while kept and width_of(kept) > width - 1:
        kept = kept[:-1]
    return f"{kept}…" if width > 0 else ""


def distinct(candidates: Sequence[Sequence[str]], same: Callable[[str], str] = str) -> list[str]:
    """A name for each thing, no two alike: of its candidates (from short to long) the first that tells it apart; where even the last
    are alike, with a number. `same`: names with an equal key count as alike (str.casefold for names of files)."""
    levels = [0] * len(candidates)
    while True:
        names = [options[level] for options, level in zip(candidates, levels, strict=True)]
        counts = Counter(map(same, names))
        clash = [i for i, name in enumerate(names) if counts[same(name)] > 1 and levels[i] + 1 < len(candidates[i])]
        if not clash:
            return _numbered(names, same)
        for i in clash:
            levels[i] += 1


def _numbered(names: Sequence[str], same: Callable[[str], str]) -> list[str]:
    counts = Counter(map(same, names))
    taken = {name for name, n in counts.items() if n == 1}
    found = []
    for name in names:
        chosen, number = name, 1
        while counts[same(name)] > 1 and (same(chosen) in taken or number == 1):
            chosen, number = f"{name} ({number})", number + 1
        taken.add(same(chosen))
        found.append(chosen)
    return found


def path_names(path: str) -> list[str]:
    """Candidates for `distinct`: a path's last part without .h5, then with more and more of its folders, at last as it is written."""
    pure = PurePath(path)
    parts = pure.parts
    last = pure.stem if pure.suffix == ".h5" else pure.name
    tails = [str(PurePath(*parts[len(parts) - 1 - n : -1], last)) for n in range(len(parts))] if last else []
    return [printable(name) for name in (*tails, path)]


def label_names(words: Sequence[str]) -> list[str]:
    """One name a label, no two alike."""
    return distinct([(printable(word.strip()) or f"label {i}", f"{printable(word.strip())} (label {i})") for i, word in enumerate(words)])


def file_names(names: Sequence[str]) -> list[str]:
    """The same as names of files or ids: letters, digits, dots, dashes and underscores; distinct without regard to case."""
    return distinct([[re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip(".-") or "run"] for name in names], str.casefold)
