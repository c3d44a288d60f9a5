"""How the jobs of a multirun stand, as `sweep.csv` and on the terminal.

The file is written anew whenever a job begins or ends, from what the jobs wrote down themselves, by
whichever process sees it: it does not matter how many there are.
"""

import csv
import io
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from visionlab.files.locks import is_held, file_lock
from visionlab.files.run_folder import read_record
from visionlab.files.atomic import write_text
from visionlab.sweeps.launcher.processes import NOT_STARTED

_JOBS = "jobs.json"
_COLUMNS = ("job", "state", "seconds", "monitor", "value", "model", "reason", "log")
_MAX_ROWS = 100
_MAX_REASON = 60
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class JobSummary:
    """A job as the table knows it.

    Attributes:
        name: of its folder in the multirun's.
        swept: its overrides that not all jobs have, by key.
        monitor: the number that says which weights are best.
        mode: max or min.
    """

    name: str
    swept: Mapping[str, str]
    monitor: str
    mode: str


def write_jobs(folder: Path, jobs: Sequence[JobSummary]) -> None:
    """Write down which jobs a multirun has, for `write_table`."""
    write_text(folder / _JOBS, json.dumps([vars(job) for job in jobs], indent=1))


def read_jobs(folder: Path) -> list[JobSummary]:
    """Return what `write_jobs` wrote."""
    return [JobSummary(**each) for each in json.loads((folder / _JOBS).read_text(encoding="utf-8"))]


def write_table(
    sweep: Path, folder: Path, reasons: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Write `sweep.csv` and return its rows.

    Args:
        sweep: the folder of the multirun.
        folder: where `write_jobs` wrote.
        reasons: why jobs did not finish, by name, as their launcher knows it; None while they are
            under way.
    """
    listed = read_jobs(folder)
    with file_lock(folder / "table.lock"):
        rows = [_row(job, sweep / job.name) for job in listed]
        if reasons is not None:
            rows = [_over(row, sweep / row["job"], reasons.get(row["job"])) for row in rows]
        write_text(sweep / "sweep.csv", _as_csv(rows, listed))
    return rows


def _as_csv(rows: Sequence[Mapping[str, Any]], listed: Sequence[JobSummary]) -> str:
    swept = list(dict.fromkeys(key for job in listed for key in job.swept))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*_COLUMNS, *swept], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, **job.swept} for row, job in zip(rows, listed, strict=True))
    return text.getvalue()


def log_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Log the rows; of many, those that did not finish."""
    if len(rows) > _MAX_ROWS:
        rows = [row for row in rows if row["state"] != "finished"][:_MAX_ROWS]
    if not rows:
        return
    table = Table("job", "state", "seconds", "value", "model", "reason")
    for row in rows:
        reason = str(row["reason"])
        short = reason if len(reason) <= _MAX_REASON else reason[: _MAX_REASON - 3] + "..."
        value = f"{row['value']:.4f}" if row["value"] != "" else ""
        seconds = f"{row['seconds']:.1f}" if row["seconds"] != "" else ""
        table.add_row(row["job"], row["state"], seconds, value, row["model"], short)
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(table)
    _log.info("%s", capture.get().rstrip())


def count_states(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return how many jobs are in each state, for example `3 finished, 1 failed`."""
    counts = Counter(row["state"] for row in rows)
    return ", ".join(f"{count} {state}" for state, count in counts.most_common())


def _over(row: Mapping[str, Any], folder: Path, reason: str | None) -> dict[str, Any]:
    """Return the row of a job when nothing is under way any more."""
    state = row["state"]
    if state == "running" and not is_held(folder):
        state = "killed"  # nobody is left who could say more
    was_lost = reason not in (None, NOT_STARTED)
    if was_lost and state in ("waiting", "finished"):  # finished before, and asked for with more
        state = "failed"
    own_words = row["reason"] if state == "failed" else ""
    return {**row, "state": state, "reason": own_words or reason or row["reason"]}


def _row(job: JobSummary, folder: Path) -> dict[str, Any]:
    record = read_record(folder)
    best = {
        name: each["value"]
        for name, each in record.get("best", {}).items()
        if each["value"] is not None
    }
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
