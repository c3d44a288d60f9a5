"""Status of a multirun's jobs, as `sweep.csv` and on the terminal.

Whenever a job starts or ends, its process rewrites the file from the records of all jobs. Any
number of processes may do so.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from visionlab.config.terminal import printable, table_text
from visionlab.files.atomic import csv_text, write_text
from visionlab.files.documents import parse_json, read_text
from visionlab.files.locks import file_lock, is_abandoned
from visionlab.files.run_folder import read_record
from visionlab.sweeps.launcher.processes import NOT_STARTED

_JOBS = "jobs.json"
_COLUMNS = ("job", "state", "seconds", "monitor", "value", "model", "reason", "log")
_MAX_ROWS = 100
_MAX_REASON = 60
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class JobSummary:
    """The data of a job that the table needs; see `Job`, and `config.schemas.Task`."""

    name: str
    swept: Mapping[str, str]
    monitor: str
    mode: str


def write_jobs(folder: Path, jobs: Sequence[JobSummary]) -> None:
    """Write the list of jobs of a multirun, for `write_table`."""
    write_text(folder / _JOBS, json.dumps([vars(job) for job in jobs], indent=1))


def read_jobs(folder: Path) -> list[JobSummary]:
    """Read the list that `write_jobs` wrote.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    path = folder / _JOBS
    content = parse_json(read_text(path), origin=path)
    try:
        return [JobSummary(**each) for each in content]
    except TypeError as error:
        raise ValueError(f"{path} must be the list of a multirun's jobs, got others") from error


def write_table(
    sweep: Path, folder: Path, reasons: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Write `sweep.csv` of a multirun, whose jobs `write_jobs` wrote to `folder`; return its rows.

    `reasons` are why jobs did not finish, by name, according to the launcher; None while they run.
    """
    jobs = read_jobs(folder)
    with file_lock(folder / "table.lock"):
        rows = [_row(job, sweep / job.name) for job in jobs]
        if reasons is not None:
            rows = [_final_row(row, sweep / row["job"], reasons.get(row["job"])) for row in rows]
        write_text(sweep / "sweep.csv", _to_csv(rows, jobs))
    return rows


def _to_csv(rows: Sequence[Mapping[str, Any]], jobs: Sequence[JobSummary]) -> str:
    columns = [*_COLUMNS, *dict.fromkeys(key for job in jobs for key in job.swept)]
    full = [{**row, **job.swept} for row, job in zip(rows, jobs, strict=True)]
    return csv_text([columns, *([row.get(column, "") for column in columns] for row in full)])


def log_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Log the rows; if there are many, only those of unfinished jobs."""
    if len(rows) > _MAX_ROWS:
        rows = [row for row in rows if row["state"] != "finished"][:_MAX_ROWS]
    if not rows:
        return
    monitors = {row["monitor"] for row in rows}
    is_one = len(monitors) == 1
    heading = f"best {min(monitors)}" if is_one else "best value"
    table = Table("job", "state", "seconds", heading, "model", "reason")
    for row in rows:
        reason = str(row["reason"])
        short = reason if len(reason) <= _MAX_REASON else reason[: _MAX_REASON - 3] + "..."
        name = "" if is_one else f"{row['monitor']} "
        value = f"{name}{row['value']:.4f}" if row["value"] != "" else ""
        seconds = f"{row['seconds']:.1f}" if row["seconds"] != "" else ""
        cells = (row["job"], row["state"], seconds, value, row["model"], short)
        table.add_row(*map(printable, cells))
    _log.info("%s", table_text(table, width=120))


def _final_row(row: Mapping[str, Any], folder: Path, reason: str | None) -> dict[str, Any]:
    """Return the row of a job after the launcher has returned."""
    state = row["state"]
    if is_abandoned(folder, state):
        state = "killed"  # no process is left to record a reason
    was_lost = reason not in (None, NOT_STARTED)
    if was_lost and state in ("waiting", "finished"):  # finished, but with other stopping rules
        state = "failed"
    own_reason = row["reason"] if state in ("failed", "interrupted") else ""
    return {**row, "state": state, "reason": own_reason or reason or row["reason"]}


def _row(job: JobSummary, folder: Path) -> dict[str, Any]:
    record = read_record(folder)
    values = {name: each["value"] for name, each in record.get("best", {}).items()}
    best = {name: value for name, value in values.items() if value is not None}
    pick = max if job.mode == "max" else min
    model = pick(best, key=lambda name: best[name]) if best else ""
    return {
        "job": job.name,
        "state": record.get("status", "waiting"),
        "seconds": record.get("train_seconds", ""),
        "monitor": f"val/{job.monitor}",
        "value": best.get(model, ""),
        "model": model,
        "reason": record.get("error") or "",
        "log": str(folder / "run.log") if (folder / "run.log").exists() else "",
    }
