"""Selection of runs by state, task and settings, and the folders to look in by default."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from visionlab.analysis.records import RunRecord, State
from visionlab.config.suggestions import nearest
from visionlab.files.run_folder import flatten_config

STATES: tuple[str, ...] = get_args(State)
_DEFAULT_FOLDERS = ("outputs", "multirun", "tune")


@dataclass(frozen=True, kw_only=True)
class RunSelection:
    """Conditions that runs must meet, all of them.

    Attributes:
        states: of which the run has one; none for any.
        task: its name, or None for any.
        where: values of settings, or choices of config groups, by dotted name.
    """

    states: Sequence[str]
    task: str | None
    where: Mapping[str, Any]

    def __post_init__(self) -> None:
        for state in self.states:
            if state not in STATES:
                hint = nearest(str(state), STATES)
                raise ValueError(f"state must be of {', '.join(STATES)}, got {state}{hint}")


def as_states(state: Any) -> list[str]:
    """Return the states that the setting `state` names: one, a list, or null for none."""
    if state is None:
        return []
    return [str(each) for each in state] if isinstance(state, list) else [str(state)]


def select_runs(runs: Sequence[RunRecord], selection: RunSelection) -> list[RunRecord]:
    """Return the runs that meet all conditions; a run without a setting does not.

    Raises:
        ValueError: no run, whatever its state, has the task, the setting or its value.
    """
    kept = list(runs)
    if selection.task is not None:
        _check_known(selection.task, {run.task for run in kept}, name="task")
        kept = [run for run in kept if run.task == selection.task]
    for key, value in flatten_config(selection.where).items():
        known = {name for run in kept for name in (*run.settings, *run.choices)}
        if key not in known:
            hint = nearest(key, known)
            raise ValueError(f"where must be a setting of some run, got {key}{hint}")
        values = {run.folder: str(_setting(run, key)) for run in kept if _has(run, key)}
        _check_known(str(value), set(values.values()), name=f"where.{key}")
        kept = [run for run in kept if values.get(run.folder) == str(value)]
    return [run for run in kept if not selection.states or run.state in selection.states]


def _check_known(value: str, known: set[str], *, name: str) -> None:
    if value not in known:
        listed = ", ".join(sorted(known))
        raise ValueError(f"{name} must be of {listed:.300}, got {value}{nearest(value, known)}")


def _has(run: RunRecord, key: str) -> bool:
    return key in run.choices or key in run.settings


def _setting(run: RunRecord, key: str) -> Any:
    return run.choices[key] if key in run.choices else run.settings[key]


def default_folders() -> list[Path]:
    """Return the folders below the current one in which visionlab leaves runs.

    Raises:
        ValueError: there is none.
    """
    found = [Path(name) for name in _DEFAULT_FOLDERS if Path(name).is_dir()]
    if not found:
        listed = ", ".join(f"{name}/" for name in _DEFAULT_FOLDERS)
        raise ValueError(f"runs must be folders with runs; there is none of {listed} here")
    return found
