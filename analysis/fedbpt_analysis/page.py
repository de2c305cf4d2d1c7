"""HTML pages that need nothing beside themselves: style, script and pictures are inside."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from . import style
from .naming import printable


def asset(name: str) -> str:
    """A text file of this package."""
    return resources.files(__package__).joinpath("assets", name).read_text(encoding="utf-8")


def text(given: object) -> str:
    """A text as HTML: no markup, no character that a page may not hold."""
    return html.escape(printable(given))


def page(title: str, body: Iterable[str]) -> str:
    """A whole document."""
    return asset("page.html").format(title=text(title), style=asset("page.css"), script=asset("sort.js"), body="\n".join(body))


def paragraph(words: str, kind: str = "") -> str:
    return f'<p class="{kind}">{text(words)}</p>' if kind else f"<p>{text(words)}</p>"


def heading(words: str, level: int = 2, anchor: str = "") -> str:
    named = f' id="{anchor}"' if anchor else ""
    return f"<h{level}{named}>{text(words)}</h{level}>"


def figure(picture: Figure, name: str, title: str, caption: str, wide: bool = False) -> str:
    """A picture with what is said under it. `name` is the picture's own in the page."""
    svg = style.inline_svg(picture, name, text(f"{title}. {caption}"))
    return f'<figure{" class=wide" if wide else ""}>{svg}<figcaption>{text(caption)}</figcaption></figure>'


def grid(figures: Iterable[str]) -> str:
    return '<div class="charts">' + "\n".join(figures) + "</div>"


def tiles(values: Sequence[tuple[str, ...]]) -> str:
    """Key figures: what, value, and what stands small under it."""
    cells = "".join(f"<div><dt>{text(what)}</dt>{''.join(f'<dd>{text(line)}</dd>' for line in lines)}</div>" for what, *lines in values)
    return f'<dl class="tiles">{cells}</dl>'


@dataclass(frozen=True)
class Column:
    """A table's column: its head, and how its values are written."""

    title: str
    write: Callable[[Any], str] = str


def table(rows: Iterable[Sequence[object]], columns: Sequence[Column], caption: str, bold: frozenset[int] = frozenset()) -> str:
    """A table that can be sorted by any column. Numbers are sorted by value, whatever they are written like. `bold`: rows that stand
    out."""
    given = [list(row) for row in rows]
    numeric = [all(_is_number(row[i]) for row in given) for i in range(len(columns))]
    head = "".join(
        f'<th scope="col" tabindex="0"{" class=n" if numeric[i] else ""}>{text(column.title)}</th>'
        for i, column in enumerate(columns)
    )
    body = "".join(
        f"<tr{' class=b' if number in bold else ''}>{''.join(_cell(row[i], column, numeric[i]) for i, column in enumerate(columns))}</tr>\n"
        for number, row in enumerate(given)
    )
    return (
        f'<h4>{text(caption)}</h4><div class="scroll" tabindex="0"><table class="sortable" aria-label="{text(caption)}">'
        f"<thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>"
    )


def frame_table(frame: pd.DataFrame, caption: str, titles: dict[str, str] | None = None,
                write: dict[str, Callable[[Any], str]] | None = None) -> str:
    """A data frame as a table."""
    columns = [Column((titles or {}).get(str(name), str(name)), (write or {}).get(str(name), plain)) for name in frame.columns]
    return table(frame.itertuples(index=False), columns, caption)


def _is_number(value: object) -> bool:
    if isinstance(value, np.generic):
        return value.dtype.kind in "iuf"
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any, column: Column, numeric: bool) -> str:
    if not numeric:
        return f"<td>{text(column.write(value))}</td>"
    key = "" if math.isnan(value) else repr(float(value))
    return f'<td class=n data-v="{key}">{text(column.write(value))}</td>'


def plain(value: Any) -> str:
    """A number with the digits that matter, a text as it is."""
    if not _is_number(value):
        return str(value)
    if not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def fixed(decimals: int) -> Callable[[Any], str]:
    """Writes numbers with so many decimals, NaN as a dash."""
    return lambda value: "–" if not math.isfinite(value) else f"{value:,.{decimals}f}"
