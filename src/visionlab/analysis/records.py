"""Run folders as plain records. Needs no torch, no model and no data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from visionlab.analysis.values import to_json
from visionlab.config.hints import describe, matches
from visionlab.files.locks import is_abandoned
from visionlab.files.run_folder import (
    ensemble_folders,
    flatten_config,
    read_config,
    read_log_settings,
    read_record,
    read_rows,
    walk_runs,
)

State = Literal["finished", "running", "interrupted", "failed", "pruned", "killed", "waiting"]
Row = Mapping[str, float | None]
_GROUPS: Mapping[str, Any] = dict.fromkeys(
    ("task", "dataset", "model", "optimizer", "scheduler", "averaged", "hparams"), dict[str, Any]
)
_SETTINGS: Mapping[str, Any] = {
    "task.name": str,
    "task.monitor": str,
    "task.mode": Literal["max", "min"],
    "global_seed": int,
}
_RECORD: Mapping[str, Any] = {
    "status": State | None,
    **dict.fromkeys(("error", "started", "stopped", "updated"), str | None),
    **dict.fromkeys(("labels", "overrides", "options", "shares_training_with"), list[str] | None),
    **dict.fromkeys(("epoch", "step", "train_seconds"), float | None),
    **dict.fromkeys(("choices", "versions"), dict[str, str] | None),
    **dict.fromkeys(("commit", "hardware"), dict[str, str | bool | int | None] | None),
    "samples": dict[str, list[int | str]] | None,
    "results": dict[str, dict[str, dict[str, float | None]]] | None,
}


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The files of one run.

    Attributes:
        folder: that holds them.
        settings: `config.yaml` by dotted name; a list is one setting.
        choices: the option chosen for each config group, as in `scheduler=cosine`; the class name
            if the run did not record its choices.
        state: job status; `killed` means marked as running although no process holds the folder.
        is_truncated: whether the last row of `metrics.jsonl` is incomplete, and left out.
        info: `run.json`, without what is null.
        rows: `metrics.jsonl`, one row per epoch.
        log_settings: that its tuning searched on a log scale.
    """

    folder: Path
    settings: Mapping[str, Any]
    choices: Mapping[str, str]
    state: State
    is_truncated: bool
    info: Mapping[str, Any]
    rows: Sequence[Row]
    log_settings: frozenset[str]

    @property
    def task(self) -> str:
        """Name of the task."""
        return str(self.settings["task.name"])

    @property
    def seed(self) -> int:
        """The global seed."""
        return int(self.settings["global_seed"])

    @property
    def labels(self) -> list[str]:
        """Names of the classes or keypoints, empty if not recorded."""
        return list(self.info.get("labels", []))

    @property
    def model_names(self) -> list[str]:
        """Names of the raw model, which comes first, and of its averages."""
        names = [
            key.split("/")[1]
            for row in self.rows[-1:]
            for key in row
            if key.startswith(("val/", "norm/")) and "_minus_" not in key
        ]
        results = self.info.get("results", {}).values()
        names += [name for split in results for name in split if not name.endswith("best")]
        return list(dict.fromkeys(["model", *names]))


@dataclass(frozen=True, kw_only=True)
class RunScan:
    """Result of a search for runs."""

    runs: Sequence[RunRecord]  # in an order that does not depend on folder names
    ensembles: Sequence[Path]  # folders of their own, of ensembles of several runs
    skipped: Sequence[Path]  # topmost folders without any run or ensemble
    unreadable: Mapping[Path, str]  # run folders that could not be read, with the reason


def read_runs(paths: Sequence[Path]) -> RunScan:
    """Read all runs in or below some folders; a run reached twice counts once.

    Raises:
        ValueError: there is no run.
    """
    scan = _scan(paths)
    if not scan.runs:
        raise ValueError(_nothing_found(paths, scan, "runs"))
    return scan


def read_runs_and_ensembles(paths: Sequence[Path]) -> RunScan:
    """Read likewise, but accept folders with ensembles of several runs, and no run.

    Raises:
        ValueError: there is neither.
    """
    scan = _scan(paths)
    if not scan.runs and not scan.ensembles:
        raise ValueError(_nothing_found(paths, scan, "runs or ensembles"))
    return scan


def _scan(paths: Sequence[Path]) -> RunScan:
    """Return the runs and ensembles in or below some folders, which may be none."""
    runs: dict[Path, RunRecord] = {}
    ensembles: dict[Path, Path] = {}
    skipped: list[Path] = []
    unreadable: dict[Path, str] = {}
    for folder, is_run in (found for path in paths for found in walk_runs(path.expanduser())):
        if not is_run:
            below = ensemble_folders(folder)
            ensembles = {each.resolve(): each for each in below} | ensembles
            skipped += [] if below else [folder]
            continue
        try:
            runs.setdefault(folder.resolve(), read_run(folder))
        except (OSError, ValueError, RecursionError) as error:
            unreadable[folder] = " ".join(str(error).split())
    return RunScan(
        runs=sorted(runs.values(), key=_sort_key),
        ensembles=sorted(ensembles.values()),
        skipped=skipped,
        unreadable=unreadable,
    )


def _nothing_found(paths: Sequence[Path], scan: RunScan, wanted: str) -> str:
    where = ", ".join(map(str, paths)) or "nothing"
    reasons = [f"{folder} cannot be read: {why}" for folder, why in scan.unreadable.items()]
    damaged = "; ".join(reasons)
    return (
        f"runs must be folders with {wanted} in or below them, got {where}"
        f"{': ' if damaged else ''}{damaged:.1000}"
    )


def read_run(folder: Path) -> RunRecord:
    """Read one run.

    Raises:
        ValueError: a file has other content.
        OSError: a file is missing or unreadable.
    """
    config = read_config(folder)
    _check(config, _GROUPS, origin=folder / "config.yaml")
    settings = flatten_config(config)
    _check(settings, _SETTINGS, origin=folder / "config.yaml")
    record = read_record(folder)
    _check({**dict.fromkeys(_RECORD), **record}, _RECORD, origin=folder / "run.json")
    info = {key: value for key, value in record.items() if value is not None}
    metrics = folder / "metrics.jsonl"
    text = metrics.read_bytes() if metrics.exists() else b""
    state: State = info.get("status", "waiting")
    return RunRecord(
        folder=folder,
        settings=settings,
        choices={**_class_names(settings), **info.get("choices", {})},
        state="killed" if is_abandoned(folder, state) else state,
        is_truncated=bool(text) and not text.endswith(b"}\n"),
        info=info,
        rows=read_rows(metrics),
        log_settings=read_log_settings(folder.absolute().parent),
    )


def _check(content: Mapping[str, Any], hints: Mapping[str, Any], *, origin: Path) -> None:
    """Refuse content without values of the types that tables and figures need."""
    for key, hint in hints.items():
        if not matches(content.get(key), hint):
            got = "nothing" if key not in content else f"{type(content[key]).__name__}"
            raise ValueError(f"{origin} must have {describe(hint)} as {key}, got {got}")


def _class_names(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the class of each config group, in lower case."""
    return {
        key.removesuffix("._target_"): str(value).rsplit(".", 1)[-1].lower()
        for key, value in settings.items()
        if key.endswith("._target_") and key.count(".") == 1
    }


def _sort_key(run: RunRecord) -> tuple[str, str]:
    settings = {key: value for key, value in run.settings.items() if key != "dataset.root"}
    return to_json(settings), str(run.folder)
