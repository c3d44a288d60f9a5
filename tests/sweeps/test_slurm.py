"""Multiruns on a real Slurm: preempted, killed and queued again, they end as jobs do here."""

import csv
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from mocov2_chain import STAGES, small, write_objects
from processes import ENVIRONMENT, ROOT, differences, left_behind
from slurm_cluster import job_pids, variables

from visionlab.files.run_folder import read_record, read_rows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.integration,
    pytest.mark.skipif(
        importlib.util.find_spec("submitit") is None, reason="submitit is not installed"
    ),
]
SMALL = ["model.depth=8", "hparams.epochs=6", "device=cpu", "threads=1", "tensorboard=false"]
SMALL += ["checkpoint.every_minutes=null", "scheduler=cosine,linear", "averaged.decay=0.5,0.9"]
SLURM = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=main"]
SLURM += ["hydra.launcher.timeout_min=30", "hydra.launcher.max_num_timeout=3"]
SLURM += ["hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=4"]
FOLDER = "hydra.sweep.dir=grid"
CHAIN = """# one epoch, one from its weights, one more from the whole state
stages:
  first: {overrides: [hparams.epochs=1]}
  second: {overrides: [hparams.epochs=1, model.checkpoint=@first/checkpoints/last.pt]}
  third: {overrides: [hparams.epochs=2, start.run=@second]}
"""


def start(*arguments: str, folder: Path, slurm: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "train.py"), "--multirun", *SMALL, *arguments, FOLDER]
    environment = {**ENVIRONMENT, **variables(slurm)}
    with (folder / "said").open("w") as said:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=said, text=True)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, "the multirun ended"
        time.sleep(0.1)


def command(*words: str, slurm: Path) -> str:
    environment = {**os.environ, **variables(slurm)}
    return subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout


def jobs_of(slurm: Path) -> list[str]:
    """Return the jobs that run, as Slurm names them."""
    return command("squeue", "-h", "-t", "R", "-o", "%i", slurm=slurm).split()


def trainings_of(slurm: Path) -> list[int]:
    """Return the processes that train."""
    return [
        pid for pid in job_pids(slurm) if Path(f"/proc/{pid}/comm").read_text().startswith("python")
    ]


def states(sweep: Path) -> list[str]:
    with (sweep / "sweep.csv").open() as file:
        return [row["state"] for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("here")
    arguments = [sys.executable, str(ROOT / "train.py"), "--multirun", *SMALL, FOLDER]
    subprocess.run(arguments, cwd=folder, env=ENVIRONMENT, check=True)
    return folder


def assert_same(ours: Path, theirs: Path) -> None:
    names = [path.parent.name for path in theirs.glob("grid/*/run.json")]
    assert len(names) == 4
    for name in names:
        runs = [left_behind(each / "grid" / name) for each in (ours, theirs)]
        assert differences(*runs) == [], name


def test_a_preempted_job_is_queued_again_and_goes_on(
    here: Path, slurm: Path, tmp_path: Path
) -> None:
    process = start(*SLURM, folder=tmp_path, slurm=slurm)
    wait_for(lambda: len(list(tmp_path.glob("grid/*/checkpoints/last.pt"))) >= 2, process)
    preempted = jobs_of(slurm)[0]
    command("scancel", "--signal=USR2", preempted, slurm=slurm)
    assert process.wait(600) == 0
    assert states(tmp_path / "grid") == ["finished"] * 4
    assert_same(tmp_path, here)
    records = [json.loads(path.read_text()) for path in tmp_path.glob("grid/*/run.json")]
    assert sorted(record["num_starts"] for record in records) == [1, 1, 2, 2]


def test_a_job_that_is_killed_hard_is_told_and_the_others_end(
    here: Path, slurm: Path, tmp_path: Path
) -> None:
    process = start(*SLURM, folder=tmp_path, slurm=slurm)
    wait_for(lambda: len(list(tmp_path.glob("grid/*/checkpoints/last.pt"))) >= 2, process)
    os.kill(trainings_of(slurm)[0], signal.SIGKILL)
    assert process.wait(600) == 1
    assert sorted(states(tmp_path / "grid")) == ["finished", "finished", "killed", "killed"]
    again = start(*SLURM, folder=tmp_path, slurm=slurm)
    assert again.wait(600) == 0
    said = (tmp_path / "said").read_text()
    assert said.startswith("4 jobs, 2 already finished, 2 to run in 1 training\n")
    assert_same(tmp_path, here)


def test_a_job_of_two_processes_is_preempted_and_goes_on(slurm: Path, tmp_path: Path) -> None:
    two = ["num_processes=2", "scheduler=cosine", "averaged.decay=0.9"]
    for folder in (tmp_path / "here", tmp_path / "there"):
        folder.mkdir()
    arguments = [sys.executable, str(ROOT / "train.py"), "--multirun", *SMALL, *two, FOLDER]
    subprocess.run(arguments, cwd=tmp_path / "here", env=ENVIRONMENT, check=True)
    cores = "hydra.launcher.cpus_per_task=2"
    process = start(*SLURM, *two, cores, folder=tmp_path / "there", slurm=slurm)
    wait_for(lambda: bool(list(tmp_path.glob("there/grid/*/checkpoints/last.pt"))), process)
    command("scancel", "--signal=USR2", *jobs_of(slurm), slurm=slurm)
    assert process.wait(600) == 0
    ours, theirs = (next(tmp_path.glob(f"{name}/grid/*/run.json")) for name in ("there", "here"))
    assert differences(left_behind(ours.parent), left_behind(theirs.parent)) == []
    record = json.loads(ours.read_text())
    assert (record["num_starts"], record["hardware"]["processes"]) == (2, 2)


def test_stages_of_a_chain_are_jobs_one_after_another(slurm: Path, tmp_path: Path) -> None:
    (tmp_path / "conf" / "chain").mkdir(parents=True)
    (tmp_path / "conf" / "chain" / "three.yaml").write_text(CHAIN)
    chain = [sys.executable, str(ROOT / "train.py"), f"--config-dir={tmp_path / 'conf'}"]
    given = ["chain=three", SMALL[0], *SMALL[2:5], "second.num_processes=2"]
    local = [*chain, *given, "hydra.run.dir=here"]
    subprocess.run(local, cwd=tmp_path, env=ENVIRONMENT, check=True)
    options = [*SLURM, "hydra.launcher.cpus_per_task=2", "hydra.sweep.dir=there"]
    subprocess.run(
        [*chain, "--multirun", *given, *options],
        cwd=tmp_path,
        env={**ENVIRONMENT, **variables(slurm)},
        check=True,
    )
    for stage in ("first", "second", "third"):
        runs = [left_behind(tmp_path / each / stage) for each in ("here", "there")]
        assert differences(*runs) == [], stage
    record = json.loads((tmp_path / "there" / "second" / "run.json").read_text())
    assert record["hardware"]["processes"] == 2
    scripts = list((tmp_path / "there" / ".submitit").glob("*/*_submission.sh"))
    assert len(scripts) == 3


def mocov2(folder: Path, *more: str, slurm: Path | None = None) -> subprocess.Popen[str]:
    """Start the chain mocov2_fasterrcnn, its first detector trained by two processes."""
    given = [*small(folder / "data"), "r1.num_processes=2", *more]
    if slurm:
        named = ["hydra.launcher.name=mocov2", "r1.hydra.launcher.cpus_per_task=2"]
        given = ["--multirun", *given, *SLURM, *named, "hydra.sweep.dir=there"]
    environment = {**ENVIRONMENT, **(variables(slurm) if slurm else {})}
    words = [sys.executable, str(ROOT / "train.py"), *given]
    with (folder / "said").open("a") as said:
        return subprocess.Popen(words, cwd=folder, env=environment, stdout=said, text=True)


def jobs_called(name: str, *, slurm: Path) -> list[tuple[float, int]]:
    """Return when the jobs of a name started, in that order, and how many CPUs each had."""
    options = ["--allocations", "--noheader", "--parsable2", "--format=Start,AllocCPUS"]
    text = command("sacct", *options, f"--name={name}", "--starttime=now-1hour", slurm=slurm)
    rows = [line.split("|") for line in text.splitlines()]
    return sorted((datetime.fromisoformat(start).timestamp(), int(cpus)) for start, cpus in rows)


@pytest.fixture(scope="module")
def mocov2_here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mocov2")
    write_objects(folder / "data")
    assert mocov2(folder, "hydra.run.dir=here").wait() == 0
    return folder


def assert_same_stages(folder: Path) -> None:
    for stage in STAGES:
        runs = [folder / each / stage for each in ("here", "there")]
        assert differences(*map(left_behind, runs)) == [], stage
        processes = [read_record(each)["hardware"]["processes"] for each in runs]
        assert processes == [2 if stage == "r1" else 1] * 2


@pytest.mark.timeout(1800)
def test_pretraining_and_detectors_are_jobs_one_after_another(
    mocov2_here: Path, slurm: Path
) -> None:
    assert mocov2(mocov2_here, slurm=slurm).wait() == 0
    assert_same_stages(mocov2_here)
    jobs = jobs_called("mocov2", slurm=slurm)
    assert [cpus for _, cpus in jobs] == [1, 2, 1, 1]
    for stage, (started, _) in zip(STAGES, jobs[1:], strict=False):  # each after the one before it
        assert int((mocov2_here / "there" / stage / "run.json").stat().st_mtime) <= started


@pytest.mark.timeout(1800)
def test_jobs_of_a_chain_that_are_killed_and_cancelled_go_on(
    mocov2_here: Path, slurm: Path
) -> None:
    there = mocov2_here / "there"
    shutil.rmtree(there, ignore_errors=True)  # of the test before
    process = mocov2(mocov2_here, slurm=slurm)
    wait_for(lambda: bool(read_rows(there / "r1" / "metrics.jsonl")), process)
    os.kill(trainings_of(slurm)[0], signal.SIGKILL)
    assert process.wait() == 1
    assert states(there) == ["finished", "killed", "failed", "failed"]
    process = mocov2(mocov2_here, slurm=slurm)
    wait_for((there / "r2" / "run.json").exists, process)
    command("scancel", *jobs_of(slurm), slurm=slurm)
    assert process.wait() == 1
    first, second, cancelled, last = states(there)
    assert (first, second, last) == ("finished", "finished", "failed")
    assert cancelled in ("interrupted", "killed")  # if a step takes longer than Slurm's KillWait
    assert mocov2(mocov2_here, slurm=slurm).wait() == 0
    assert_same_stages(mocov2_here)
