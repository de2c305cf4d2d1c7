"""HTML pages that need nothing beside themselves: style, script and pictures are inside. templates/ has their markup."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from . import style
from .naming import printable


def _sound(value: object) -> object:
    """Clean a value of a template: no character that a page may not hold. Markup is what other templates made."""
    return value if isinstance(value, Markup) else printable(value)


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(loader=jinja2.PackageLoader(__package__, "templates"), autoescape=True, finalize=_sound, trim_blocks=True,
                              lstrip_blocks=True, undefined=jinja2.StrictUndefined)


def render(template: str, **values: object) -> Markup:
    """One of the templates with the values in their places; texts become texts and no markup."""
    return Markup(_templates().get_template(template).render(values))


@dataclass(frozen=True)
class Picture:
    """A picture in a page, and what is said under it."""

    svg: Markup
    caption: str


def figure(picture: Figure, name: str, title: str, caption: str) -> Picture:
    """`name` is the picture's own in the page."""
    return Picture(Markup(style.inline_svg(picture, name, escape(printable(f"{title}. {caption}")))), caption)


@dataclass(frozen=True)
class Column:
    """A table's column: its head, and how its values are written."""

    title: str
    write: Callable[[Any], str] = str


def table(rows: Iterable[Sequence[object]], columns: Sequence[Column], caption: str, bold: frozenset[int] = frozenset(),
          notes: Sequence[str] = ()) -> Markup:
    """A table that can be sorted by any column. Numbers are sorted by value, whatever they are written like. `bold`: rows that stand
    out; `notes`: sentences under the table."""
    given = [list(row) for row in rows]
    numeric = [all(_is_number(row[i]) for row in given) for i in range(len(columns))]
    cells = [[(column.write(value), _key(value) if number else None) for value, column, number in zip(row, columns, numeric, strict=True)]
             for row in given]
    return render("table.html", caption=caption, columns=[(column.title, number) for column, number in zip(columns, numeric, strict=True)],
                  rows=[(number in bold, row) for number, row in enumerate(cells)], notes=notes)


def _key(value: Any) -> str:
    """Key by which a number is sorted."""
    return "" if math.isnan(value) else repr(float(value))


def frame_table(frame: pd.DataFrame, caption: str, titles: dict[str, str] | None = None,
                write: dict[str, Callable[[Any], str]] | None = None) -> Markup:
    """A data frame as a table."""
    columns = [Column((titles or {}).get(str(name), str(name)), (write or {}).get(str(name), plain)) for name in frame.columns]
    return table(frame.itertuples(index=False), columns, caption)


def _is_number(value: object) -> bool:
    if isinstance(value, np.generic):
        return value.dtype.kind in "iuf"
    return isinstance(value, int | float) and not isinstance(value, bool)


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
