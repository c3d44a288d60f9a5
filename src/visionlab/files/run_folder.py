"""Run folders: settings, record, rows, and the newest run. Needs neither torch nor Hydra."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from visionlab.files.documents import expect_mapping, parse_json, parse_yaml, read_text


def read_config(folder: Path) -> dict[str, Any]:
    """Return the settings in `config.yaml` of a run folder.

    Raises:
        ValueError: the file is damaged.
        OSError: it cannot be read.
    """
    path = folder / "config.yaml"
    return read_yaml(read_text(path), origin=path)


def read_yaml(text: str, *, origin: Path) -> dict[str, Any]:
    """Parse settings that `OmegaConf.to_yaml` wrote; `origin` is their file.

    Raises:
        ValueError: they are none.
    """
    return expect_mapping(parse_yaml(text, origin=origin), origin=origin, holding="settings")


def read_record(folder: Path) -> dict[str, Any]:
    """Return the content of `run.json`, empty if there is no such file.

    Raises:
        ValueError: the file is damaged.
        OSError: it cannot be read.
    """
    path = folder / "run.json"
    if not path.exists():
        return {}
    content = parse_json(read_text(path), origin=path)
    return expect_mapping(content, origin=path, holding="an object")


def read_log_settings(sweep: Path) -> frozenset[str]:
    """Return the settings that a tuning searched on a log scale; none without a readable file."""
    path = sweep / "space.json"
    try:
        axes = parse_json(read_text(path), origin=path)
        return frozenset(key for key, axis in axes.items() if axis.get("log") is True)
    except (OSError, ValueError, AttributeError):
        return frozenset()


def read_rows(path: Path) -> list[dict[str, float]]:
    """Return the rows of a metrics file, without an incomplete last line.

    Raises:
        ValueError: a row is no object with numbers or null, or lacks its epoch.
    """
    if not path.exists():
        return []
    lines = read_text(path).splitlines(keepends=True)
    return [
        _row(line, Path(f"{path} line {number}"))
        for number, line in enumerate(lines, start=1)
        if number < len(lines) or line.endswith("}\n")
    ]


def _row(line: str, origin: Path) -> dict[str, float]:
    row = expect_mapping(parse_json(line, origin=origin), origin=origin, holding="an object")
    if not isinstance(row.get("epoch"), int | float):
        raise ValueError(f"{origin} must have a number as epoch, got {row.get('epoch')!r:.60}")
    for key, value in row.items():
        if not isinstance(value, int | float | None):
            raise ValueError(f"{origin} must have a number or null as {key}, got {value!r:.60}")
    return row


def flatten_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return settings by their dotted keys; a list is one setting."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten_config(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def count_states(states: Iterable[str]) -> str:
    """Return how many runs are in each state, for example `3 finished, 1 failed`."""
    return ", ".join(f"{number} {state}" for state, number in Counter(states).most_common())


class RangeTestPoint(NamedTuple):
    """One step of a range test."""

    step: int
    lr: float
    loss: float


def read_range_test(path: Path) -> list[RangeTestPoint]:
    """Return the steps that a range test recorded, empty if there is no file.

    Raises:
        ValueError: the file is damaged.
    """
    if not path.exists():
        return []
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        return [
            RangeTestPoint(int(row["step"]), float(row["lr"]), float(row["loss"])) for row in rows
        ]
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} must have numeric columns step, lr, loss") from error


def walk_runs(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the runs in or below a folder with True, and topmost folders without any with False."""
    if (folder / "config.yaml").is_file():
        yield folder, True
        return
    if not folder.is_dir():
        return
    below: list[tuple[Path, bool]] = []
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith("."):
            below += walk_runs(child)
    yield from below if any(is_run for _, is_run in below) else [(folder, False)]


def ensemble_files(folder: Path) -> list[Path]:
    """Return the files `ensemble_<split>.json` in a folder, sorted."""
    return sorted(path for path in folder.glob("ensemble_?*.json") if path.is_file())


def ensemble_folders(folder: Path) -> list[Path]:
    """Return those of a folder and the folders below it that hold such files, sorted."""
    return sorted({path.parent for path in folder.rglob("ensemble_?*.json") if path.is_file()})


def newest_run(folder: Path) -> Path | None:
    """Return the newest single run, which `train.py` left below `outputs/` of a folder, or None."""
    return max(_single_runs(folder), key=_start_time, default=None)


def newest_run_or_sweep(folder: Path) -> Path | None:
    """Return the newest run, multirun or tuning of a folder, or None.

    These are the runs below `outputs/`, and the folders in `multirun/` and `tune/` that hold runs.
    """
    found = _single_runs(folder)
    for name in ("multirun", "tune"):
        sweeps = (each for each in (folder / name).glob("*") if each.is_dir())
        found += [sweep for sweep in sweeps if any(is_run for _, is_run in walk_runs(sweep))]
    return max(found, key=_start_time, default=None)


def _single_runs(folder: Path) -> list[Path]:
    return [run for run, is_run in walk_runs(folder / "outputs") if is_run]


def _start_time(folder: Path) -> tuple[datetime, str]:
    """Return the time in a folder's name, else in its `run.json`, else of its last change.

    Folders of the same second have numbers at the end of their names, which come second.
    """
    try:
        if match := re.match(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", folder.name):
            return datetime.strptime(match[0], "%Y-%m-%d_%H-%M-%S"), folder.name
        return datetime.fromisoformat(read_record(folder)["started"]), folder.name
    except (OSError, ValueError, KeyError, TypeError):
        return datetime.fromtimestamp(folder.stat().st_mtime), folder.name
