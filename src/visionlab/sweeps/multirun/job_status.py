"""What of a multirun is there already."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from visionlab.config.run_config import check_unchanged
from visionlab.files.run_folder import read_config, read_record

JobStatus = Literal["new", "begun", "finished"]


def job_status(folder: Path, config: Mapping[str, Any]) -> JobStatus:
    """Return how far the job in a folder has come.

    A run that a rule ended early has not finished if it is now asked for with other rules.

    Args:
        folder: of the job, existing or not.
        config: what is asked for, resolved.

    Raises:
        ValueError: the folder holds a run with other settings.
    """
    if not (folder / "config.yaml").exists():
        return "new"
    saved = read_config(folder)
    check_unchanged(config, saved, folder)
    record = read_record(folder)
    if record.get("status") != "finished":
        return "begun"
    has_new_rules = record.get("stopped") and saved["stop"] != config["stop"]
    return "begun" if has_new_rules else "finished"
