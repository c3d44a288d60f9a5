"""`plots.py` as a user runs it, on run folders with made-up numbers."""

import csv
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import ENVIRONMENT, ROOT, script
from run_folders import write_grid, write_run

from visionlab.analysis.records import read_runs

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_grid(tmp_path_factory.mktemp("runs") / "grid", epochs=10)


@pytest.fixture(scope="module")
def drawn(grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    done = script("plots.py", f"runs={grid}", "out=out", folder=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (folder / "stdout.txt").write_text(done.stdout)
    return folder


def test_everything_that_makes_sense_is_there(drawn: Path) -> None:
    names = {path.name for path in (drawn / "out").iterdir()}
    kinds = ["curves", "schedules", "norms", "value_against_averaged.decay", "parallel", "losses"]
    kinds += ["stability", "confusion", "confusion_average"]
    for name in ("misclassification", "mismatch", "persistence"):
        kinds += [f"{name}_{scheduler}" for scheduler in ("constant", "cosine")]
    figures = {f"{kind}.{end}" for kind in kinds for end in ("png", "svg")}
    assert names == figures | {"report.html", "table.csv", "table.md", "table.tex"}


def test_it_says_what_it_read_and_grouped(drawn: Path) -> None:
    said = (drawn / "stdout.txt").read_text()
    assert said.startswith("12 runs: 12 finished\nsettings that vary: averaged.decay, scheduler; ")
    assert "; 3 seeds: 1, 2, 3\n" in said
    assert "| scheduler | EMA decay: none | EMA decay: 0.9 | EMA decay: 0.99 |" in said
    assert set(said.split()) >= {f"out/{path.name}" for path in (drawn / "out").iterdir()}


def test_the_table_has_the_numbers_of_the_files(grid: Path, drawn: Path) -> None:
    with (drawn / "out" / "table.csv").open() as file:
        rows = {(row["scheduler"], row["column"]): row for row in csv.DictReader(file)}
    values = [
        json.loads(path.read_text())["results"]["test"]["ema_0.99"]["top1"]
        for path in grid.glob("scheduler=cosine,averaged.decay=0.99,*/run.json")
    ]
    assert float(rows["cosine", "EMA decay: 0.99"]["mean"]) == pytest.approx(
        statistics.fmean(values)
    )
    assert float(rows["cosine", "EMA decay: 0.99"]["std"]) == pytest.approx(
        statistics.stdev(values)
    )


def test_it_imports_no_torch(grid: Path, tmp_path: Path) -> None:
    code = (
        "import runpy, sys; sys.argv = ['plots.py', *sys.argv[1:]]; "
        f"runpy.run_path({str(ROOT / 'plots.py')!r}, run_name='__main__'); "
        "print('torch' in sys.modules)"
    )
    arguments = [f"runs={grid}", "out=out", "figures=[curves]", "report=false"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("\nFalse\n")


def test_without_runs_the_newest_are_taken_and_named(tmp_path: Path) -> None:
    write_run(tmp_path / "outputs" / "classification" / "2026-11-20_12-00-00")
    write_grid(tmp_path / "multirun" / "2026-11-21_12-00-00", seeds=(1,))
    done = script("plots.py", "out=out", "figures=[]", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second, *_ = done.stdout.splitlines()
    assert "multirun/2026-11-21_12-00-00" in first
    assert second.startswith("4 runs: ")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "python plots.py runs=multirun/2026-11-21_12-00-00 out=out" in page


def test_only_what_is_asked_for_is_drawn(grid: Path, tmp_path: Path) -> None:
    arguments = ["figures=[curves,schedules]", "x=step", "y=val/accuracy", "hue=scheduler"]
    arguments += ["table.rows=averaged.decay", "table.columns=scheduler", "table.models=average"]
    done = script(
        "plots.py", f"runs=[{grid}]", "out=out", "report=false", *arguments, folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".svg"}
    assert names == {"curves.svg", "schedules.svg"}
    assert "| averaged.decay | scheduler: constant | scheduler: cosine |" in done.stdout


def test_where_picks_runs(grid: Path, tmp_path: Path) -> None:
    arguments = ["where.scheduler=cosine", "where.averaged.decay=0.9", "table.compare=[none,0.9]"]
    arguments += ["figures=[]", "report=false", "out=out"]
    done = script("plots.py", f"runs={grid}", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("6 runs: 6 finished\nsettings that vary: averaged.decay; ")
    assert "| model | EMA decay: none | EMA decay: 0.9 |" in done.stdout
    assert "95 % interval" in done.stdout
    assert (tmp_path / "out" / "table_differences.csv").exists()


def test_a_preset_has_the_published_numbers_beside(grid: Path, tmp_path: Path) -> None:
    arguments = ["table=ema_table1", "figures=[]", "report=false", "out=out"]
    done = script("plots.py", f"runs={grid}", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "ema_table1.csv").open() as file:
        rows = {(row["scheduler"], row["column"]): row for row in csv.DictReader(file)}
    assert float(rows["constant", "EMA decay: none"]["published"]) == 86.4
    off = float(rows["constant", "EMA decay: none"]["mean"]) - 86.4
    assert float(rows["constant", "EMA decay: none"]["difference"]) == pytest.approx(off)
    assert "(report.pdf of dmizr/optml-project, table 1)" in done.stdout


@pytest.mark.parametrize("name", ["ema_table2", "ema_table3"])
def test_the_other_presets_have_rows_for_training_and_test(name: str, tmp_path: Path) -> None:
    for lr in (0.1, 0.5):
        write_run(tmp_path / f"lr={lr}", scheduler="constant", decay=0.9995, lr=lr)
    where = [] if name == "ema_table2" else ["where.optimizer.lr=0.1"]
    arguments = [f"table={name}", *where, "figures=[]", "report=false", "out=out"]
    done = script("plots.py", f"runs={tmp_path}", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    gain = " gain |" if name == "ema_table2" else ""
    row = "optimizer.lr" if name == "ema_table2" else "scheduler"
    assert f"| {row} | train | test | EMA train | EMA test |{gain}" in done.stdout


def test_learning_rates_need_no_training(tmp_path: Path) -> None:
    arguments = ["planned.schedulers=[cosine,multistep_he]", "out=out"]
    done = script("plots.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "planned_schedules.svg").read_text()
    assert all(label in text for label in ("cosine", "multistep_he", "learning rate"))


def test_runs_of_which_none_has_finished_have_figures(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", status="running")
    path = folder / "metrics.jsonl"
    path.write_text(path.read_text()[:-9])
    done = script("plots.py", f"runs={tmp_path}", "out=out", "report=false", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 run: 1 killed" in done.stdout
    assert "the last row of metrics.jsonl is incomplete" in done.stdout
    assert "no table: no run has finished" in done.stdout
    assert (tmp_path / "out" / "curves.png").exists()


def test_each_task_has_a_table_of_its_own(tmp_path: Path) -> None:
    write_run(tmp_path / "one")
    other = {"task": {"name": "keypoints", "monitor": "loss", "mode": "min"}}
    write_run(tmp_path / "two", changes=other)
    arguments = [f"runs={tmp_path}", "figures=[]", "report=false", "out=out"]
    done = script("plots.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    names = {path.stem for path in (tmp_path / "out").iterdir()}
    assert names == {"table_classification", "table_keypoints"}


def test_runs_that_differ_in_many_settings_are_a_row_each(tmp_path: Path) -> None:
    for number, name in enumerate(("one", "two")):
        changes = {"loss": dict.fromkeys(("a", "b", "c", "d", "e"), number)}
        write_run(tmp_path / name, changes=changes)
    arguments = [f"runs={tmp_path}", "figures=[]", "report=false", "out=out"]
    done = script("plots.py", *arguments, folder=tmp_path)
    assert "| run | EMA decay: none | EMA decay: 0.9 |\n| --- | --- | --- |\n| one |" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["runs=nowhere"],
            r"runs must be folders with runs or ensembles in .*, got nowhere",
        ),
        ([], r"runs must be a folder with runs; none found .*: run python train.py first.*"),
        (["table.rows=schedular"], r"table.rows must be .*; did you mean scheduler\? \(.*\)"),
        (["table.value=test/top2"], r"table.value must be .*; did you mean test/top1 .*"),
        (["where.scheduler=cosinus"], r"where.scheduler must be one of constant, cosine, got .*"),
        (["where.schedular=cosine"], r"where must be a setting .*; did you mean scheduler\? .*"),
        (["figures=[curve]"], r"figures must be some of .*, got curve; did you mean curves\?"),
        (["figures=[pck]"], r"figures must be those that runs have data for, got pck"),
        (["x=hour"], r"x must be epoch or step, got hour"),
        (["epochs=[9,3]"], r"epochs must be two increasing numbers, got \[9, 3\]"),
        (["table.compare=[none,0.5]"], r"table.compare must be two of the columns .*, got 0.5"),
        (["y=val/nothing"], r"y must be a metric of the runs, got val/nothing.*"),
        (["hue=colour"], r"hue must be a setting of all runs, got colour.*"),
        (["planned.schedulers=[cosinus]"], r"planned.schedulers must be of .*, got cosinus"),
        (
            ["planned.schedulers=[multistep]"],
            r"planned.schedulers=multistep: scheduler.milestone_epochs must be given, got nothing",
        ),
        (["figurse=[curves]"], r"figurse must be a setting; did you mean figures\?"),
        (["out=/proc/nothing"], r"out must be a writable folder, got /proc/nothing.*"),
    ],
)
def test_a_mistake_is_one_line(
    grid: Path, arguments: list[str], message: str, tmp_path: Path
) -> None:
    runs = [] if not arguments or arguments[0].startswith("runs=") else [f"runs={grid}"]
    if arguments and arguments[0].startswith("planned"):
        runs = []
    done = script("plots.py", *runs, "out=out", *arguments, folder=tmp_path)
    assert done.returncode in (1, 2)
    assert re.fullmatch(f"error: {message}\n", done.stderr), done.stderr
    assert not (tmp_path / "out").exists()


def test_75_runs_of_180_epochs_are_read_in_seconds(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "first", epochs=180, num_samples=2)
    for number in range(74):
        copy = tmp_path / f"copy{number}"
        copy.mkdir()
        for name in ("config.yaml", "run.json", "metrics.jsonl"):
            os.link(folder / name, copy / name)
    began = time.process_time()
    found = read_runs([tmp_path])
    assert len(found.runs) == 75
    assert sum(len(run.rows) for run in found.runs) == 75 * 180
    assert time.process_time() - began < 15  # under 3 on a quiet machine
