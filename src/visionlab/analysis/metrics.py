"""Metrics of models, by names such as `test/top1`, `val/loss` and `train/loss`."""

import math
import re
from collections.abc import Sequence
from typing import Literal

from visionlab.analysis.models import ModelRecord
from visionlab.analysis.records import Row
from visionlab.config.suggestions import nearest

Weights = Literal["last", "best"]  # best by the monitored metric on validation
_ALIASES = {"accuracy": "top1"}
_SHARE = re.compile(r"top\d+|AP.*|AR.*|pck.*")
_HIGHER_IS_BETTER = re.compile(rf"{_SHARE.pattern}|max_.*")
_OF_A_MODEL = re.compile(r"val/(model|ema_[^/]*|uniform)/")


def final_metric(model: ModelRecord, metric: str, *, weights: Weights = "last") -> float | None:
    """Return a metric `<split>/<name>` of a model after training, or None if its run has none.

    Of a split that was not evaluated after training, it is that after the last epoch.
    """
    split, _, name = resolve_alias(metric).partition("/")
    results = model.run.info.get("results", {})
    if split in results:
        found = results[split].get(saved_name(model, weights), {}).get(name)
        return None if found is None else float(found)
    return last_metric(model, metric) if weights == "last" else None


def saved_name(model: ModelRecord, weights: Weights) -> str:
    """Return the name of a model's weights in `run.json`."""
    if weights == "last":
        return model.name
    return "best" if model.is_raw else f"{model.name}_best"


def last_metric(model: ModelRecord, metric: str) -> float | None:
    """Return a metric of a model after its last epoch, or None if its run has none."""
    return epoch_metric(model, model.run.rows[-1], metric) if model.run.rows else None


def epoch_metric(model: ModelRecord, row: Row, metric: str) -> float | None:
    """Return a metric of a model in one row of its run, or None if it is missing or NaN.

    It is `val/<name>` of the model, or a name of the row itself, as train/loss or lr.
    """
    key = resolve_alias(metric)
    if key.startswith("val/"):
        key = f"val/{model.name}/{key.removeprefix('val/')}"
    found = row.get(key)
    return None if found is None or math.isnan(found) else float(found)


def check_metric(models: Sequence[ModelRecord], metric: str, *, name: str) -> None:
    """Refuse a metric that no run has; `name` is the parameter that gave it.

    Raises:
        ValueError: no run has it.
    """
    known = metric_names(models)
    if resolve_alias(metric) not in known:
        split = f"{metric.partition('/')[0]}/"
        near = [each for each in known if each.startswith(split)] or known
        hint = nearest(metric, near) or f"; known are {', '.join(near[:8])}"
        raise ValueError(f"{name} must be a metric of the runs, got {metric}{hint}")


def metric_names(models: Sequence[ModelRecord]) -> list[str]:
    """Return the names of all metrics, those after training first."""
    final = [
        f"{split}/{name}"
        for model in models
        for split, saved in model.run.info.get("results", {}).items()
        for name in saved.get(model.name, {})
    ]
    of_epochs = [
        re.sub(rf"^val/{re.escape(model.name)}/", "val/", key)
        for model in models
        for row in model.run.rows[-1:]
        for key in row
    ]
    names = dict.fromkeys([*final, *of_epochs])
    return [name for name in names if not _OF_A_MODEL.match(name)]


def main_metric(models: Sequence[ModelRecord]) -> str:
    """Return the default metric: the monitored one, on test if available, else on validation.

    A split that a finished run lacks does not count, if the other does. A monitored loss gives way
    to a metric of which more is better.

    Raises:
        ValueError: there are no metrics on test or validation.
    """
    known = metric_names(models)
    monitor = str(models[0].run.settings["task.monitor"])
    finished = [metric_names([each]) for each in models if each.run.state == "finished"]
    splits = [
        split
        for split in ("test", "val")
        if all(any(name.startswith(f"{split}/") for name in names) for names in finished)
    ]
    for split in splits or ("test", "val"):
        names = [name for name in known if name.startswith(f"{split}/")]
        if f"{split}/{monitor}" in names and monitor != "loss":
            return f"{split}/{monitor}"
        if names:
            return next((name for name in names if higher_is_better(name, models)), names[0])
    raise ValueError("runs must have metrics on val or test, got none")


def higher_is_better(metric: str, models: Sequence[ModelRecord]) -> bool:
    """Return whether higher values are better, as the mode of runs that monitor the metric says.

    Of others their names tell; of an unknown one, lower values are better.
    """
    name = resolve_alias(metric).partition("/")[2]
    for settings in (model.run.settings for model in models):
        if resolve_alias(f"/{settings['task.monitor']}") == f"/{name}":
            return bool(settings["task.mode"] == "max")
    return bool(_HIGHER_IS_BETTER.fullmatch(name))


def largest_value(metric: str) -> float:
    """Return the largest possible value: 1 of a share, infinity of an unknown metric."""
    name = resolve_alias(metric).partition("/")[2]
    return 1.0 if _SHARE.fullmatch(name) else math.inf


def resolve_alias(metric: str) -> str:
    """Return a metric by the name that files have: `val/accuracy` is `val/top1`."""
    split, slash, name = metric.partition("/")
    return f"{split}{slash}{_ALIASES.get(name, name)}"
