"""A run made again: what it says of code and versions, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from composing import composed
from run_folders import write_run

from visionlab.config.run_config import resolve_config, to_yaml
from visionlab.runs import record
from visionlab.runs.record import describe_origin
from visionlab.runs.repeat import changes_since, repeat

CONFIG = {"device": "cpu", "parts": []}
COMMIT = {"hash": "a" * 40, "dirty": False}


def options(run: Path, **values: Any) -> dict[str, Any]:
    return {"run": str(run), "device": None, "dataset": {"root": None}, "parts": [], **values}


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


def test_what_is_no_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="run must be the folder of a run, got nowhere"):
        repeat(options(Path("nowhere")))
    (tmp_path / "chain").mkdir()
    (tmp_path / "chain" / "chain.yaml").write_text("first: {}\n")
    with pytest.raises(ValueError, match="run must be one run, got the chain chain"):
        repeat(options(Path("chain")))
    write_run(tmp_path / "old")
    with pytest.raises(ValueError, match=r"old/config.yaml: \S+ must be given, got nothing"):
        repeat(options(Path("old")))
    assert not (tmp_path / "outputs").exists()


def write_settings(folder: Path, **changes: Any) -> None:
    folder.mkdir()
    (folder / "config.yaml").write_text(to_yaml({**resolve_config(composed()), **changes}))


def test_a_root_is_for_data_sets_that_have_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_settings(tmp_path / "run")
    with pytest.raises(ValueError, match=r"dataset.root must belong .*, got /x"):
        repeat(options(Path("run"), dataset={"root": "/x"}))
    assert not (tmp_path / "outputs").exists()


def test_parts_that_the_user_does_not_allow_are_not_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_settings(tmp_path / "run", loss={"_target_": "mine.Loss"}, parts=["mine"])
    with pytest.raises(ValueError, match=r"loss._target_ must be in .*parts=.*, got 'mine.Loss'"):
        repeat(options(Path("run")))
    assert not (tmp_path / "outputs").exists()
