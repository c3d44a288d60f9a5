"""The page, rendered from `page.html.jinja`."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from visionlab.analysis import table_formats
from visionlab.analysis.groups import by_data
from visionlab.analysis.metrics import higher_is_better
from visionlab.analysis.models import ModelRecord, runs_of
from visionlab.analysis.records import RunScan
from visionlab.analysis.report import models as model_table
from visionlab.analysis.report import summary
from visionlab.analysis.report.commands import commands
from visionlab.analysis.report.figures import caption, image_attributes
from visionlab.analysis.tables import Table
from visionlab.config.terminal import count
from visionlab.files.atomic import write_text


def write_report(
    path: Path,
    *,
    scan: RunScan,
    models: Sequence[ModelRecord],
    tables: Sequence[Table],
    figures: Mapping[str, Path],
    command: str,
) -> None:
    """Write an HTML page with the results of runs and the commands that reproduce them.

    It is one file without any external resources. There must be at least one model; `figures` are
    SVG or PNG files by name, and `command` is the command line that makes the report.

    Raises:
        OSError: a figure cannot be read, or the page cannot be written.
    """
    folder = path.resolve().parent
    runs = runs_of(models)
    metrics = [column.metric for table in tables for column in table.columns]
    known = commands(runs)
    style, script = (
        files(__package__).joinpath(name).read_text(encoding="utf-8")
        for name in ("report.css", "report.js")
    )
    template = _environment().get_template("page.html.jinja")
    page = template.render(
        title=summary.title(runs),
        facts=summary.summarize(scan, runs),
        warnings=summary.warnings(scan, runs),
        tables=tables,
        figures=[(name, caption(name), image_attributes(file)) for name, file in figures.items()],
        groups=[
            (
                name,
                model_table.listed_once(members),
                model_table.shown_settings(members),
                model_table.shown_metrics(members, metrics),
            )
            for name, members in by_data(models)
        ],
        settings=model_table.settings_overview(models),
        commands=known,
        num_without_command=len(runs) - sum(len(each.runs) for each in known),
        command=command,
        link=lambda target: model_table.link(target, folder),
        style=style,
        script=script,
        style_hash=_sha256(style),
        script_hash=_sha256(script),
    )
    write_text(path, page)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "count": count,
        "describe": table_formats.describe,
        "duration": summary.duration,
        "metric_text": model_table.metric_text,
        "setting_text": model_table.setting_text,
        "table_caption": table_formats.caption,
    }
    environment.tests["higher_better"] = higher_is_better
    return environment


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
