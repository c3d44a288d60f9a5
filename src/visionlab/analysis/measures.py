"""What is measured of runs: each model of each run, its settings, its numbers.

A run has several models: the one in training and its averages. Only an average has settings
`averaged.*`: the model in training does not depend on them. So the same training, run once for
each decay, is one trial of the model in training.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from visionlab.analysis.records import Record
from visionlab.config.suggestions import nearest

Weights = Literal["last", "best"]
NO_AVERAGE = "none"
_AVERAGED = "averaged"
_ALIASES = {"accuracy": "top1"}
_MORE_IS_BETTER = re.compile(r"top\d+|AP.*|AR.*|pck.*|max_.*")
# what says where and how a run was made, not what it is
_ASIDE = (
    *("resume", "device", "threads", "tensorboard", "save_predictions", "compile"),
    *("checkpoint.", "dataset.root", "dataset.num_workers", "dataset.verify", "dataset.download"),
    *("evaluation.", "stop.", "task.monitor", "task.mode", "task.draw", "task.export"),
)
SEED = "global_seed"
RUN = "run"


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model of one run.

    Attributes:
        run: that trained it.
        name: model, or that of an average, as in the run's files.
        settings: of the run, and the choices of its groups by the group's name; `averaged.*` are
            those of the average alone, and `averaged.decay` is none for the model in training;
            `run` is the name of the run's folder.
    """

    run: Record
    name: str
    settings: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The name as a legend has it."""
        return {"model": "no average", "uniform": "uniform average"}.get(
            self.name, re.sub(r"^ema_", "EMA ", self.name)
        )


def models_of(runs: Iterable[Record]) -> list[Model]:
    """Return each model of each run."""
    return [
        Model(run=run, name=name, settings=_settings(run, name))
        for run in runs
        for name in run.models
    ]


def _settings(run: Record, name: str) -> dict[str, Any]:
    settings = {**run.settings, **run.choices}
    decay = float(name.removeprefix("ema_")) if name.startswith("ema_") else name
    if name == "model":
        settings = {key: value for key, value in settings.items() if not key.startswith(_AVERAGED)}
        decay = NO_AVERAGE
    return {**settings, f"{_AVERAGED}.decay": decay, "model_name": name, RUN: run.folder.name}


def differing(models: Sequence[Model]) -> list[str]:
    """Return the keys in which models differ, seeds apart.

    What lies in a group and follows from the group's choice is left out. Settings of averages
    count among averages.
    """
    keys = sorted({key for model in models for key in model.settings})
    found = [key for key in keys if _is_setting(key) and len(_values(models, key)) > 1]
    return [key for key in found if not _follows(key, found, models)]


def _is_setting(key: str) -> bool:
    return key not in (SEED, RUN, _AVERAGED, "model_name") and not key.startswith(_ASIDE)


def _follows(key: str, found: Sequence[str], models: Sequence[Model]) -> bool:
    """Return whether a key says no more than the choice of its group."""
    group = key.partition(".")[0]
    if key == group or group not in found:
        return key.endswith("._target_") and group in found
    by_choice: dict[str, set[str]] = {}
    for model in models:
        choice = str(model.settings.get(group))
        by_choice.setdefault(choice, set()).add(_text(model.settings.get(key)))
    return all(len(values) == 1 for values in by_choice.values())


def _values(models: Sequence[Model], key: str) -> set[str]:
    is_of_averages = key.startswith(f"{_AVERAGED}.")
    return {
        _text(model.settings.get(key))
        for model in models
        if key in model.settings or not is_of_averages
    }


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def setting(model: Model, key: str, *, name: str) -> Any:
    """Return a setting of a model.

    Args:
        model: that has it.
        key: dotted, or the name of a group.
        name: of the parameter that named the key, for the message.

    Raises:
        ValueError: its run has no such setting.
    """
    if key in model.settings:
        return model.settings[key]
    if key.startswith(f"{_AVERAGED}.") and model.name == "model":
        return NO_AVERAGE
    known = [each for each in model.settings if not each.endswith("_target_")]
    raise ValueError(
        f"{name} must be a setting of all runs, got {key}{nearest(key, known)} "
        f"({model.run.folder} has none)"
    )


def number(model: Model, value: str, *, weights: Weights = "last") -> float | None:
    """Return a final number of a model, or None if its run has none.

    Args:
        model: that was measured.
        value: `<split>/<number>`, as test/top1; of val, that after the last epoch.
        weights: last, or best by the monitored number on validation.
    """
    split, _, name = _real(value).partition("/")
    saved = {"last": model.name, "best": "best" if model.name == "model" else f"{model.name}_best"}
    results = model.run.about.get("results", {})
    if split in results:
        found = results[split].get(saved[weights], {}).get(name)
    elif weights == "last":
        found = in_row(model, model.run.rows[-1], value) if model.run.rows else None
    else:
        found = None
    return None if found is None else float(found)


def in_row(model: Model, row: Mapping[str, float | None], value: str) -> float | None:
    """Return a number of a model in one row of its run.

    Args:
        model: that was measured.
        row: of `metrics.jsonl`.
        value: `val/<number>` of the model; or a name of the row itself, as train/loss or lr.
    """
    value = _real(value)
    split, _, name = value.partition("/")
    key = f"{split}/{model.name}/{name}" if split == "val" else value
    found = row.get(key)
    return None if found is None or math.isnan(found) else float(found)


def check_value(models: Sequence[Model], value: str, *, name: str) -> None:
    """Refuse a number that no run has.

    Args:
        models: whose runs are looked at.
        value: as `number` and `in_row` take it.
        name: of the parameter that named it, for the message.

    Raises:
        ValueError: no run has it; the message names the nearest that there are.
    """
    known = known_values(models)
    if _real(value) not in known:
        some = ", ".join(known[:8])
        raise ValueError(
            f"{name} must be a number that the runs have, got {value}"
            f"{nearest(value, known) or f'; there are {some}'}"
        )


def known_values(models: Sequence[Model]) -> list[str]:
    """Return the names of all numbers, final ones first."""
    final = [
        f"{split}/{name}"
        for model in models
        for split, saved in model.run.about.get("results", {}).items()
        for name in saved.get(model.name, {})
    ]
    in_rows = [
        re.sub(rf"^val/{re.escape(model.name)}/", "val/", key)
        for model in models
        for row in model.run.rows[-1:]
        for key in row
    ]
    names = dict.fromkeys([*final, *in_rows])
    return [name for name in names if not re.match(r"val/(model|ema_|uniform)", name)]


def main_value(models: Sequence[Model]) -> str:
    """Return the number that says most: on test if there is one, else on val."""
    known = known_values(models)
    monitor = str(models[0].run.settings["task.monitor"])
    for split in ("test", "val"):
        names = [value.partition("/")[2] for value in known if value.startswith(f"{split}/")]
        if monitor in names and monitor != "loss":
            return f"{split}/{monitor}"
        if better := [name for name in names if is_more_better(name)]:
            return f"{split}/{better[0]}"
        if names:
            return f"{split}/{names[0]}"
    raise ValueError("runs must have been validated or tested, got no numbers of that")


def is_more_better(value: str) -> bool:
    """Return whether more of a number is better; of what is not known, less is."""
    return bool(_MORE_IS_BETTER.fullmatch(_real(value).partition("/")[2] or value))


def _real(value: str) -> str:
    """Return the name that a number has in the files."""
    split, _, name = value.partition("/")
    return f"{split}/{_ALIASES[name]}" if name in _ALIASES else value
