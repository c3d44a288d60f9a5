"""Members of an ensemble: models of a run, of other runs, and files."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from visionlab.ensembles.ensemble import Ensemble, is_path
from visionlab.files.run_folder import walk_runs
from visionlab.runs.evaluation_options import EvaluationOptions
from visionlab.runs.evaluation_task import EvaluationTask, prediction_settings, prepare
from visionlab.runs.saved_run import SavedRun, read_model, read_run


class PreparedMember(NamedTuple):
    """A member of an ensemble, with the task that it shares with members of equal settings."""

    name: str
    weights: Mapping[str, Tensor]
    ready: EvaluationTask


def prepare_members(options: EvaluationOptions, ensemble: Ensemble) -> list[PreparedMember]:
    """Read the members of an ensemble and prepare their tasks, one for all with equal settings.

    Raises:
        FileNotFoundError: there is no such run or file.
        ValueError: a member is damaged, or one for other classes or another task.
    """
    members = read_members(ensemble, run=options.run, parts=options.parts)
    groups: dict[str, SavedRun] = {}
    keys = {}
    for name, saved in members.items():
        settings = prediction_settings(saved.config, options.split)
        keys[name] = json.dumps(settings, sort_keys=True)
        group = groups.setdefault(keys[name], saved._replace(models={}))
        groups[keys[name]] = group._replace(models={**group.models, name: _weights(saved)})
    ready = {key: prepare(options, group) for key, group in groups.items()}
    return [
        PreparedMember(name, _weights(saved), ready[keys[name]]) for name, saved in members.items()
    ]


def read_members(
    ensemble: Ensemble, *, run: Path | None, parts: Sequence[str]
) -> dict[str, SavedRun]:
    """Return the members of an ensemble by unique names, each as a run that has one model.

    `run` is that of members that are names; `parts` are the packages that they may use.

    Raises:
        FileNotFoundError: there is no such run or file.
        ValueError: a member is damaged, or one for other classes or another task.
    """
    members = _with_unique_names(_read(ensemble, run=run, parts=parts))
    _check_alike(members)
    return members


def _read(
    ensemble: Ensemble, *, run: Path | None, parts: Sequence[str]
) -> Iterator[tuple[str, SavedRun]]:
    for member in ensemble.members:
        if is_path(member):
            yield from _read_path(Path(member).expanduser(), parts=parts)
        else:
            assert run is not None
            saved = read_run(run, models=[member], parts=parts)
            for name, weights in saved.models.items():
                yield name, saved._replace(models={name: weights})


def _read_path(path: Path, *, parts: Sequence[str]) -> Iterator[tuple[str, SavedRun]]:
    """Yield the model of a file, or the best one of each run in or below a folder."""
    if not path.is_dir():
        saved = read_model(path, parts=parts)
        run = path.parent.parent if path.parent.name == "checkpoints" else None
        yield _name(run, saved), saved
        return
    runs = [run for run, is_run in walk_runs(path) if is_run]
    if not runs:
        raise FileNotFoundError(f"ensemble.members must hold a run, got {path}")
    for run in runs:
        has_best = (run / "checkpoints" / "best.pt").is_file()
        saved = read_run(run, models=["best" if has_best else "model"], parts=parts)
        yield _name(run, saved), saved


def _name(run: Path | None, saved: SavedRun) -> str:
    """Return the name of a model, after that of its run's folder, if known."""
    (model,) = saved.models
    return model if run is None else re.sub(r"[^\w.+-]+", "-", f"{run.resolve().name}_{model}")


def _with_unique_names(members: Iterator[tuple[str, SavedRun]]) -> dict[str, SavedRun]:
    """Return the members by name, with numbers after names that are there already."""
    unique: dict[str, SavedRun] = {}
    for name, saved in members:
        number, free = 1, name
        while free in unique:
            number += 1
            free = f"{name}_{number}"
        unique[free] = saved
    return unique


def _check_alike(members: Mapping[str, SavedRun]) -> None:
    """Refuse members for another task, or with other classes, than the first one."""
    (first_name, first), *others = members.items()
    for name, saved in others:
        for rule, own, expected in (
            ("task", saved.config["task"]["name"], first.config["task"]["name"]),
            ("classes", saved.class_names, first.class_names),
        ):
            if own != expected:
                raise ValueError(
                    f"ensemble.members must have the same {rule}, {expected} in {first_name}, "
                    f"got {own} in {name}"
                )


def _weights(saved: SavedRun) -> Mapping[str, Tensor]:
    (weights,) = saved.models.values()
    return weights
