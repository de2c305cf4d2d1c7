"""Tables as Markdown, LaTeX (booktabs) and CSV. A cell is text; `number` cells stand to the right."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from .naming import printable

FORMATS = {"markdown": "md", "latex": "tex", "csv": "csv"}

_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "−": "$-$", "λ": r"$\lambda$", "σ": r"$\sigma$",
          "†": r"$\dagger$", "‡": r"$\ddagger$", "·": r"$\cdot$"}


@dataclass(frozen=True)
class Table:
    """`words`: how many columns at the left hold words; the others hold numbers. `bold`: rows whose words stand out. `rules`: rows before
    which a line is drawn. `notes`: sentences under the table."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    bold: frozenset[int] = frozenset()
    rules: frozenset[int] = frozenset()
    notes: Sequence[str] = field(default_factory=list)

    def render(self, form: str) -> str:
        """In one of FORMATS; ends with a line break."""
        return {"markdown": self.markdown, "latex": self.latex, "csv": self.csv}[form]()

    def markdown(self) -> str:
        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(cells) + " |"

        escaped = [[escape_markdown(cell) for cell in row] for row in self.rows]
        rows = [[f"**{cell}**" if i in self.bold and j < self.words and cell else cell for j, cell in enumerate(row)]
                for i, row in enumerate(escaped)]
        under = [":--" if i < self.words else "--:" for i in range(len(self.head))]
        lines = [line([escape_markdown(cell) for cell in self.head]), line(under), *map(line, rows)]
        notes = [f"\n{note}" for note in self.notes]
        return "\n".join([*lines, *notes]) + "\n"

    def latex(self) -> str:
        columns = "l" * self.words + "r" * (len(self.head) - self.words)
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{escape_latex(self.caption)}}}", rf"\begin{{tabular}}{{{columns}}}",
                 r"\toprule", _latex_row(self.head), r"\midrule"]
        for i, row in enumerate(self.rows):
            if i in self.rules:
                lines.append(r"\midrule")
            lines.append(_latex_row(row, bold=self.words if i in self.bold else 0))
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [rf"\par\smallskip\footnotesize {escape_latex(note)}" for note in self.notes]
        return "\n".join([*lines, r"\end{table}"]) + "\n"

    def csv(self) -> str:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([self.head, *self.rows])
        return out.getvalue()


def escape_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in printable(text))


def escape_markdown(text: str) -> str:
    """Escape markup: an underscore within a word is none."""
    return re.sub(r"([\\`*|<$\[\]~]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", printable(text))


def _latex_row(cells: Sequence[str], bold: int = 0) -> str:
    """`bold`: so many cells from the left."""
    written = [escape_latex(cell) for cell in cells]
    return " & ".join(rf"\textbf{{{cell}}}" if i < bold and cell else cell for i, cell in enumerate(written)) + r" \\"
