"""Run folders are read as far as they go, and only what is one."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ensemble_folders import write_ensemble
from run_folders import write_grid, write_run

from visionlab.analysis.records import read_run, read_runs, read_runs_and_ensembles

HOLDING = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
input()
"""


def test_a_finished_run_is_read_whole(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", decay=[0.9, 0.99], seed=7, epochs=4))
    assert run.state == "finished"
    assert not run.is_truncated
    assert run.task == "classification"
    assert run.seed == 7
    assert run.settings["averaged.decay"] == [0.9, 0.99]
    assert run.choices["scheduler"] == "cosine"
    assert [row["epoch"] for row in run.rows] == [1, 2, 3, 4]
    assert run.model_names == ["model", "ema_0.9", "ema_0.99"]


def test_a_torn_last_row_is_left_out_and_told(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    path = folder / "metrics.jsonl"
    path.write_text(path.read_text()[:-20])
    run = read_run(folder)
    assert run.is_truncated
    assert [row["epoch"] for row in run.rows] == [1, 2]


@pytest.mark.integration
def test_a_run_that_nobody_works_in_any_more_was_killed(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", status="running")
    assert read_run(folder).state == "killed"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, folder / "run.log"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    assert read_run(folder).state == "running"
    process.communicate(b"\n")
    assert read_run(folder).state == "killed"


def test_a_run_without_rows_or_record_is_waiting(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "metrics.jsonl").unlink()
    (folder / "run.json").unlink()
    run = read_run(folder)
    assert (run.state, run.rows, run.model_names) == ("waiting", [], ["model"])
    assert run.choices["scheduler"] == "cosine"  # from the class
    assert run.choices["dataset"] == "cifar"


def test_what_is_no_run_is_skipped_and_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_grid(tmp_path / "grid")
    (tmp_path / "grid" / "notes" / "deep").mkdir(parents=True)
    (tmp_path / "else").mkdir()
    broken = write_run(tmp_path / "broken")
    (broken / "run.json").write_text("{")
    found = read_runs([tmp_path])
    assert len(found.runs) == 12
    assert sorted(path.name for path in found.skipped) == ["else", "notes"]
    assert [path.name for path in found.unreadable] == ["broken"]


def test_ensembles_of_several_runs_are_found_beside_and_without_runs(tmp_path: Path) -> None:
    write_ensemble(write_run(tmp_path / "grid" / "run"), ["a", "b"])  # of the run itself
    beside = tmp_path / "grid" / "ensemble"
    deep = tmp_path / "other" / "deep" / "ensemble"
    for folder in (beside, deep):
        write_ensemble(folder, ["a", "b"])
    found = read_runs_and_ensembles([tmp_path, deep])
    assert (len(found.runs), found.ensembles, found.skipped) == (1, [beside, deep], [])
    found = read_runs_and_ensembles([tmp_path / "other"])
    assert (found.runs, found.ensembles) == ([], [deep])
    with pytest.raises(ValueError, match=r"^runs must be folders with runs in or below them, got "):
        read_runs([tmp_path / "other"])


def test_a_run_reached_twice_counts_once(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid")
    (tmp_path / "link").symlink_to(grid)
    found = read_runs([grid, next(grid.glob("*cosine*")), tmp_path / "link"])
    assert len(found.runs) == 12


def test_the_order_does_not_depend_on_where_runs_lie(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid")
    (tmp_path / "moved").mkdir()
    for number, folder in enumerate(sorted(grid.glob("scheduler*"), reverse=True)):
        shutil.copytree(folder, tmp_path / "moved" / f"{number:02d}")
    orders = [
        [json.dumps(dict(run.settings)) for run in read_runs([path]).runs]
        for path in (grid, tmp_path / "moved")
    ]
    assert orders[0] == orders[1]


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_no_runs_are_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=rf"^runs must be folders with runs .*, got .*{name}$"):
        read_runs([tmp_path / name])
    with pytest.raises(ValueError, match=rf"^runs must be .* runs or ensembles .*, got .*{name}$"):
        read_runs_and_ensembles([tmp_path / name])
