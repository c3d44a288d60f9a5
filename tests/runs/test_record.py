"""What `run.json` says of what made a run."""

from importlib import metadata
from pathlib import Path

import pytest
import torch

from visionlab.files.run_folder import read_record
from visionlab.runs.record import Record


def test_visionlab_may_run_from_its_folder_without_being_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = metadata.version

    def version(package: str) -> str:
        if package == "visionlab":
            raise metadata.PackageNotFoundError(package)
        return installed(package)

    monkeypatch.setattr(metadata, "version", version)
    Record(
        tmp_path / "run.json",
        step=0,
        seed=0,
        class_names=["a"],
        class_ids=[0],
        device=torch.device("cpu"),
        composition={},
        parts=[],
    )
    versions = read_record(tmp_path)["versions"]
    assert versions["visionlab"] is None
    assert versions["torch"] == installed("torch")
