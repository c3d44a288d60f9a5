"""Summary of runs in words: their task, hardware, versions and progress."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from visionlab.analysis.records import RunRecord, RunScan
from visionlab.config.terminal import count
from visionlab.files.run_folder import count_states

_COMMIT_LETTERS = 10


def title(runs: Sequence[RunRecord]) -> str:
    """Return the title of the page: tasks, datasets, number of runs."""
    tasks = ", ".join(dict.fromkeys(run.task for run in runs))
    datasets = ", ".join(dict.fromkeys(run.choices.get("dataset", "") for run in runs))
    return f"{tasks} on {datasets}: {count(len(runs), 'run')}"


def summarize(scan: RunScan, runs: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Return facts by name, without those that no run recorded."""
    facts = {
        "Task": _values(run.task for run in runs),
        "Dataset": _values(run.choices.get("dataset") for run in runs),
        "Model": _values(run.choices.get("model") for run in runs),
        "Runs": f"{len(runs)}: {count_states(run.state for run in runs)}",
        "Trainings": _trainings(runs),
        "Seeds": ", ".join(map(str, sorted({run.seed for run in runs}))),
        "Dates": _dates(runs),
        "Hardware": _values(_hardware(run.info.get("hardware", {})) for run in runs),
        "Versions": _versions(runs),
        "Commit": _values(_commit(run) for run in runs),
        "Folders without runs": str(len(scan.skipped) or "none"),
        "Unreadable folders": str(len(scan.unreadable) or "none"),
    }
    return [(name, text) for name, text in facts.items() if text]


def warnings(scan: RunScan, runs: Sequence[RunRecord]) -> list[str]:
    """Return what limits the validity of the numbers, as sentences."""
    found = [f"{folder} cannot be read: {reason}" for folder, reason in scan.unreadable.items()]
    unfinished = sum(run.state != "finished" for run in runs)
    if unfinished:
        found.append(f"{unfinished} of {count(len(runs), 'run')} did not finish (yet).")
    torn = [run.folder.name for run in runs if run.is_truncated]
    return [*found, *(f"The last row of {name} is incomplete and left out." for name in torn)]


def training_of(run: RunRecord) -> tuple[Path, frozenset[str]]:
    """Return what is the same for all runs that share a training."""
    # by name only: the folders may have been moved
    others = [Path(each).name for each in run.info.get("shares_training_with", [])]
    return run.folder.parent, frozenset([run.folder.name, *others])


def duration(seconds: float) -> str:
    """Return a time in hours and minutes, minutes and seconds, or seconds."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _values(values: Iterable[str | None]) -> str:
    """Return distinct values, the most frequent first, with their counts if there are several."""
    counts = Counter(value for value in values if value)
    if len(counts) <= 1:
        return "".join(counts)
    return ", ".join(f"{value} ({number})" for value, number in counts.most_common())


def _commit(run: RunRecord) -> str | None:
    known = run.info.get("commit", {})
    changes = " with local changes" if known.get("dirty") else ""
    return f"{str(known['hash'])[:_COMMIT_LETTERS]}{changes}" if known.get("hash") else None


def _trainings(runs: Sequence[RunRecord]) -> str:
    """Return the number of trainings, which runs may share, and their total time."""
    seconds: dict[tuple[Path, frozenset[str]], float] = {}
    for run in runs:
        training = training_of(run)
        took = run.info.get("train_seconds", 0.0)
        seconds[training] = max(took, seconds.get(training, 0.0))
    return f"{len(seconds)}, {duration(sum(seconds.values()))} in total"


def _dates(runs: Sequence[RunRecord]) -> str:
    started = [run.info["started"] for run in runs if "started" in run.info]
    updated = [run.info["updated"] for run in runs if "updated" in run.info]
    return f"{min(started)} to {max(updated)}" if started and updated else ""


def _hardware(hardware: Mapping[str, Any]) -> str:
    units = {"cores": "core", "threads": "thread", "processes": "process"}
    numbers = [count(hardware[key], noun) for key, noun in units.items() if hardware.get(key)]
    name = hardware.get("gpu") or hardware.get("cpu") or hardware.get("device")
    return ", ".join([*([str(name)] if name else []), *numbers])


def _versions(runs: Sequence[RunRecord]) -> str:
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        for package, version in run.info.get("versions", {}).items():
            if version:
                found.setdefault(package, {})[version] = None
    return ", ".join(f"{package} {' and '.join(each)}" for package, each in found.items())
