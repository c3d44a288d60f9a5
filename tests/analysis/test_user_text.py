"""One nasty vocabulary in all that is printed: text of users is data, never markup."""

import csv
import io
import logging
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt
from matplotlib.lines import Line2D
from nasty import NASTY
from run_folders import write_run
from test_options import TABLE
from test_plots import options, run_plot

from visionlab.analysis.figures.style import legend_below, panel_grid, save
from visionlab.analysis.options import TableOptions
from visionlab.config.terminal import printable
from visionlab.engine.progress import log_metrics
from visionlab.files.atomic import csv_text
from visionlab.files.figures import shorten
from visionlab.images.pictures import save_png
from visionlab.sweeps.multirun.table import log_table


@pytest.fixture(scope="module")
def plotted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that plots.py draws of runs whose optimizer has a nasty setting."""
    folder = tmp_path_factory.mktemp("plotted")
    for text in NASTY:
        changes = {"optimizer": {"_target_": "visionlab.optim.Sgd", "lr": 0.1, "text": text}}
        name = re.sub(r"[/\x00]", "-", text)[:100]
        write_run(folder / "runs" / name, changes=changes, num_samples=5)
    table = TableOptions(**{**TABLE, "rows": ["optimizer.text"]})
    given = options(folder / "runs", folder / "out", figures=["parallel"], report=True, table=table)
    run_plot(given)
    return folder / "out"


def one_line(text: str) -> str:
    return re.sub(r"[\s\x00-\x1f]+", " ", text).strip()


def test_tables_on_the_terminal(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log_metrics({text: {f"{text} model": {"top1": 1.0}} for text in NASTY})
    row: dict[str, Any] = {"state": "failed", "value": "", "seconds": "", "model": "model"}
    row["monitor"] = "val/[b]"
    log_table([{**row, "job": text, "reason": ""} for text in NASTY])
    log_table([{**row, "job": "", "reason": text[-60:]} for text in NASTY])
    assert "best val/[b]" in caplog.text
    words = caplog.text.split()
    for text in NASTY:
        for word in printable(text).split():
            assert words.count(word) >= 4, word


def test_a_csv_file_gives_text_back_and_computes_nothing() -> None:
    numbers = ["-0.5", "+1e-3", "1", "-"]
    rows = list(csv.reader(io.StringIO(csv_text([[text, -0.5] for text in [*NASTY, *numbers]]))))
    assert [row[0].removeprefix("'") for row in rows] == [*NASTY, *numbers]
    assert [row[0] for row in rows if row[0].startswith(("=", "+", "-", "@"))] == [
        "-0.5",
        "+1e-3",
        "-",
    ]


def test_tables_in_files(plotted: Path) -> None:
    with (plotted / "table.csv").open(newline="") as file:
        assert sorted(
            {row[0].removeprefix("'") for row in csv.reader(file)} - {"optimizer.text"}
        ) == sorted(NASTY)
    html = MarkdownIt("gfm-like", {"linkify": False}).render((plotted / "table.md").read_text())
    cells = ElementTree.fromstring(f"<page>{html}</page>").iterfind(".//tbody/tr/td[1]")
    assert sorted("".join(cell.itertext()) for cell in cells) == sorted(map(one_line, NASTY))
    body = (plotted / "table.tex").read_text().split(r"\midrule")[1]
    labels = [line.split(" & ")[0] for line in body.strip().splitlines()]
    assert [unescaped_latex(each) for each in labels[: len(NASTY)]] == sorted(
        map(one_line, NASTY),
        key=lambda text: [unescaped_latex(each) for each in labels].index(text),
    )
    assert not [label for label in labels if re.search(r"(?<!\\)[%&#$_]|^[\[*]", label)]


def unescaped_latex(text: str) -> str:
    words = {"textbackslash": "\\", "textless": "<", "textgreater": ">", "textbar": "|"}
    text = re.sub(r"\\(\w+)\{\}", lambda match: words[match[1]], text)
    text = re.sub(r"(?<!\\)\{\}|^\{\}", "", re.sub(r"\\([\^~])\{\}", r"\1", text))
    return re.sub(r"\\([_%&#${}])", r"\1", text)


def test_the_report_has_text_and_no_elements_of_it(plotted: Path) -> None:
    page = (plotted / "report.html").read_text()
    assert "<b>&amp;</b>" not in page
    assert page.count("<script>") == 1
    assert "{{ 7 * 7 }}" in page


def test_figures_show_it_as_it_is(plotted: Path, tmp_path: Path) -> None:
    figure = panel_grid(2, width=9, height=6)
    axis, logarithmic = figure.axes
    axis.set_title(NASTY[12])
    axis.set_yticks(range(len(NASTY)), NASTY)
    axis.set_ylim(-1, len(NASTY))
    legend_below(figure, {text: Line2D([], []) for text in NASTY})
    logarithmic.set_xscale("log")
    logarithmic.set_xlim(1e-7, 1)
    svg = save(figure, tmp_path, "nasty")[1]
    shown = [
        "".join(each.itertext())
        for each in ElementTree.parse(svg).iter()
        if each.tag.endswith("}text")
    ]
    for text in NASTY:
        for line in re.sub(r"[\x07\r\x1b]", "\ufffd", shorten(text, 100)).split("\n"):
            assert shown.count(line) >= 2, line
    assert not [text for text in shown if "mathdefault" in text]
    save_png(figure, tmp_path / "nasty.png")
    for path in plotted.glob("*.svg"):
        ElementTree.parse(path)
