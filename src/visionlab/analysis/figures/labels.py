"""What numbers and settings are called in figures, and models grouped by their settings."""

import json
from collections.abc import Sequence
from typing import Any

from visionlab.analysis.measures import NO_AVERAGE, Model, differing
from visionlab.analysis.values import order

_SPLITS = {"train": "training", "val": "validation", "test": "test"}
_WORDS = {
    "top1": "accuracy",
    "accuracy": "accuracy",
    "top5": "top-5 accuracy",
    "lr": "learning rate",
    "nme": "NME",
    "pck_area": "area under PCK",
}
_DECAY = "averaged.decay"
_MAX_SHOWN = 3
# of many settings, what is said rather than others; the last most
_TELLING = ("optimizer", "scheduler", "model", "dataset")
# an average's name tells them
_TOLD = ("averaged.uniform",)

Group = tuple[str, list[Model]]


def number_label(value: str) -> str:
    """Return the name of a number for an axis: `val/top1` is validation accuracy."""
    split, _, name = value.rpartition("/")
    first, _, rest = split.partition("/")
    words = f"{rest.upper() if rest.islower() else rest} {name}" if rest else _words(name)
    return f"{_SPLITS.get(first, first.replace('_', ' '))} {words}".strip()


def setting_label(key: str) -> str:
    """Return the name of a setting for an axis: `hparams.batch_size` is batch size."""
    return "decay of average" if key == _DECAY else _words(key.rpartition(".")[2])


def common_label(keys: Sequence[str]) -> str | None:
    """Return what labels of a single setting have in common, or None."""
    is_named = len(keys) == 1 and "." in keys[0] and keys[0] != _DECAY
    return setting_label(keys[0]) if is_named else None


def value_label(value: Any) -> str:
    """Return the value of a setting as text."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}" if 0.9 <= value < 1 else f"{value:.4g}"  # decays have many nines
    return value if isinstance(value, str) else json.dumps(value, default=str)


def label(model: Model, keys: Sequence[str]) -> str:
    """Return what some settings of a model are; one that it does not have is left out."""
    return ", ".join(filter(None, (_part(model, key) for key in keys)))


def grouped(models: Sequence[Model], keys: Sequence[str]) -> list[Group]:
    """Return the models of each combination of some settings, with its label, in order.

    Words come before numbers, numbers by size. Of many settings a label says those that tell the
    combinations apart, and how many more there are.
    """
    groups: dict[str, list[Model]] = {}
    for model in sorted(models, key=lambda each: [order(each.settings.get(key)) for key in keys]):
        values = [model.settings.get(key) for key in keys]
        groups.setdefault(json.dumps(values, default=str), []).append(model)
    shown = (
        keys if len(keys) <= _MAX_SHOWN else _telling([each[0] for each in groups.values()], keys)
    )
    more = f" (+{len(keys) - len(shown)} settings)" if 0 < len(shown) < len(keys) else ""
    return [(label(members[0], shown) + more, members) for members in groups.values()]


def by_task(models: Sequence[Model], name: str) -> list[Group]:
    """Return the models of each task, with the name of a figure of theirs."""
    tasks = sorted({model.run.task for model in models})
    return [
        (
            name if len(tasks) == 1 else f"{name}_{task}",
            [model for model in models if model.run.task == task],
        )
        for task in tasks
    ]


def settings_apart(models: Sequence[Model]) -> tuple[list[str], list[str]]:
    """Return the settings in which models differ: those of their runs, those of averages."""
    keys = [key for key in differing(models) if key not in _TOLD]
    of_averages = [key for key in keys if key.startswith("averaged.")]
    return [key for key in keys if key not in of_averages], of_averages


def _telling(models: Sequence[Model], keys: Sequence[str]) -> list[str]:
    """Return as few of the settings as tell all models apart; rather groups than what is in one."""
    shown = list(keys)
    for key in sorted(keys, key=lambda each: ("." not in each, *map(each.__eq__, _TELLING[::-1]))):
        fewer = [each for each in shown if each != key]
        if len({label(model, fewer) for model in models}) == len(models):
            shown = fewer
    return shown


def _part(model: Model, key: str) -> str:
    value = model.settings.get(key)
    if key == _DECAY:
        return model.label
    if key not in model.settings or (key.startswith("averaged.") and value == NO_AVERAGE):
        return ""
    return f"{setting_label(key)} {value_label(value)}" if "." in key else value_label(value)


def _words(name: str) -> str:
    if name.endswith("_px"):
        return f"{_words(name.removesuffix('_px'))} (px)"
    return _WORDS.get(name, name.replace("_", " "))
