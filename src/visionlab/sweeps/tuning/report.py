"""Results of a tuning: a table of trials, the best overrides, and log lines."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from visionlab.config.overrides import as_typed
from visionlab.config.schemas import is_tune_only
from visionlab.files.atomic import csv_text, write_text
from visionlab.files.locks import file_lock
from visionlab.sweeps.tuning.space import Space
from visionlab.sweeps.tuning.study import FINISHED, Study

_COLUMNS = ["number", "state", "value", "epochs", "seconds"]


def write_files(study: Study, folder: Path) -> None:
    """Write `trials.csv`, and `best_overrides.txt` once there is a best trial."""
    with file_lock(folder / "trials.csv.lock"):  # several processes may share the folder
        write_text(folder / "trials.csv", _table(study.trials()))
        best = best_trial(study)
        if best is not None:
            write_text(folder / "best_overrides.txt", f"{shlex.join(overrides(best))}\n")


def write_space(space: Space, folder: Path) -> None:
    """Write the search space as `space.json`: figures have a log axis where it is logarithmic."""
    axes = {key.lstrip("+"): asdict(axis) for key, axis in space.items()}
    write_text(folder / "space.json", f"{json.dumps(axes, indent=2)}\n")


def best_trial(study: Study) -> FrozenTrial | None:
    """Return the complete trial with the best objective; ties keep the first."""
    complete = [trial for trial in study.trials() if trial.state == TrialState.COMPLETE]
    pick = max if study.load().direction == StudyDirection.MAXIMIZE else min
    return pick(complete, key=lambda trial: trial.value or 0.0, default=None)


def overrides(trial: FrozenTrial) -> list[str]:
    """Return the overrides of a trial for train.py."""
    drawn = [f"{key}={value}" for key, value in trial.params.items()]
    given = trial.user_attrs.get("overrides", drawn)  # not in trials of Hydra's sweeper
    return [as_typed(each) for each in given if not is_tune_only(each)]


def progress(study: Study, numbers: Sequence[int], *, objective: str, n_trials: int) -> list[str]:
    """Return a line for each trial of a batch, as `3/20: optimizer.lr 0.03, val/top1 0.96`."""
    trials, best = study.trials(), best_trial(study)
    record = f", best {best.value:.4f}" if best else ""
    finished = [trial for trial in trials if trial.state in FINISHED]
    last = len(finished) - sum(trial.number in numbers for trial in finished)
    lines = []
    for number in numbers:
        last += trials[number].state in FINISHED
        lines.append(f"{last}/{n_trials}: {describe(trials[number], objective=objective)}{record}")
    return lines


def describe(trial: FrozenTrial, *, objective: str) -> str:
    """Describe a finished trial in one line."""
    values = ", ".join(f"{key} {_short(value)}" for key, value in trial.params.items())
    line = f"{values or f'trial {trial.number}'}, "
    if trial.state == TrialState.COMPLETE:
        return f"{line}{objective} {trial.value:.4f}"
    line += "pruned" if trial.state == TrialState.PRUNED else "failed"
    if trial.state == TrialState.PRUNED and trial.intermediate_values:
        line += f" after epoch {max(trial.intermediate_values)}"
    reason = trial.user_attrs.get("reason")
    return f"{line}: {reason}" if reason else line


def summary(study: Study) -> str:
    """Return the number of trials in each state, for example `3 complete, 1 pruned`."""
    states = [trial.state for trial in study.trials()]
    counts = {state: states.count(state) for state in TrialState}
    return ", ".join(f"{count} {state.name.lower()}" for state, count in counts.items() if count)


def _table(trials: Sequence[FrozenTrial]) -> str:
    keys = sorted({key for trial in trials for key in trial.params})
    rows: list[list[Any]] = [[*_COLUMNS, *keys, "folder", "reason"]]
    for trial in trials:
        seconds = None if trial.duration is None else round(trial.duration.total_seconds(), 1)
        row = [trial.number, trial.state.name.lower(), trial.value, len(trial.intermediate_values)]
        own = [trial.user_attrs.get("folder"), trial.user_attrs.get("reason")]
        rows.append([*row, seconds, *(trial.params.get(key) for key in keys), *own])
    return csv_text(rows)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
