"""What ran, on what, and how far it came, in words."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from visionlab.analysis.measures import Model
from visionlab.analysis.records import Found, Record

_COMMIT_LETTERS = 10
_NONE = "none"


def runs_of(models: Sequence[Model]) -> list[Record]:
    """Return the runs of models, each once, in order."""
    return list({model.run.folder: model.run for model in models}.values())


def title(runs: Sequence[Record]) -> str:
    """Return what the page is about: tasks, data sets, number of runs."""
    tasks = ", ".join(dict.fromkeys(run.task for run in runs))
    datasets = ", ".join(dict.fromkeys(run.choices.get("dataset", "") for run in runs))
    return f"{tasks} on {datasets}: {count(len(runs), 'run')}"


def what_ran(found: Found, models: Sequence[Model]) -> list[tuple[str, str]]:
    """Return facts by name; one that no run wrote down is empty.

    Args:
        found: the folders that were looked at.
        models: that the page shows.
    """
    runs = runs_of(models)
    seeds = sorted({run.seed for run in runs})
    return [
        ("Task", _counted(run.task for run in runs)),
        ("Data set", _counted(run.choices.get("dataset") for run in runs)),
        ("Model", _counted(run.choices.get("model") for run in runs)),
        ("Runs", f"{len(runs)}: {states(runs)}"),
        ("Trainings", _trainings(runs)),
        ("Seeds", ", ".join(map(str, seeds))),
        ("Dates", _dates(runs)),
        ("Machine", _counted(_machine(run.about.get("hardware", {})) for run in runs)),
        ("Versions", _versions(runs)),
        ("Commit", _counted(commit(run) for run in runs)),
        ("Folders without runs", str(len(found.skipped)) if found.skipped else _NONE),
        ("Folders that cannot be read", str(len(found.unreadable)) if found.unreadable else _NONE),
    ]


def states(runs: Sequence[Record]) -> str:
    """Return how many runs are in each state."""
    counts = Counter(run.state for run in runs)
    return ", ".join(f"{number} {state}" for state, number in counts.most_common())


def commit(run: Record) -> str | None:
    """Return the version of the code that trained a run, or None if it did not write it down."""
    known = run.about.get("commit")
    if not known:
        return None
    changed = " with local changes" if known["dirty"] else ""
    return f"{known['hash'][:_COMMIT_LETTERS]}{changed}"


def count(number: int, noun: str) -> str:
    """Return a number with what it counts."""
    return f"{number} {noun}{'s' if number != 1 else ''}"


def duration(seconds: float) -> str:
    """Return a time as hours and minutes, or minutes and seconds."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _counted(values: Iterable[str | None]) -> str:
    """Return different values, the most frequent first, with how often each is there."""
    counts = Counter(value for value in values if value)
    if len(counts) <= 1:
        return "".join(counts)
    return ", ".join(f"{value} ({number})" for value, number in counts.most_common())


def _trainings(runs: Sequence[Record]) -> str:
    """Return how many trainings the runs share, and how long these took together."""
    seconds: dict[tuple[Path, frozenset[str]], float] = {}
    for run in runs:
        others = [Path(each).name for each in run.about.get("shares_training_with", [])]
        together = run.folder.parent, frozenset([run.folder.name, *others])  # they may have moved
        took = run.about.get("train_seconds", 0.0)
        seconds[together] = max(took, seconds.get(together, 0.0))
    return f"{len(seconds)}, {duration(sum(seconds.values()))} in all"


def _dates(runs: Sequence[Record]) -> str:
    started = [run.about["started"] for run in runs if "started" in run.about]
    updated = [run.about["updated"] for run in runs if "updated" in run.about]
    return f"{min(started)} to {max(updated)}" if started and updated else ""


def _machine(hardware: Mapping[str, Any]) -> str | None:
    if not hardware:
        return None
    parts = [hardware.get("gpu") or hardware.get("cpu") or hardware["device"]]
    for key, noun in (("cores", "core"), ("threads", "thread"), ("processes", "process")):
        if hardware.get(key):
            parts.append(f"{hardware[key]} {noun}{'' if hardware[key] == 1 else _plural(noun)}")
    return ", ".join(parts)


def _plural(noun: str) -> str:
    return "es" if noun.endswith("s") else "s"


def _versions(runs: Sequence[Record]) -> str:
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        for package, version in run.about.get("versions", {}).items():
            if version:
                found.setdefault(package, {})[version] = None
    return ", ".join(f"{package} {' and '.join(each)}" for package, each in found.items())
