"""Status of a job of a multirun."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from visionlab.config.run_config import check_unchanged
from visionlab.files.run_folder import read_config, read_record

JobStatus = Literal["new", "started", "finished"]


def job_status(folder: Path, config: Mapping[str, Any]) -> JobStatus:
    """Return the status of the job in a folder.

    A run that a stopping rule ended is unfinished if the requested rules differ.

    Args:
        folder: folder of the job, existing or not.
        config: the requested configuration, resolved.

    Raises:
        ValueError: the folder holds a run with other settings.
    """
    if not (folder / "config.yaml").exists():
        return "new"
    saved = read_config(folder)
    check_unchanged(config, saved, folder)
    record = read_record(folder)
    if record.get("status") != "finished":
        return "started"
    rules_changed = record.get("stopped") and saved["stop"] != config["stop"]
    return "started" if rules_changed else "finished"
