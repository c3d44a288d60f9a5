"""Tables as CSV, Markdown and LaTeX."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from visionlab.analysis.tables import Difference, NumberFormat, Table
from visionlab.files.atomic import csv_text, write_text

_LATEX = {
    **{letter: f"\\{letter}" for letter in "_%&#${}"},
    **{"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\~{}", "±": r"$\pm$"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
}
# what GitHub's Markdown gives a meaning within a line; not _ between letters, as in names
_MARKDOWN = re.compile(r"[\\|`*<>&~$]|(?<=\])\(|(?<![^\W_])_|_(?![^\W_])")


def write_table(folder: Path, table: Table) -> list[Path]:
    """Write a table in all formats, and its differences as CSV; return the files.

    Raises:
        OSError: a file cannot be written.
    """
    texts = {
        f"{table.name}.csv": to_csv(table),
        f"{table.name}.md": to_markdown(table),
        f"{table.name}.tex": to_latex(table),
    }
    if table.differences:
        texts[f"{table.name}_differences.csv"] = differences_to_csv(table)
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def caption(table: Table) -> str:
    """Return a sentence that explains the numbers of a table."""
    counts = sorted({len(cell.by_seed) for cell in table.cells.values()})
    seeds = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1])))) if counts else "0"
    scale = table.number_format.scale
    metrics = ", ".join(dict.fromkeys(column.metric for column in table.columns))
    if "," in metrics:
        metrics = ", ".join(f"{column.heading}: {column.metric}" for column in table.columns)
    text = f"{metrics}{f' x {scale:g}' if scale != 1 else ''}; "
    text += "one seed" if seeds == "1" else f"mean ± standard deviation over {seeds} seeds"
    if any(cell.published is not None for cell in table.cells.values()):
        text += f"; in brackets the published value ({table.source}) and the difference from it"
    if table.num_left_out:
        runs = "run is" if table.num_left_out == 1 else "runs are"
        text += f"; {table.num_left_out} unfinished {runs} left out"
    if len(table.rows) > 1:
        has_best = any(cell.is_best for cell in table.cells.values())
        best = "best of its column beyond noise (Welch's t test over seeds, 5 %)"
        text += f". Bold: {best}" if has_best else f". Nothing is bold, because nothing is {best}"
    return f"{text}."


def to_csv(table: Table) -> str:
    """Return one line per cell, for spreadsheets and other programs."""
    scale = table.number_format.scale
    lines: list[list[Any]] = []
    for row in table.rows:
        for column, cell in zip(table.columns, table.row_cells(row), strict=True):
            if cell is not None:
                mean, known = cell.mean * scale, cell.published
                std = "" if cell.std is None else cell.std * scale
                published = ["", ""] if known is None else [known, mean - known]
                counts = [len(cell.by_seed), int(cell.is_best)]
                lines.append([row, column.heading, column.metric, mean, std, *counts, *published])
    head = ["column", "value", "mean", "std", "num_seeds", "is_best", "published", "difference"]
    return csv_text([[", ".join(table.row_keys), *head], *lines])


def differences_to_csv(table: Table) -> str:
    """Return one line per difference."""
    lines: list[list[Any]] = [["row", "first", "second", "mean", "low", "high", "num_seeds"]]
    for each in table.differences:
        numbers = [x * table.number_format.scale for x in (each.mean, *(each.interval or ()))]
        padded = [*numbers, "", ""][:3]
        lines.append([each.row, each.first, each.second, *padded, each.num_seeds])
    return csv_text(lines)


def to_markdown(table: Table) -> str:
    """Return a table in GitHub's Markdown, with its caption and differences."""
    header = [_escape_markdown(label) for label in table.header]
    rows = _texts(table, bold="**{}**", escape=_escape_markdown)
    lines = [header, ["---"] * len(header), *rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    text = f"{text}\n\n{_escape_markdown(caption(table))}\n"
    if table.differences:
        sentences = (
            _escape_markdown(describe(each, table.number_format)) for each in table.differences
        )
        text += "\n" + "\n".join(f"- {sentence}" for sentence in sentences) + "\n"
    return text


def to_latex(table: Table) -> str:
    """Return a LaTeX table, which needs the package booktabs."""
    head, *rows = (
        " & ".join(line) + r" \\"
        for line in [
            [_escape_latex(label) for label in table.header],
            *_texts(table, bold=r"\textbf{{{}}}", escape=_escape_latex),
        ]
    )
    body = "\n".join([r"\toprule", head, r"\midrule", *rows, r"\bottomrule"])
    alignment = "l" + "r" * len(table.columns)
    begin, end = rf"\begin{{tabular}}{{{alignment}}}", r"\end{tabular}"
    return "\n".join([f"% {_one_line(caption(table))}", begin, body, end, ""])


def describe(difference: Difference, number_format: NumberFormat) -> str:
    """Return a difference as a sentence."""
    mean, *ends = (
        number_format.number(value, signed=True)
        for value in (difference.mean, *(difference.interval or ()))
    )
    text = f"{difference.row}: {difference.second} minus {difference.first} is {mean}"
    if not ends:
        return f"{text}, one seed"
    seeds = f"paired t, {difference.num_seeds} seeds"
    return f"{text}, 95 % interval {ends[0]} to {ends[1]} ({seeds})"


def _texts(table: Table, *, bold: str, escape: Callable[[str], str]) -> Iterable[list[str]]:
    """Yield the label and the cells of each row as text."""
    for row in table.rows:
        texts = [escape(row)]
        for cell in table.row_cells(row):
            text = "" if cell is None else escape(table.number_format.cell(cell))
            texts.append(bold.format(text) if cell is not None and cell.is_best else text)
        yield texts


def _escape_latex(text: str) -> str:
    escaped = "".join(_LATEX.get(letter, letter) for letter in _one_line(text))
    # after the \\ of the line before, [ and * would be its options; -- is a dash
    return re.sub(r"^(?=[\[*])|(?<=-)(?=-)", "{}", escaped)


def _escape_markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", _one_line(text))


def _one_line(text: str) -> str:
    """Return text without line ends and other control characters."""
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).strip()
