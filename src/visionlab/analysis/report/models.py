"""Models on the page: the table of all, which the page sorts and filters, and their settings."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from visionlab.analysis.labels import value_label
from visionlab.analysis.metrics import final_metric, metric_names
from visionlab.analysis.models import DECAY, RUN, SEED, ModelRecord, runs_of, varying_settings
from visionlab.analysis.report.summary import training_of
from visionlab.analysis.values import to_json

_MISSING = "-"
_OF_CLASSES = ("_target_", "_partial_")


def shown_settings(models: Sequence[ModelRecord]) -> list[str]:
    """Return the varying settings without the decay, which is in the name of the model."""
    return [key for key in varying_settings(models) if key != DECAY]


def shown_metrics(models: Sequence[ModelRecord], metrics: Sequence[str]) -> list[str]:
    """Return some metrics, and loss and monitored metric of each split."""
    known = metric_names(models)
    monitored = dict.fromkeys(str(model.run.settings.get("task.monitor")) for model in models)
    wanted = [*monitored, "loss"]
    of_splits = [metric for metric in known if metric.partition("/")[2] in wanted]
    of_splits.sort(key=lambda metric: wanted.index(metric.partition("/")[2]))
    return list(dict.fromkeys([*(metric for metric in metrics if metric in known), *of_splits]))


def listed_once(models: Sequence[ModelRecord]) -> list[ModelRecord]:
    """Return models without repetitions of those that several runs of one training share."""
    found: dict[Any, ModelRecord] = {}
    for model in models:
        shares = model.run.info.get("shares_training_with")
        settings = {key: value for key, value in model.settings.items() if key != RUN}
        key = (training_of(model.run), to_json(settings)) if shares else id(model)
        found.setdefault(key, model)
    return list(found.values())


def metric_text(model: ModelRecord, metric: str) -> str:
    """Return a final metric with 4 decimals, or a dash if it is missing or not finite."""
    # train/ is measured on the training batches, which only the raw model sees
    is_missing = metric.startswith("train/") and not model.is_raw
    value = None if is_missing else final_metric(model, metric)
    return _MISSING if value is None or not math.isfinite(value) else f"{value:.4f}"


def link(folder: Path, page_folder: Path) -> str:
    """Return a URL of a folder, relative so that both can be moved together."""
    try:
        return quote(Path(os.path.relpath(folder, page_folder)).as_posix()) + "/"
    except ValueError:  # on another drive
        return f"{folder.resolve().as_uri()}/"


class SettingsOverview(NamedTuple):
    """Settings of runs."""

    varying: Sequence[tuple[str, str]]  # with their values and the number of runs of each
    others: Sequence[str]  # that follow from these, or do not change results
    common: Sequence[tuple[str, str]]  # with the value that all runs have


def settings_overview(models: Sequence[ModelRecord]) -> SettingsOverview:
    """Return the settings of the runs of some models."""
    varying = [key for key in varying_settings(models) if not key.endswith(_OF_CLASSES)]
    runs = [{**run.choices, **run.settings} for run in runs_of(models)]
    keys = sorted({key for run in runs for key in run if not key.endswith(_OF_CLASSES)})
    if len({run[SEED] for run in runs}) > 1:
        varying.append(SEED)
    differing = [key for key in keys if len({to_json(run.get(key)) for run in runs}) > 1]
    return SettingsOverview(
        varying=[(key, _values(models, key)) for key in varying],
        others=[key for key in differing if key not in varying],
        common=[(key, setting_text(runs[0].get(key))) for key in keys if key not in differing],
    )


def setting_text(value: Any) -> str:
    """Return the value of a setting as text."""
    if value is None:
        return _MISSING
    if isinstance(value, bool):
        return str(value).lower()
    return value_label(value) if isinstance(value, float) else str(value)


def _values(models: Sequence[ModelRecord], key: str) -> str:
    """Return the values of a setting, each with the number of runs that have it."""
    runs: dict[str, set[Any]] = {}
    for model in models:
        runs.setdefault(setting_text(model.settings.get(key)), set()).add(model.run.folder)
    return ", ".join(f"{value} ({len(folders)})" for value, folders in runs.items())
