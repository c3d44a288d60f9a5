"""Tables as CSV, Markdown and LaTeX."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from visionlab.analysis.paired import Difference
from visionlab.analysis.tables import Cell, Table
from visionlab.files.atomic import write_text

_LATEX = {
    **{letter: f"\\{letter}" for letter in "_%&#${}"},
    **{"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\~{}", "±": r"$\pm$"},
}


@dataclass(frozen=True, kw_only=True)
class Form:
    """How numbers are written.

    Attributes:
        scale: what they are multiplied by: 100 for per cent.
        decimals: digits after the point.
    """

    scale: float
    decimals: int

    def __post_init__(self) -> None:
        if self.scale <= 0:
            raise ValueError(f"table.scale must be > 0, got {self.scale}")
        if not 0 <= self.decimals <= 10:
            raise ValueError(f"table.decimals must be in [0, 10], got {self.decimals}")

    def number(self, value: float, *, signed: bool = False) -> str:
        """Return a number as text."""
        return f"{value * self.scale:{'+' if signed else ''}.{self.decimals}f}"

    def cell(self, cell: Cell) -> str:
        """Return mean and deviation, and in brackets what is published and how far that is off."""
        text = self.number(cell.mean)
        if cell.std is not None:
            text += f" ± {self.number(cell.std)}"
        if cell.published is not None:
            off = self.number(cell.mean - cell.published / self.scale, signed=True)
            text += f" [{cell.published:.{self.decimals}f}, {off}]"
        return text


def write_tables(
    folder: Path, table: Table, compared: Sequence[Difference], form: Form
) -> list[Path]:
    """Write a table, and differences of two of its columns if there are any, in all three forms.

    Raises:
        OSError: a file cannot be written.
    """
    paths = {
        folder / f"{table.name}.csv": as_csv(table, form),
        folder / f"{table.name}.md": as_markdown(table, form, compared),
        folder / f"{table.name}.tex": as_latex(table, form),
    }
    if compared:
        paths[folder / f"{table.name}_differences.csv"] = _differences_csv(compared, form)
    for path, text in paths.items():
        write_text(path, text)
    return list(paths)


def caption(table: Table, form: Form) -> str:
    """Return what the numbers of a table are."""
    counts = sorted({len(cell.by_seed) for cell in table.cells.values()})
    seeds = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1])))) if counts else "0"
    values = ", ".join(dict.fromkeys(column.value for column in table.columns))
    text = f"{values}{f' x {form.scale:g}' if form.scale != 1 else ''}; "
    text += "one seed" if seeds == "1" else f"mean ± standard deviation over {seeds} seeds"
    if any(cell.published is not None for cell in table.cells.values()):
        text += f"; in brackets what is published ({table.source}), and how much more was measured"
    if table.left_out:
        text += f"; {len(table.left_out)} unfinished runs left out"
    return f"{text}. Best of each column in bold."


def as_csv(table: Table, form: Form) -> str:
    """Return a row for each cell: what a spreadsheet or another program goes on with."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["column", "value", "mean", "std", "num_seeds", "is_best", "published", "difference"]
    writer.writerow([", ".join(table.row_keys), *head])
    for row in table.rows:
        for column in table.columns:
            cell = table.cells.get((row, column.label))
            if cell is None:
                continue
            scaled = cell.mean * form.scale
            off = "" if cell.published is None else scaled - cell.published
            std = "" if cell.std is None else cell.std * form.scale
            numbers = [scaled, std, len(cell.by_seed), int(cell.is_best)]
            published = "" if cell.published is None else cell.published
            writer.writerow([row, column.label, column.value, *numbers, published, off])
    return text.getvalue()


def as_markdown(table: Table, form: Form, compared: Sequence[Difference] = ()) -> str:
    """Return a table of GitHub's Markdown, with its caption."""
    head = [", ".join(table.row_keys), *(column.label for column in table.columns)]
    lines = [head, ["---"] * len(head)]
    for row in table.rows:
        cells = [table.cells.get((row, column.label)) for column in table.columns]
        lines.append([row, *(_bold(c, form.cell(c), "**", "**") if c else "" for c in cells)])
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    text = f"{text}\n\n{caption(table, form)}\n"
    if compared:
        text += "\n" + "\n".join(f"- {sentence(each, form)}" for each in compared) + "\n"
    return text


def as_latex(table: Table, form: Form) -> str:
    """Return a table for LaTeX with the package booktabs."""
    head = [", ".join(table.row_keys), *(column.label for column in table.columns)]
    lines = [" & ".join(map(_escaped, head)) + r" \\", r"\midrule"]
    for row in table.rows:
        cells = [table.cells.get((row, column.label)) for column in table.columns]
        texts = [_bold(c, _escaped(form.cell(c)), r"\textbf{", "}") if c else "" for c in cells]
        lines.append(" & ".join([_escaped(row), *texts]) + r" \\")
    body = "\n".join(lines)
    return (
        f"% {caption(table, form)}\n\\begin{{tabular}}{{l{'r' * len(table.columns)}}}\n\\toprule\n"
        f"{body}\n\\bottomrule\n\\end{{tabular}}\n"
    )


def sentence(difference: Difference, form: Form) -> str:
    """Return a paired difference in words."""
    mean = form.number(difference.mean, signed=True)
    text = f"{difference.row}: {difference.second} minus {difference.first} is {mean}"
    if difference.low is None or difference.high is None:
        return f"{text}, one seed"
    low, high = (form.number(end, signed=True) for end in (difference.low, difference.high))
    return f"{text}, 95 % interval {low} to {high} (paired t, {difference.num_seeds} seeds)"


def _bold(cell: Cell, text: str, begin: str, end: str) -> str:
    return f"{begin}{text}{end}" if cell.is_best else text


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _differences_csv(compared: Sequence[Difference], form: Form) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "first", "second", "mean", "low", "high", "num_seeds"])
    for each in compared:
        numbers = ["" if x is None else x * form.scale for x in (each.mean, each.low, each.high)]
        writer.writerow([each.row, each.first, each.second, *numbers, each.num_seeds])
    return text.getvalue()
