"""The list of runs, and two of them side by side."""

import json
import logging
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from run_folders import write_grid, write_run

from visionlab.analysis.records import read_run, read_runs
from visionlab.analysis.run_diff import differing_origin, differing_settings, metrics, show_diff
from visionlab.analysis.run_list import (
    best_value,
    format_age,
    jobs_to_begin,
    list_runs,
    sort_rows,
    summarise,
)
from visionlab.analysis.selection import RunSelection, as_states, default_folders, select_runs

ALL = RunSelection(states=[], task=None, where={})
NOW = datetime(2026, 11, 24, 12, 1)


def selected(folder: Path, **conditions: Any) -> set[str]:
    selection = RunSelection(**{"states": [], "task": None, "where": {}, **conditions})
    return {run.folder.name for run in select_runs(read_runs([folder]).runs, selection)}


def change_record(folder: Path, **values: Any) -> None:
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def write_rows(folder: Path, *rows: Mapping[str, float]) -> None:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    write_run(tmp_path / "a", lr=0.1)
    write_run(tmp_path / "b", lr=0.2, status="failed")
    write_run(tmp_path / "c", lr=0.2, scheduler="linear", status="running")
    return tmp_path


def test_a_row_says_how_far_a_run_came(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", epochs=5, status="failed")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.pt").write_bytes(bytes(1000))
    (folder / "checkpoints" / "previous.pt").hardlink_to(folder / "checkpoints" / "last.pt")
    (folder / "elsewhere").symlink_to("/usr")
    before = summarise(read_run(folder), now=NOW)
    assert (before.epoch, before.epochs, before.run.state) == (4, 5, "failed")
    assert before.age_seconds == timedelta(days=3).total_seconds()
    files = [each for each in folder.rglob("*") if each.is_file() and each.name != "previous.pt"]
    assert before.size_bytes == sum(each.stat().st_size for each in files) + len("/usr")


def test_the_best_value_is_that_of_any_model_in_any_epoch(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    ours = {"val/model/top1": 0.5, "val/model/loss": 9.0, "val/ema_0.9/top1": 0.4}
    write_rows(folder, {"epoch": 1, **ours}, {"epoch": 2, **ours, "val/ema_0.9/top1": 0.7})
    found = best_value(read_run(folder))
    assert found is not None
    assert (found.value, found.model) == (0.7, "ema_0.9")


def test_the_smallest_value_is_best_where_less_is_better(tmp_path: Path) -> None:
    task = {"name": "keypoints", "monitor": "nme", "mode": "min"}
    folder = write_run(tmp_path / "run", changes={"task": task})
    write_rows(folder, {"epoch": 1, "val/model/nme": 0.2}, {"epoch": 2, "val/model/nme": 0.3})
    found = best_value(read_run(folder))
    assert found is not None
    assert found.value == 0.2


def test_a_run_without_validation_has_no_best_value_and_comes_last(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_rows(write_run(tmp_path / "b"), {"epoch": 1, "train/loss": 1.0})
    rows = [summarise(run, now=NOW) for run in read_runs([tmp_path]).runs]
    for descending in (False, True):
        ordered = sort_rows(rows, by="value", descending=descending)
        assert [row.run.folder.name for row in ordered] == ["a", "b"]


def test_runs_are_sorted_by_any_column(runs: Path) -> None:
    change_record(runs / "a", updated="2026-11-23 12:00:00")
    change_record(runs / "b", updated="2026-11-24 12:00:00")
    rows = [summarise(run, now=NOW) for run in read_runs([runs]).runs]

    def order(by: str, *, descending: bool = False) -> str:
        return "".join(row.run.folder.name for row in sort_rows(rows, by=by, descending=descending))

    assert order("age") == "bac"
    assert order("age", descending=True) == "cab"
    assert order("run") == "abc"
    assert order("state") == "bac"  # failed, finished, killed


def test_runs_are_selected_by_state_task_and_settings(runs: Path) -> None:
    assert selected(runs, states=["failed"]) == {"b"}
    assert selected(runs, states=["failed", "finished"]) == {"a", "b"}
    assert selected(runs, where={"optimizer": {"lr": 0.2}}) == {"b", "c"}
    assert selected(runs, where={"scheduler": "linear"}) == {"c"}
    assert selected(runs, where={"optimizer.lr": 0.2}, states=["finished"]) == set()
    assert selected(runs, task="classification") == {"a", "b", "c"}


def test_a_run_of_another_task_without_the_setting_is_left_out(runs: Path) -> None:
    write_run(runs / "d", changes={"boxes": {"size": 3}})
    assert selected(runs, where={"boxes": {"size": 3}}) == {"d"}


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"states": ["fialed"]}, "state must be of finished, .*, got fialed; did you mean failed"),
        ({"task": "detection"}, "task must be of classification, got detection"),
        ({"where": {"optimizer": {"lr": 3}}}, r"where.optimizer.lr must be of 0.1, 0.2, got 3"),
        ({"where": {"optimiser": {"lr": 3}}}, "where must be a setting .* mean optimizer.lr"),
    ],
)
def test_what_no_run_has_is_refused(runs: Path, conditions: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        selected(runs, **conditions)


def test_states_are_one_or_several() -> None:
    assert [as_states(each) for each in (None, "failed", ["failed", "killed"])] == [
        [],
        ["failed"],
        ["failed", "killed"],
    ]


def test_an_unknown_column_is_refused(runs: Path) -> None:
    with pytest.raises(ValueError, match=r"sort must be of run, .*, got agee; did you mean age"):
        list_runs([runs], ALL, sort="agee", descending=False)


def test_the_table_has_a_line_for_each_run(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (runs / "damaged").mkdir()
    (runs / "damaged" / "config.yaml").write_text("task: [")
    list_runs([runs], ALL, sort="run", descending=False)
    table, total, warning = caplog.messages
    lines = [line for line in table.splitlines() if str(runs) in line]
    assert [line.split("│")[2].strip() for line in lines] == ["finished", "failed", "killed"]
    assert total.startswith("3 of 3 runs: 1 finished, 1 failed, 1 killed, ")
    assert warning.startswith(f"{runs / 'damaged'} cannot be read: ")


def test_jobs_that_did_not_begin_are_counted(tmp_path: Path) -> None:
    write_run(tmp_path / "sweep" / "a")
    (tmp_path / "sweep" / ".sweep").mkdir()
    (tmp_path / "sweep" / "b").mkdir()  # as a launcher makes it
    jobs = [{"name": name, "swept": {}} for name in "abc"]
    (tmp_path / "sweep" / ".sweep" / "jobs.json").write_text(json.dumps(jobs))
    write_run(tmp_path / "chain" / "first")
    (tmp_path / "chain" / "chain.yaml").write_text("first: {}\nsecond: {}\n")
    write_run(tmp_path / "damaged" / "a")
    (tmp_path / "damaged" / "chain.yaml").write_text("3")
    write_run(tmp_path / "alone")
    found = jobs_to_begin(read_runs([tmp_path]).runs)
    assert found == {tmp_path / "sweep": 2, tmp_path / "chain": 1}


def test_no_match_is_no_table(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pruned = RunSelection(states=["pruned"], task=None, where={})
    list_runs([runs], pruned, sort="age", descending=False)
    assert caplog.messages == ["0 of 3 runs"]


def test_by_default_runs_are_where_visionlab_leaves_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"runs must be .* outputs/, multirun/, tune/"):
        default_folders()
    (tmp_path / "multirun").mkdir()
    assert default_folders() == [Path("multirun")]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (86400 * 3.4, "3 d")],
)
def test_an_age_has_its_largest_unit(seconds: float, text: str) -> None:
    assert format_age(seconds) == text


def test_a_hundred_runs_of_a_hundred_epochs_are_read_in_seconds(tmp_path: Path) -> None:
    for seed in range(100):
        write_run(tmp_path / str(seed), seed=seed, epochs=1)
        rows = [{"epoch": n, **{f"val/model/{m}": 0.5 for m in range(20)}} for n in range(100)]
        write_rows(tmp_path / str(seed), *rows)
    started = time.process_time()
    list_runs([tmp_path], ALL, sort="size", descending=True)
    assert time.process_time() - started < 3  # less than 1 where nothing else runs


def test_two_runs_differ_in_settings_and_choices(tmp_path: Path) -> None:
    first = read_run(write_run(tmp_path / "a", seed=1, scheduler="cosine"))
    second = read_run(write_run(tmp_path / "b", seed=2, scheduler="linear"))
    found = {each.name: (each.first, each.second) for each in differing_settings(first, second)}
    assert found == {
        "scheduler": ("cosine", "linear"),
        "scheduler._target_": ("visionlab.optim.Cosine", "visionlab.optim.Linear"),
        "global_seed": (1, 2),
    }


def test_a_setting_that_one_run_lacks_is_a_dash(tmp_path: Path) -> None:
    first = read_run(write_run(tmp_path / "a", changes={"compile": None}))
    second = read_run(write_run(tmp_path / "b"))
    assert [tuple(each) for each in differing_settings(first, second)] == [("compile", None, "-")]


def test_two_runs_differ_in_versions_and_commit(tmp_path: Path) -> None:
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    change_record(second, versions={"visionlab": "0.1.0", "torch": "3.0"}, commit=None)
    found = [tuple(each) for each in differing_origin(read_run(first), read_run(second))]
    assert found == [
        ("versions.torch", "2.15.0", "3.0"),
        ("commit.hash", "0" * 40, "-"),
        ("commit.dirty", False, "-"),
    ]


def test_all_final_metrics_are_compared(tmp_path: Path) -> None:
    first = read_run(write_run(tmp_path / "a", decay=0.9))
    second = read_run(write_run(tmp_path / "b", decay=0.9, status="failed"))
    lines = metrics(first, second)
    names = {each.name for each in lines}
    assert {"test/model/top1", "test/ema_0.9_best/loss"} <= names
    assert all(each.second is None for each in lines)


def test_the_comparison_is_three_tables(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write_grid(tmp_path, schedulers=["cosine"], decays=[0.9], seeds=[1, 2])
    folders = sorted(each for each in tmp_path.iterdir() if each.name[0] != ".")
    show_diff(folders)
    first, second, settings, origin, results = caplog.messages
    assert (first, second) == (f"A: {folders[0]}", f"B: {folders[1]}")
    assert [each.strip() for each in settings.splitlines()[4].split("│")[1:4]] == [
        "global_seed",
        "1",
        "2",
    ]
    assert origin == "\nmade by: no difference"
    (line,) = (each for each in results.splitlines() if "test/model/top1" in each)
    a, b, difference = (float(each) for each in line.split("│")[2:5])
    assert difference == pytest.approx(b - a, abs=1e-4)


def test_what_is_no_two_runs_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a")
    with pytest.raises(ValueError, match="runs must be two run folders, got 1"):
        show_diff([run])
    with pytest.raises(ValueError, match=f"runs must be .*, got {tmp_path} without config.yaml"):
        show_diff([run, tmp_path])
