"""Names of metrics and settings in figures."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from visionlab.analysis.models import DECAY, NO_AVERAGE, ModelRecord

_SPLITS = {"train": "training", "val": "validation", "test": "test"}
_WORDS = {
    "top1": "accuracy",
    "accuracy": "accuracy",
    "top5": "top-5 accuracy",
    "lr": "learning rate",
    "nme": "NME",
    "pck_area": "area under PCK",
}
_MAX_KEYS = 3
_DIGITS = (3, 6, 17)  # significant ones, until labels differ
# shown rather than other settings; the last most of all
_PREFERRED = ("optimizer", "scheduler", "model", "dataset")


def metric_label(metric: str) -> str:
    """Return the axis label of a metric: `val/top1` is validation accuracy."""
    split, _, name = metric.rpartition("/")
    first, _, rest = split.partition("/")
    words = f"{rest.upper() if rest.islower() else rest} {name}" if rest else _words(name)
    return f"{split_label(first)} {words}".strip()


def split_label(split: str) -> str:
    """Return a split in words: `val` is validation."""
    return _SPLITS.get(split, split.replace("_", " "))


def setting_label(key: str) -> str:
    """Return the axis label of a setting: `hparams.batch_size` is batch size."""
    return "EMA decay" if key == DECAY else _words(key.rpartition(".")[2])


def shared_prefix(keys: Sequence[str]) -> str | None:
    """Return what all labels of a single setting begin with, or None."""
    has_prefix = len(keys) == 1 and "." in keys[0] and keys[0] != DECAY
    return setting_label(keys[0]) if has_prefix else None


def value_label(value: Any, digits: int = _DIGITS[0]) -> str:
    """Return the value of a setting as text, a number with some significant digits."""
    if value is None:
        return "none"
    if isinstance(value, float):
        is_long = 0.9 <= value < 1 or abs(value) >= 1000  # decays have many nines
        return f"{value:.{max(digits, 6) if is_long else digits}g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def join_names(*names: str) -> str:
    """Return names of files as one, without empty ones."""
    return "_".join(filter(None, names))


def distinct_paths(folders: Sequence[Path]) -> list[str]:
    """Return the last names of folders, as many of them as tell all folders apart."""
    parts = [folder.absolute().parts for folder in folders]
    depths = range(1, max(map(len, parts), default=0) + 1)
    labels = [[str(Path(*each[-depth:])) for each in parts] for depth in depths]
    return next((each for each in labels if len(set(each)) == len(each)), [*map(str, folders)])


def slug(label: str) -> str:
    """Return a label as part of a file name."""
    return re.sub(r"[^\w.+-]+", "_", label).strip("_")


def distinct_labels(make: Callable[[int], list[str]]) -> list[str]:
    """Return labels with as few digits as tell them apart, as far as digits can.

    `make` returns the labels with some number of digits.
    """
    return max(map(make, _DIGITS), key=lambda labels: len(set(labels)))


def values_labels(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return a label for each row of values, which differ."""
    return distinct_labels(
        lambda digits: [", ".join(value_label(each, digits) for each in row) for row in rows]
    )


def model_label(model: ModelRecord, keys: Sequence[str], digits: int = _DIGITS[0]) -> str:
    """Return some settings of a model as text, without those that it does not have."""
    return ", ".join(filter(None, (_part(model, key, digits) for key in keys)))


def group_labels(models: Sequence[ModelRecord], keys: Sequence[str]) -> list[str]:
    """Return labels that tell models apart by some settings.

    If there are many settings, only those needed to tell all models apart are shown, config groups
    first, and the number of the others.
    """
    return distinct_labels(lambda digits: _group_labels(models, keys, digits))


def _group_labels(models: Sequence[ModelRecord], keys: Sequence[str], digits: int) -> list[str]:
    shown = list(keys)
    if len(keys) > _MAX_KEYS:
        by_rank = sorted(keys, key=lambda key: ("." not in key, *map(key.__eq__, _PREFERRED[::-1])))
        for key in by_rank:
            fewer = [each for each in shown if each != key]
            if len({model_label(model, fewer, digits) for model in models}) == len(models):
                shown = fewer
    more = f" (+{len(keys) - len(shown)} settings)" if 0 < len(shown) < len(keys) else ""
    return [model_label(model, shown, digits) + more for model in models]


def _part(model: ModelRecord, key: str, digits: int) -> str:
    value = model.settings.get(key)
    if key == DECAY:
        return model.label
    if key not in model.settings or (key.startswith("averaged.") and value == NO_AVERAGE):
        return ""
    text = value_label(value, digits)
    return f"{setting_label(key)} {text}" if "." in key else text


def _words(name: str) -> str:
    if name.endswith("_px"):
        return f"{_words(name.removesuffix('_px'))} (px)"
    return _WORDS.get(name, name.replace("_", " "))
