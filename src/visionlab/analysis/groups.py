"""Models grouped by task and data set, by settings, and by what differs in nothing but the seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from visionlab.analysis.labels import group_labels, slug
from visionlab.analysis.metrics import last_metric, metric_names, resolve_alias
from visionlab.analysis.models import DECAY, ModelRecord, runs_of, split_varying_settings
from visionlab.analysis.records import RunRecord
from visionlab.analysis.values import sort_key, to_json

_FIXED = ("cifar10", "cifar100")  # the same data in whatever folder
Group = tuple[str, list[ModelRecord]]
_Data = tuple[str, str, str]  # task, choice of the data set, folder


@dataclass(frozen=True, kw_only=True)
class SeedGroup:
    """One model, raw or average, trained with several seeds, in their order."""

    label: str
    models: Sequence[ModelRecord]

    @property
    def is_average(self) -> bool:
        """Whether it is an average rather than the raw model."""
        return not self.models[0].is_raw


@dataclass(frozen=True, kw_only=True)
class SettingGroup:
    """Models that were trained with the same settings."""

    label: str  # the settings in which groups differ; empty if there is a single group
    members: Sequence[SeedGroup]  # the raw model first, then averages by increasing decay

    @property
    def averages(self) -> list[SeedGroup]:
        """The averages among the members."""
        return [member for member in self.members if member.is_average]

    @property
    def raw(self) -> SeedGroup | None:
        """The raw model, or None if it was filtered out."""
        return next((member for member in self.members if not member.is_average), None)

    def title(self, member: SeedGroup) -> str:
        """Return a panel title for one member."""
        return ", ".join(filter(None, (self.label, member.label)))


def by_data(models: Sequence[ModelRecord]) -> list[Group]:
    """Return the models of each task and data set, whose metrics can be compared, by a name.

    The name is as short as it can be, empty for a single group, and fit for files. Data sets are
    the same if they have the same choice and classes and, unless it is downloaded, the same folder
    or, when moved, the same held-out samples in a folder of the same name.
    """
    runs = runs_of(models)
    data = _data_sets(runs)
    labels = {data[run.folder]: run.labels for run in runs if run.labels}  # none if a start failed
    keys = {
        run.folder: (*data[run.folder], *(run.labels or labels.get(data[run.folder], [])))
        for run in runs
    }
    ordered = sorted(set(keys.values()))
    return [
        (name, [model for model in models if keys[model.run.folder] == key])
        for name, key in zip(_names(ordered), ordered, strict=True)
    ]


def with_metric(groups: Sequence[Group], metric: str | None) -> list[Group]:
    """Return the groups that have a metric; all if it is None, or if none has it."""
    known = [
        group for group in groups if metric and resolve_alias(metric) in metric_names(group[1])
    ]
    return known or list(groups)


def _names(keys: Sequence[Sequence[str]]) -> list[str]:
    """Return the shortest names of data sets that tell them apart, else with numbers."""
    names: list[str] = []
    folders = [PurePath(root).parts for _, _, root, *_ in keys]
    for depth in range(1, max(map(len, folders), default=0) + 2):
        short = [
            (task, choice, "_".join(folder[-depth:]))
            for (task, choice, *_), folder in zip(keys, folders, strict=True)
        ]
        for parts in ((), (0,), (1,), (0, 1), (1, 2), (0, 1, 2)):
            names = [slug("_".join(key[part] for part in parts)) for key in short]
            if len(set(names)) == len(names):
                return names
    return [f"{name}_{number}" for number, name in enumerate(names, start=1)]


def _data_sets(runs: Sequence[RunRecord]) -> dict[Path, _Data]:
    """Return the data set of each run, by the run's folder."""
    found: dict[Any, _Data] = {}  # by itself, and by its held-out samples
    for run in runs:
        data, samples = _data(run), _held_out(run)
        same = {found.get(each, data) for each in (data, samples)}
        first = min(same)
        found |= {data: first, samples: first}
        if len(same) > 1:
            found = {key: first if each in same else each for key, each in found.items()}
    return {run.folder: found[_data(run)] for run in runs}


def _data(run: RunRecord) -> _Data:
    choice = run.choices.get("dataset", "")
    root = "" if choice in _FIXED else str(run.settings.get("dataset.root") or "")
    return run.task, choice, root


def _held_out(run: RunRecord) -> Any:
    """Return what is the same for runs on a data set that was moved, whatever they train on."""
    task, choice, root = _data(run)
    samples = run.info.get("samples", {})
    held_out = {part: each for part, each in samples.items() if part != "train"} or samples
    return (task, choice, PurePath(root).name if held_out else root, to_json(held_out))


def group_by(models: Sequence[ModelRecord], keys: Sequence[str]) -> list[Group]:
    """Return the models of each combination of some settings, with its label, sorted."""

    def values(model: ModelRecord) -> list[Any]:
        return [model.settings.get(key) for key in keys]

    groups: dict[str, list[ModelRecord]] = {}
    for model in sorted(models, key=lambda model: [sort_key(value) for value in values(model)]):
        groups.setdefault(to_json(values(model)), []).append(model)
    labels = group_labels([members[0] for members in groups.values()], keys)
    return list(zip(labels, groups.values(), strict=True))


def setting_groups(models: Sequence[ModelRecord], *, task: str) -> list[SettingGroup]:
    """Return the models of one task, grouped by the settings of their training."""
    kept = [model for model in models if model.run.task == task]
    run_keys, average_keys = split_varying_settings(kept)
    keys = [DECAY, *(key for key in average_keys if key != DECAY)]
    return [
        SettingGroup(
            label=label, members=[_seed_group(name, same) for name, same in group_by(members, keys)]
        )
        for label, members in group_by(kept, run_keys)
    ]


def _seed_group(label: str, models: Sequence[ModelRecord]) -> SeedGroup:
    """Return one model per seed: of copies of one training, the one that got furthest."""
    by_seed: dict[int, ModelRecord] = {}
    for model in sorted(models, key=lambda model: -len(model.run.rows)):
        by_seed.setdefault(model.run.seed, model)
    return SeedGroup(label=label, models=[by_seed[seed] for seed in sorted(by_seed)])


def best_average(group: SettingGroup) -> SeedGroup | None:
    """Return the average with the best monitored metric after the last epoch, mean over seeds.

    The first of equals; None if there are no averages.
    """

    def quality(member: SeedGroup) -> float:
        settings = member.models[0].run.settings
        found = [last_metric(model, f"val/{settings['task.monitor']}") for model in member.models]
        known = [metric for metric in found if metric is not None]
        sign = 1 if settings["task.mode"] == "max" else -1
        return sign * float(np.mean(known)) if known else -np.inf

    return max(group.averages, key=quality, default=None)
