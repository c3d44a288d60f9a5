"""Removal of checkpoints and runs by rules, on made-up run folders."""

import json
import logging
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_folders import write_run

from visionlab.analysis.selection import RunSelection
from visionlab.files.locks import locked
from visionlab.runs import prune as pruning
from visionlab.runs.prune import freed_bytes, plan, prune
from visionlab.runs.prune_rules import PruneOptions

NOW = datetime(2026, 11, 24, 12, 1)  # three days after the runs ended
NAMES = ("last.pt", "previous.pt", "best.pt", "ema_0.9.pt", "ema_0.9_best.pt")


def options(**values: Any) -> PruneOptions:
    conditions = {"states": values.pop("states", []), "task": None, "where": {}}
    defaults = {"remove": "checkpoints", "keep": ["best", "*_best"], "older_than_days": 1.0}
    return PruneOptions(
        selection=RunSelection(**conditions),
        **{**defaults, "max_epochs": None, "apply": False, **values},
    )


RUNS = options(remove="runs", states=["failed", "killed"])


def write(folder: Path, **values: Any) -> Path:
    """Write a run with checkpoints."""
    write_run(folder, **values)
    (folder / "checkpoints").mkdir()
    for size, name in enumerate(NAMES, start=1):
        (folder / "checkpoints" / name).write_bytes(bytes(size))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def planned(folder: Path, chosen: PruneOptions) -> dict[str, list[str]]:
    removals, _ = plan([folder], chosen, now=NOW)
    return {each.run.folder.name: [path.name for path in each.files] for each in removals}


def kept(folder: Path, chosen: PruneOptions) -> dict[str, str]:
    _, reasons = plan([folder], chosen, now=NOW)
    return {run.folder.name: reason for run, reason in reasons}


def applied(folder: Path, chosen: PruneOptions) -> None:
    removals, _ = plan([folder], chosen, now=NOW)
    pruning.apply(removals)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))


def test_checkpoints_of_finished_runs_go_but_for_the_best(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", status="failed")
    assert planned(tmp_path, options()) == {"a": ["ema_0.9.pt", "last.pt", "previous.pt"]}
    applied(tmp_path, options())
    left = {each.name for each in (tmp_path / "a" / "checkpoints").iterdir()}
    assert left == {"best.pt", "ema_0.9_best.pt"}
    assert len([*(tmp_path / "b" / "checkpoints").iterdir()]) == len(NAMES)
    assert (tmp_path / "a" / "run.json").exists()
    assert planned(tmp_path, options()) == {}


def test_without_apply_nothing_is_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write(tmp_path / "a")
    before = content(tmp_path)
    prune([tmp_path], options(older_than_days=0.0))
    assert content(tmp_path) == before
    table, summary = caplog.messages
    assert "ema_0.9.pt, last.pt, previous.pt" in table
    assert summary == "would remove 3 files of 1 run, 7 B; apply=true removes them"  # 4 + 1 + 2
    prune([tmp_path], options(older_than_days=0.0, apply=True))
    assert caplog.messages[-1] == "removed 3 files of 1 run, 7 B"
    assert len(before) - len(content(tmp_path)) == 3


def test_whole_runs_go_with_all_their_files(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", status="failed")
    write(tmp_path / "c", status="running")  # killed: nobody holds it
    assert {*planned(tmp_path, RUNS)} == {"b", "c"}
    applied(tmp_path, RUNS)
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_rules_are_of_age_and_progress(tmp_path: Path) -> None:
    write(tmp_path / "a", status="failed")  # after two epochs
    write(tmp_path / "b", status="failed", epochs=1)  # before the first
    old = {"remove": "runs", "states": ["failed"]}
    assert {*planned(tmp_path, options(**old, older_than_days=3.0))} == {"a", "b"}
    assert {*planned(tmp_path, options(**old, older_than_days=3.1))} == set()
    assert {*planned(tmp_path, options(**old, max_epochs=0))} == {"b"}
    assert {*planned(tmp_path, options(**old, max_epochs=2))} == {"a", "b"}


def test_a_run_in_use_stays(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", status="failed")
    with locked(folder):
        assert kept(tmp_path, RUNS) == {"a": "is running"}
    assert {*planned(tmp_path, RUNS)} == {"a"}


@pytest.mark.parametrize("held", ["", ".sweep"])
def test_a_job_of_what_is_running_stays(tmp_path: Path, held: str) -> None:
    write(tmp_path / "sweep" / "a", status="failed")
    (tmp_path / "sweep" / ".sweep").mkdir()
    with locked(tmp_path / "sweep" / held):
        reason = f"belongs to {tmp_path / 'sweep'}, which is running"
        assert kept(tmp_path, RUNS) == {"a": reason}


@pytest.mark.parametrize(
    "changes",
    [
        {"start": {"run": "PLACE"}},
        {"model": {"_target_": "m", "checkpoint": "PLACE/checkpoints/best.pt"}},
        {"model": {"_target_": "m", "backbone": {"weights": "PLACE"}}},
        {"ensemble": {"members": ["PLACE/checkpoints/gone.pt"]}},
    ],
)
@pytest.mark.parametrize("rule", [options(), options(remove="runs", states=["finished"])])
def test_a_run_that_another_starts_from_stays(
    tmp_path: Path, changes: dict[str, Any], rule: PruneOptions
) -> None:
    write(tmp_path / "a")
    text = json.dumps(changes).replace("PLACE", str(tmp_path / "a"))
    write(tmp_path / "b", status="failed", changes=json.loads(text))
    assert kept(tmp_path, rule) == {"a": f"{tmp_path / 'b'} starts from it"}
    assert planned(tmp_path, rule) == {}


def test_paths_in_settings_may_start_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a")
    model = {"_target_": "m", "backbone": {"weights": "a/checkpoints/best.pt"}}
    write(tmp_path / "b", status="failed", changes={"model": model})
    assert kept(tmp_path, options()) == {"a": f"{tmp_path / 'b'} starts from it"}


def test_a_run_of_which_only_the_name_begins_alike_goes(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", status="failed", changes={"start": {"run": f"{tmp_path / 'a'}_2"}})
    assert {*planned(tmp_path, options())} == {"a"}


def test_runs_in_the_usual_folders_may_have_started_from_one_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "archive" / "a")
    user = write(tmp_path / "outputs" / "b", changes={"start": {"run": f"{tmp_path}/archive/a"}})
    assert kept(Path("archive"), options()) == {"a": f"{user} starts from it"}


def test_a_run_that_an_unreadable_one_names_stays(tmp_path: Path) -> None:
    write(tmp_path / "long_name")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.yaml").write_text("start: {run: /x/long_name}\ntask: [")
    reason = f"{tmp_path / 'b'} may start from it and cannot be read"
    assert kept(tmp_path, options()) == {"long_name": reason}


def test_stages_of_an_unfinished_chain_stay(tmp_path: Path) -> None:
    write(tmp_path / "chain" / "first")
    (tmp_path / "chain" / "chain.yaml").write_text(yaml.safe_dump({"first": {}, "second": {}}))
    assert kept(tmp_path, options()) == {"first": "its chain is not finished"}
    write(tmp_path / "chain" / "second")
    assert {*planned(tmp_path, options())} == {"first", "second"}


def test_stages_of_an_unfinished_multirun_of_chains_stay(tmp_path: Path) -> None:
    jobs = [{"name": each, "swept": {"stage": each}} for each in ("first", "second")]
    write(tmp_path / "first")
    (tmp_path / ".sweep").mkdir()
    (tmp_path / ".sweep" / "jobs.json").write_text(json.dumps(jobs))
    assert kept(tmp_path, options()) == {"first": "its chain is not finished"}
    for job in jobs:
        job["swept"] = {}
    (tmp_path / ".sweep" / "jobs.json").write_text(json.dumps(jobs))
    assert {*planned(tmp_path, options())} == {"first"}


def test_runs_that_resume_together_go_together(tmp_path: Path) -> None:
    a, b = (write(tmp_path / name, status="failed", seed=n) for n, name in enumerate("ab"))
    for folder, other in ((a, b), (b, a)):
        record = json.loads((folder / "run.json").read_text())
        record["shares_training_with"] = [str(other)]
        (folder / "run.json").write_text(json.dumps(record))
    assert {*planned(tmp_path, RUNS)} == {"a", "b"}
    (b / "run.json").write_text((b / "run.json").read_text().replace("failed", "interrupted"))
    assert kept(tmp_path, RUNS) == {"a": f"shares its training with {b}"}


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside" / "a", status="failed")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(outside)
    assert kept(tmp_path / "runs", RUNS) == {"link": "is reached by a symbolic link"}
    folder = write(tmp_path / "runs" / "b", status="failed")
    (folder / "pictures").symlink_to(outside)
    before = content(outside)
    applied(tmp_path / "runs", RUNS)
    assert not folder.exists()
    assert content(outside) == before


def test_checkpoints_that_are_links_stay(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    last = folder / "checkpoints" / "last.pt"
    last.rename(tmp_path / "elsewhere.pt")
    last.symlink_to(tmp_path / "elsewhere.pt")
    assert planned(tmp_path, options()) == {"a": ["ema_0.9.pt", "previous.pt"]}
    (folder / "checkpoints").rename(tmp_path / "all")
    (folder / "checkpoints").symlink_to(tmp_path / "all")
    assert planned(tmp_path, options()) == {}


def test_a_run_without_the_checkpoint_to_keep_stays(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    for name in ("best.pt", "ema_0.9_best.pt"):
        (folder / "checkpoints" / name).unlink()
    assert kept(tmp_path, options()) == {"a": "has no checkpoint best or *_best"}


def test_a_folder_with_more_than_a_run_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "a", status="failed")
    monkeypatch.chdir(folder / "pictures" if (folder / "pictures").exists() else folder)
    assert kept(tmp_path, RUNS) == {"a": "is the current folder, or holds it"}
    monkeypatch.chdir(tmp_path)
    write(folder / "nested")
    assert kept(tmp_path, RUNS) == {"a": "holds other things than a run"}


def test_an_error_leaves_the_rest_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, name in enumerate("abc"):
        write(tmp_path / name, seed=seed, status="failed")
    unlink = Path.unlink

    def failing(path: Path, missing_ok: bool = False) -> None:
        if path.parent.name == "b" and path.name == "metrics.jsonl":
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", failing)
    before = content(tmp_path / "c")
    with pytest.raises(OSError, match=r"/b/\S+ cannot be removed, Permission denied; 1 of 3 runs"):
        applied(tmp_path, RUNS)
    assert not (tmp_path / "a").exists()
    assert {"config.yaml", "run.json"} <= {each.name for each in (tmp_path / "b").iterdir()}
    assert content(tmp_path / "c") == before


def test_a_folder_that_must_not_be_written_is_found_before_anything_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, name in enumerate("ab"):
        write(tmp_path / name, seed=seed)
    closed = tmp_path / "b" / "checkpoints"
    monkeypatch.setattr(os, "access", lambda path, _: path != closed)  # root may write anywhere
    before = content(tmp_path)
    with pytest.raises(OSError, match=f"{closed} must be writable, nothing was removed"):
        applied(tmp_path, options())
    assert content(tmp_path) == before


def test_a_run_that_came_to_be_in_use_ends_the_removal(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", status="failed")
    (folder / "run.log").touch()
    removals, _ = plan([tmp_path], RUNS, now=NOW)
    before = content(tmp_path)
    with locked(folder), pytest.raises(ValueError, match=r"must not be in use .* 0 of 1 run done"):
        pruning.apply(removals)
    assert content(tmp_path) == before


def test_a_file_with_another_name_outside_frees_nothing(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    (tmp_path / "backup.pt").hardlink_to(folder / "checkpoints" / "last.pt")
    removals, _ = plan([tmp_path], options(), now=NOW)
    assert freed_bytes(removals) == 2 + 4  # previous.pt and ema_0.9.pt, not last.pt


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"remove": "run"}, "remove must be checkpoints or runs, got run; did you mean runs"),
        ({"older_than_days": -1.0}, "older_than_days must be >= 0, got -1"),
        ({"max_epochs": -1}, "max_epochs must be >= 0 or null, got -1"),
        ({"remove": "runs"}, "state must be given with remove=runs, as failed, got null"),
        ({"states": ["running"]}, "state must be of runs that have ended, got running"),
        ({"keep": []}, r"keep must name a checkpoint at least, got \[\]"),
    ],
)
def test_wrong_rules_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        options(**values)


def test_housekeeping_imports_no_torch() -> None:
    code = "import sys, visionlab.runs.housekeeping; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
