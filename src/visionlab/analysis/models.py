"""The models of runs, and the settings in which they differ.

A run has several models: the raw model that the optimizer updates, and its weight averages. The raw
model does not depend on `averaged.*`, so runs that differ in these settings alone hold the same raw
model, and statistics count it once.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visionlab.analysis.records import RunRecord
from visionlab.analysis.values import to_json
from visionlab.config.suggestions import nearest

DECAY = "averaged.decay"
SEED = "global_seed"
RUN = "run"
NO_AVERAGE = "none"
UNIFORM = "uniform"  # the mean of all weights, whose name it is too
RAW_LABEL = "raw model"
UNIFORM_LABEL = "uniform average"
_AVERAGED = "averaged"
# how and where a run was made, which does not change its numbers
_IGNORED = (
    *("resume", "device", "num_processes", "threads", "tensorboard", "save_predictions"),
    *("deterministic", "compile", "parts", "observers"),
    *("checkpoint.", "dataset.root", "dataset.num_workers", "dataset.verify", "dataset.download"),
    *("evaluation.", "stop.", "task.monitor", "task.mode", "task.draw", "task.export"),
)


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """One model of one run.

    Attributes:
        run: that trained it.
        name: model, or the name of an average, as in the run's files.
        settings: of the run, and its choice for each config group. Averages alone have
            `averaged.*`, except that `averaged.decay` of the raw model is none. `run` is the name
            of the run's folder.
    """

    run: RunRecord
    name: str
    settings: Mapping[str, Any]

    @property
    def is_raw(self) -> bool:
        """Whether it is the model that the optimizer updates, not an average."""
        return self.name == "model"

    @property
    def label(self) -> str:
        """Name for legends."""
        names = {"model": RAW_LABEL, UNIFORM: UNIFORM_LABEL}
        return names.get(self.name, re.sub(r"^ema_", "EMA ", self.name))


def model_records(runs: Iterable[RunRecord]) -> list[ModelRecord]:
    """Return each model of each run."""
    return [
        ModelRecord(run=run, name=name, settings=_settings(run, name))
        for run in runs
        for name in run.model_names
    ]


def _settings(run: RunRecord, name: str) -> dict[str, Any]:
    settings = {**run.settings, **run.choices}
    decay = float(name.removeprefix("ema_")) if name.startswith("ema_") else name
    if name == "model":
        settings = {key: value for key, value in settings.items() if not key.startswith(_AVERAGED)}
        decay = NO_AVERAGE
    return {**settings, DECAY: decay, "model_name": name, RUN: run.folder.name}


def runs_of(models: Iterable[ModelRecord]) -> list[RunRecord]:
    """Return the runs of models, each once, in order."""
    return list({model.run.folder: model.run for model in models}.values())


def varying_settings(models: Sequence[ModelRecord]) -> list[str]:
    """Return the settings in which models differ, except for the seed.

    Settings that follow from the choice of their group are left out. `averaged.*` are compared
    among averages only.
    """
    keys = sorted({key for model in models for key in model.settings})
    found = [key for key in keys if _counts(key) and len(_texts(models, key)) > 1]
    return [key for key in found if not _follows_from_group(key, found, models)]


def split_varying_settings(models: Sequence[ModelRecord]) -> tuple[list[str], list[str]]:
    """Return the varying settings of runs, and those of averages."""
    keys = [key for key in varying_settings(models) if key != "averaged.uniform"]  # the name has it
    of_averages = [key for key in keys if key.startswith("averaged.")]
    return [key for key in keys if key not in of_averages], of_averages


def _counts(key: str) -> bool:
    return key not in (SEED, RUN, _AVERAGED, "model_name") and not key.startswith(_IGNORED)


def _texts(models: Sequence[ModelRecord], key: str) -> set[str]:
    is_of_averages = key.startswith("averaged.")
    return {
        to_json(model.settings.get(key))
        for model in models
        if key in model.settings or not is_of_averages
    }


def _follows_from_group(key: str, varying: Sequence[str], models: Sequence[ModelRecord]) -> bool:
    group = key.partition(".")[0]
    if key == group or group not in varying:
        return key.endswith("._target_") and group in varying
    by_choice: dict[str, set[str]] = {}
    for model in models:
        texts = by_choice.setdefault(str(model.settings.get(group)), set())
        texts.add(to_json(model.settings.get(key)))
    return all(len(texts) == 1 for texts in by_choice.values())


def get_setting(model: ModelRecord, key: str, *, name: str) -> Any:
    """Return a setting of a model by its dotted name, or the choice for a config group.

    `name` is the parameter that gave the key.

    Raises:
        ValueError: its run has no such setting.
    """
    if key in model.settings:
        return model.settings[key]
    if key.startswith("averaged.") and model.is_raw:
        return NO_AVERAGE
    known = [each for each in model.settings if not each.endswith("_target_")]
    raise ValueError(
        f"{name} must be a setting of all runs, got {key}{nearest(key, known)} "
        f"({model.run.folder} has none)"
    )
