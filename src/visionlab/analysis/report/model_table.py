"""Content of the table of all models, which the page sorts and filters."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from visionlab.analysis.metrics import final_metric, metric_names
from visionlab.analysis.models import DECAY, ModelRecord, varying_settings

MISSING = "-"


def shown_settings(models: Sequence[ModelRecord]) -> list[str]:
    """Return the varying settings; of several tasks, which differ in nearly all, only groups."""
    keys = [key for key in varying_settings(models) if key != DECAY]  # the model's name has it
    is_one_task = len({model.run.task for model in models}) == 1
    return [key for key in keys if is_one_task or "." not in key]


def shown_metrics(models: Sequence[ModelRecord], metrics: Sequence[str]) -> list[str]:
    """Return some metrics, and loss and monitored metric of each split."""
    known = metric_names(models)
    monitored = dict.fromkeys(str(model.run.settings.get("task.monitor")) for model in models)
    wanted = [*monitored, "loss"]
    of_splits = [metric for metric in known if metric.partition("/")[2] in wanted]
    of_splits.sort(key=lambda metric: wanted.index(metric.partition("/")[2]))
    return list(dict.fromkeys([*(metric for metric in metrics if metric in known), *of_splits]))


def metric_text(model: ModelRecord, metric: str) -> str:
    """Return a final metric with 4 decimals, or a dash if it is missing or not finite."""
    # train/ is measured on the training batches, which only the raw model sees
    is_missing = metric.startswith("train/") and not model.is_raw
    value = None if is_missing else final_metric(model, metric)
    return MISSING if value is None or not math.isfinite(value) else f"{value:.4f}"


def link(folder: Path, page_folder: Path) -> str:
    """Return a URL of a folder, relative so that both can be moved together."""
    try:
        return quote(Path(os.path.relpath(folder, page_folder)).as_posix()) + "/"
    except ValueError:  # on another drive
        return f"{folder.resolve().as_uri()}/"
