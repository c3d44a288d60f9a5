"""The newest runs are found by their times."""

import json
import os
from pathlib import Path

import pytest

from visionlab.files.run_folder import (
    newest_run,
    newest_run_or_sweep,
    read_range_test,
    read_rows,
    walk_runs,
)

EARLY, LATE = "2026-11-20_12-00-00", "2026-11-21_09-30-00"


def write_run(folder: Path, *, started: str | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("task: {name: classification}\n")
    if started is not None:
        (folder / "run.json").write_text(json.dumps({"started": started}))
    return folder


def changed(folder: Path, seconds: int) -> Path:
    os.utime(folder, (seconds, seconds))
    return folder


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "step,lr,loss\n1\n", "step,lr,loss\nx,1,1\n"])
def test_a_damaged_range_test_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(ValueError, match=r"r\.csv must have numeric columns step, lr, loss"):
        read_range_test(tmp_path / "r.csv")


def test_only_the_last_row_may_be_incomplete(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"epoch": 1}\n{"epoch": 2')
    assert read_rows(tmp_path / "m.jsonl") == [{"epoch": 1}]
    (tmp_path / "m.jsonl").write_text('{"epoch": 1}\n{"epoch": 2\n{"epoch": 3}\n')
    with pytest.raises(ValueError, match=r"m\.jsonl line 2 must be JSON"):
        read_rows(tmp_path / "m.jsonl")


def test_runs_are_found_at_any_depth_and_folders_without_any_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a" / "b" / "run")
    (run / "inner").mkdir()
    (tmp_path / "a" / "notes" / "deep").mkdir(parents=True)
    (tmp_path / "a" / ".sweep").mkdir()
    found = dict(walk_runs(tmp_path))
    assert found == {run: True, tmp_path / "a" / "notes": False}
    assert dict(walk_runs(tmp_path / "missing")) == {}


def test_the_newest_run_has_the_latest_name_whatever_its_task(tmp_path: Path) -> None:
    late = changed(write_run(tmp_path / "outputs" / "detection" / LATE), 0)
    write_run(tmp_path / "outputs" / "classification" / EARLY)
    write_run(tmp_path / "multirun" / "2026-11-22_00-00-00" / "job")
    assert newest_run(tmp_path) == late


def test_of_runs_of_one_second_the_numbered_one_is_newest(tmp_path: Path) -> None:
    write_run(tmp_path / "outputs" / "classification" / LATE)
    second = write_run(tmp_path / "outputs" / "classification" / f"{LATE}_2")
    assert newest_run(tmp_path) == second


def test_runs_with_other_names_count_by_their_start_else_by_their_last_change(
    tmp_path: Path,
) -> None:
    named = changed(write_run(tmp_path / "outputs" / "mine", started="2026-11-20 12:00:01"), 0)
    write_run(tmp_path / "outputs" / "classification" / EARLY)
    assert newest_run(tmp_path) == named
    unknown = write_run(tmp_path / "outputs" / "unknown")
    assert newest_run(tmp_path) == changed(unknown, 4_000_000_000)
    changed(unknown, 0)
    assert newest_run(tmp_path) == named


@pytest.mark.parametrize("name", ["multirun", "tune"])
def test_a_sweep_is_taken_whole_if_it_is_newer(name: str, tmp_path: Path) -> None:
    single = write_run(tmp_path / "outputs" / "classification" / EARLY)
    write_run(tmp_path / name / LATE / "lr=0.1")
    write_run(tmp_path / name / LATE / "lr=0.2")
    assert newest_run_or_sweep(tmp_path) == tmp_path / name / LATE
    assert newest_run(tmp_path) == single


def test_sweeps_without_runs_do_not_count(tmp_path: Path) -> None:
    single = write_run(tmp_path / "outputs" / "classification" / EARLY)
    (tmp_path / "multirun" / LATE / "job").mkdir(parents=True)
    (tmp_path / "tune").mkdir()
    (tmp_path / "tune" / "notes.txt").write_text("")
    assert newest_run_or_sweep(tmp_path) == single


def test_without_runs_there_is_none(tmp_path: Path) -> None:
    assert newest_run(tmp_path) is None
    assert newest_run_or_sweep(tmp_path) is None
