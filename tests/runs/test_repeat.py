"""A run made again: what it says of code and versions, and what it refuses."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from composing import composed
from run_folders import write_run

from visionlab.config.run_config import Invocation, resolve_config, to_yaml
from visionlab.config.saved import saved_task
from visionlab.runs import record
from visionlab.runs.record import describe_origin
from visionlab.runs.repeat import changes_since, repeat

CONFIG = {"device": "cpu", "parts": []}
COMMIT = {"hash": "a" * 40, "dirty": False}


@pytest.fixture
def origin(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(record, "_commit", lambda: COMMIT)
    return json.loads(json.dumps(describe_origin(device=torch.device("cpu"), parts=[])))


def test_nothing_differs_from_a_run_made_here_and_now(origin: dict[str, Any]) -> None:
    origin["hardware"]["threads"] = 77  # decided by the settings of the run
    assert changes_since(origin, CONFIG) == []


def test_other_versions_hardware_and_commits_are_named(origin: dict[str, Any]) -> None:
    ours = origin["versions"]["torch"]
    origin["versions"]["torch"] = "1.0"
    origin["hardware"]["cpu"] = "abacus"
    origin["commit"] = {"hash": "b" * 40, "dirty": False}
    found = changes_since(origin, CONFIG)
    assert f"torch {ours} (1.0 before)" in found
    assert f"commit {'a' * 20} ({'b' * 20} before)" in found
    assert any(each.startswith("cpu ") and each.endswith("(abacus before)") for each in found)
    assert len(found) == 3


@pytest.mark.parametrize(
    ("commit", "said"),
    [
        (None, "code of an unknown commit"),
        ({**COMMIT, "dirty": True}, "code with uncommitted changes"),
    ],
)
def test_code_that_no_commit_holds_is_named(origin: dict[str, Any], commit: Any, said: str) -> None:
    assert changes_since({**origin, "commit": commit}, CONFIG) == [said]


def test_a_new_folder_is_named_by_the_task_of_the_run(tmp_path: Path) -> None:
    assert saved_task(str(write_run(tmp_path / "run"))) == "classification"
    with pytest.raises(FileNotFoundError, match="run must be the folder of a run, got nowhere"):
        saved_task("nowhere")
    task = {"name": "../../elsewhere", "monitor": "top1", "mode": "max"}
    sent = write_run(tmp_path / "sent", changes={"task": task})
    with pytest.raises(ValueError, match=r"as task.name, got '../../elsewhere'"):
        saved_task(str(sent))


def write_settings(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(to_yaml({**resolve_config(composed()), **changes}))
    return folder


def refused(run: Path, **values: Any) -> str:
    options = {"run": str(run), "device": None, "dataset": {"root": None}, "parts": []}
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - tests match it
        repeat({**options, **values}, Invocation(folder=run / "new", choices={}, overrides=[]))
    assert not (run / "new").exists()
    return str(caught.value)


def test_settings_of_another_version_are_refused(tmp_path: Path) -> None:
    said = refused(write_run(tmp_path / "old"))
    assert re.search(r"old/config.yaml: \S+ must be given, got nothing", said)


def test_a_root_is_for_data_sets_that_have_one(tmp_path: Path) -> None:
    said = refused(write_settings(tmp_path / "run"), dataset={"root": "/x"})
    assert said == "dataset.root must belong to the run's data set, got /x"


def test_parts_that_the_user_does_not_allow_are_not_built(tmp_path: Path) -> None:
    run = write_settings(tmp_path / "run", loss={"_target_": "mine.Loss"}, parts=["mine"])
    assert re.search(r"loss._target_ must be in .*parts=.*, got 'mine.Loss'", refused(run))
