"""The page, put together."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from visionlab.analysis.measures import SEED, Model, differing
from visionlab.analysis.paired import Difference
from visionlab.analysis.records import Found, Record
from visionlab.analysis.report.captions import caption as caption_of
from visionlab.analysis.report.elements import Html, box, definitions, joined, listed, section, tag
from visionlab.analysis.report.facts import count, runs_of, title, what_ran
from visionlab.analysis.report.model_table import link, model_table, said
from visionlab.analysis.report.pictures import figure
from visionlab.analysis.report.repeating import commands
from visionlab.analysis.table_files import Form, caption, sentence
from visionlab.analysis.tables import Cell, Table
from visionlab.files.atomic import write_text

_OF_CLASSES = ("_target_", "_partial_")
Shown = tuple[Table, Form, Sequence[Difference]]


def write_report(
    path: Path,
    *,
    found: Found,
    models: Sequence[Model],
    tables: Sequence[Shown],
    figures: Mapping[str, Path],
    command: str,
) -> None:
    """Write a page that shows what runs gave and how to repeat them.

    It is one file: no other is read when it is looked at, and nothing is fetched.

    Args:
        path: of the page.
        found: the folders that were looked at.
        models: that are shown; at least one.
        tables: each with the form of its numbers and its paired differences.
        figures: SVG or PNG files by name.
        command: the command line that made the report.

    Raises:
        OSError: a figure cannot be read, or the page cannot be written.
    """
    runs = runs_of(models)
    beside = path.resolve().parent
    sections = [
        section("what", "What ran", definitions(what_ran(found, models)), _warnings(found, runs)),
        section("results", "Results", *(_table(*shown) for shown in tables)) if tables else "",
        _figures(figures),
        _models(models, tables, beside),
        _settings(models, runs),
        _repeating(runs, command, beside),
    ]
    write_text(path, _page(title(runs), [each for each in sections if each]))


def _page(name: str, sections: Sequence[str]) -> str:
    style, script = _own("report.css"), _own("report.js")
    return Template(_own("template.html")).substitute(
        title=joined(name),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        body=joined(*sections, by="\n"),
    )


def _own(name: str) -> str:
    return files("visionlab.analysis.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _warnings(found: Found, runs: Sequence[Record]) -> Html:
    """Return what one must know before one believes the numbers."""
    unfinished = sum(run.state != "finished" for run in runs)
    torn = [run.folder.name for run in runs if run.is_torn]
    said = [f"{folder} cannot be read: {reason}" for folder, reason in found.unreadable.items()]
    if unfinished:
        said.append(f"{count(unfinished, 'run')} of {len(runs)} did not finish (yet).")
    said += [f"The last row of {name} is cut short, and left out." for name in torn]
    return tag("div", listed(said), class_="warning", role="note") if said else Html()


def _table(table: Table, form: Form, compared: Sequence[Difference]) -> Html:
    head = [", ".join(table.row_keys), *(column.label for column in table.columns)]
    kinds = [None, *("number" for _ in table.columns)]
    top = tag(
        "tr",
        *(
            tag("th", name, scope="col", class_=kind)
            for name, kind in zip(head, kinds, strict=True)
        ),
    )
    rows = [
        tag(
            "tr",
            tag("th", row, scope="row"),
            *(_cell(table.cells.get((row, each.label)), form) for each in table.columns),
        )
        for row in table.rows
    ]
    return joined(
        tag("h3", table.name),
        box(
            tag("table", tag("thead", top), tag("tbody", *rows), class_="results"),
            label=f"table {table.name}",
        ),
        tag("p", caption(table, form), class_="caption"),
        listed([sentence(each, form) for each in compared]) if compared else "",
    )


def _cell(cell: Cell | None, form: Form) -> Html:
    if cell is None:
        return tag("td", class_="number")
    text = form.cell(cell)
    return tag("td", tag("strong", text) if cell.is_best else text, class_="number")


def _figures(figures: Mapping[str, Path]) -> str:
    if not figures:
        return ""
    shown = [figure(name, path, caption=caption_of(name)) for name, path in figures.items()]
    return section("figures", "Figures", tag("div", *shown, class_="figures"))


def _models(models: Sequence[Model], tables: Sequence[Shown], beside: Path) -> Html:
    values = [column.value for table, _, _ in tables for column in table.columns]
    return section(
        "models",
        "Every model of every run",
        tag(
            "p",
            tag("label", "Filter ", tag("input", type="search", id="filter", autocomplete="off")),
            " ",
            tag("output", for_="filter", id="shown"),
            class_="controls",
            hidden=True,
        ),
        box(
            model_table(models, values=values, beside=beside),
            label="every model of every run",
            class_="box tall",
        ),
        tag(
            "p",
            "Numbers are of the last weights; those of val are of the last epoch.",
            class_="caption",
        ),
    )


def _settings(models: Sequence[Model], runs: Sequence[Record]) -> Html:
    keys = [*(key for key in differing(models) if not key.endswith(_OF_CLASSES)), SEED]
    parts: list[str] = [
        tag("h3", "What differs"),
        _setting_table(["setting", "values (runs)"], [(key, _values(models, key)) for key in keys]),
    ]
    common, other = _common(runs)
    if others := [key for key in other if key not in keys]:
        parts.append(tag("p", "Follows from these, or changes no number: ", ", ".join(others), "."))
    pairs = [(key, said(value)) for key, value in common.items()]
    parts.append(
        tag(
            "details",
            tag("summary", "What all runs have in common"),
            _setting_table(["setting", "value"], pairs),
        )
    )
    return section("settings", "Settings", *parts)


def _setting_table(head: Sequence[str], pairs: Sequence[tuple[str, str]]) -> Html:
    top = tag("tr", *(tag("th", name, scope="col") for name in head))
    rows = [tag("tr", tag("th", key, scope="row"), tag("td", value)) for key, value in pairs]
    table = tag("table", tag("thead", top), tag("tbody", *rows), class_="settings")
    return box(table, label=" and ".join(head))


def _values(models: Sequence[Model], key: str) -> str:
    """Return the values of a setting, each with the number of runs that have it."""
    runs: dict[str, set[Path]] = {}
    for model in models:
        value = model.settings.get(key)
        runs.setdefault(said(value), set()).add(model.run.folder)
    return ", ".join(f"{value} ({len(folders)})" for value, folders in runs.items())


def _common(runs: Sequence[Record]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings that all runs share, and the names of the others."""
    settings = [{**run.choices, **run.settings} for run in runs]
    keys = sorted({key for each in settings for key in each if not key.endswith(_OF_CLASSES)})
    texts = {key: {json.dumps(each.get(key), default=str) for each in settings} for key in keys}
    common = {key: settings[0].get(key) for key in keys if len(texts[key]) == 1}
    return common, [key for key in keys if len(texts[key]) > 1]


def _repeating(runs: Sequence[Record], command: str, beside: Path) -> Html:
    known = commands(runs)
    shown = [
        joined(
            tag(
                "p", f"{count(len(each.runs), 'run')} of ", link(each.runs[0].folder.parent, beside)
            )
            if len(each.runs) > 1
            else tag("p", link(each.runs[0].folder, beside)),
            _code(each.line),
        )
        for each in known
    ]
    num_silent = len(runs) - sum(len(each.runs) for each in known)
    if num_silent:
        what = count(num_silent, "run")
        shown.append(tag("p", f"{what} did not write down the command; see config.yaml there."))
    return section("repeat", "How to repeat it", *shown, tag("p", "This page:"), _code(command))


def _code(line: str) -> Html:
    return box(tag("pre", tag("code", line)), label="command")
