"""Chains: stages in their order, each from what an earlier one left; killed and resumed."""

import csv
import shutil
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from mocov2_chain import STAGES as MOCOV2_STAGES
from mocov2_chain import small, write_objects
from processes import differences, left_behind, script, start

from visionlab.files.run_folder import read_config, read_record, read_rows

pytestmark = pytest.mark.integration

STAGES = ("first", "weights", "state")
CHAIN = """# two epochs, two from their weights, two more from their whole state
stages:
  first:
    overrides: [model.depth=8, hparams.epochs=2, averaged.decay=0.5, threads=1]
  weights:
    like: first
    overrides: [model.checkpoint=@first/checkpoints/best.pt, optimizer=adamw]
  state:
    like: weights
    overrides: [start.run=@weights, model.checkpoint=null, hparams.epochs=4, optimizer.lr=1e-4]
"""
CONF = ("--config-dir=conf",)
COMMON = ("tensorboard=false", "hparams.batch_size=400", "device=cpu", "evaluation.test=false")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "conf" / "chain").mkdir(parents=True)
    (tmp_path / "conf" / "chain" / "three.yaml").write_text(CHAIN)
    return tmp_path


def chain(work: Path, *arguments: str, name: str = "three") -> tuple[int, str]:
    """Run a chain; return exit code and output."""
    options = [each for each in arguments if each.startswith("-")]
    settings = [each for each in arguments if each not in options]
    given = (*CONF, *options, f"chain={name}", *COMMON, *settings)
    done = script("train.py", *given, folder=work)
    return done.returncode, done.stdout + done.stderr


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def wait_for_rows(run: Path, process: BaseProcess) -> None:
    """Wait until a run has finished its first epoch."""
    while not read_rows(run / "metrics.jsonl"):
        assert process.is_alive(), f"the chain ended before the first epoch of {run}"
        time.sleep(0.01)


def test_stages_follow_each_other_and_a_killed_chain_goes_on(work: Path) -> None:
    code, said = chain(work, "hydra.run.dir=whole", "state.averaged.decay=0.9")
    assert code == 0, said
    whole = work / "whole"
    for stage in STAGES:
        assert read_record(whole / stage)["status"] == "finished"
    first, weights, state = (read_config(whole / stage) for stage in STAGES)
    assert weights["model"]["checkpoint"] == str(whole / "first/checkpoints/best.pt")
    assert (state["start"]["run"], state["hparams"]["epochs"]) == (str(whole / "weights"), 4)
    assert (first["averaged"]["decay"], state["averaged"]["decay"]) == (0.5, 0.9)
    assert first["hparams"]["batch_size"] == 400
    assert [row["epoch"] for row in read_rows(whole / "state" / "metrics.jsonl")] == [3, 4]
    assert f"runs={whole}" in said.replace("\n", "")

    broken = work / "broken"
    for stage in STAGES:  # killed within each of them
        given = [f"resume={broken}"]
        if stage == "first":
            given = ["chain=three", *COMMON, f"hydra.run.dir={broken}", "state.averaged.decay=0.9"]
        process = start("train.py", *CONF, *given, folder=work)
        wait_for_rows(broken / stage, process)
        process.kill()
        process.join()
    done = script("train.py", *CONF, f"resume={broken}", folder=work)
    assert done.returncode == 0, done.stderr
    for stage in STAGES:
        assert not differences(*(left_behind(each / stage) for each in (whole, broken)))

    code, said = chain(work, f"hydra.run.dir={whole}", "state.averaged.decay=0.9")
    assert (code, said.count("already finished")) == (0, 3)
    code, said = chain(work, f"hydra.run.dir={whole}", "first.optimizer.lr=0.5")
    assert code == 1
    assert "optimizer.lr=0.5 (the run has 0.1)" in said


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("a: {overrides: [start.run=@b]}\n  b: {overrides: []}", [], "@b must be an earlier stage"),
        ("a: {overrides: [start.run=@a]}", [], "@a must be an earlier stage"),
        ("a: {like: z, overrides: []}", [], "chain.stages.a.like must be an earlier stage"),
        ("model: {overrides: []}", [], "chain.stages must have names"),
        ("a: {overrides: [hparams.epochs=0]}", [], "epochs must be > 0, got 0 (stage a)"),
        ("a: {overrides: [optimiser.lr=1]}", [], "optimizer.lr"),
        ("a: {overrides: []}", ["b.optimizer.lr=1"], "b.optimizer"),
        ("a: {overrides: ['parts=[os]']}", [], "parts"),
        ("a: {overrides: []}", ["a.hparams.epochs=-1"], "got -1 (stage a)"),
        ("a: {overrides: []}", ["a.optimizer.lr=1,1", "--multirun"], "must list each value once"),
        ("a: {overrides: []}", ["b.optimizer.lr=1,2", "--multirun"], "b.optimizer"),
        ("a: {overrides: []}", ["a.hparams.epochs=1,-1", "--multirun"], "got -1 (job a,"),
        ("a: {overrides: []}", ["hydra.sweep.subdir=x", "--multirun"], "hydra.sweep.subdir must"),
        ("a: {overrides: []}", ["global_seed=null"], "global_seed must be a number in a chain"),
        ("a: {overrides: []}", ["a.hydra.launcher.slots=2"], "a.hydra.launcher.slots=2 must"),
        ("a: {overrides: []}", ["a.hydra.launcher.slot=2", "--multirun"], "launcher.slots?"),
    ],
)
def test_a_chain_that_cannot_run_is_refused_in_one_line(
    content: str, arguments: list[str], message: str, work: Path
) -> None:
    (work / "conf" / "chain" / "wrong.yaml").write_text(f"# wrong\nstages:\n  {content}\n")
    code, said = chain(work, *arguments, name="wrong")
    assert code != 0
    assert message in said
    assert "Traceback" not in said
    assert not list(work.rglob("*.pt"))


def test_a_grid_of_chains_trains_equal_stages_once(work: Path) -> None:
    given = [*CONF, "--multirun", "chain=three", *COMMON, "state.optimizer.lr=1e-4,1e-3"]
    whole = work / "whole"
    assert chain(work, f"hydra.run.dir={whole}")[0] == 0
    sweep = f"hydra.sweep.dir={work / 'sweep'}"
    process = start("train.py", *given, sweep, folder=work)
    wait_for_rows(work / "sweep" / "weights", process)
    process.kill()
    process.join()
    done = script("train.py", *given, sweep, folder=work)
    assert done.returncode == 0, done.stderr
    assert "4 jobs, 1 already finished, 3 to run in 3 trainings" in done.stdout
    for stage, folder in zip(
        STAGES, ("first", "weights", "state,optimizer.lr=0.0001"), strict=True
    ):
        assert not differences(
            *(left_behind(each) for each in (whole / stage, work / "sweep" / folder))
        )
    again = script("train.py", *given, sweep, folder=work)
    assert "4 jobs, all already finished" in again.stdout
    changed = script("train.py", *given, "first.optimizer.lr=0.5", sweep, folder=work)
    assert changed.returncode == 1
    assert "optimizer.lr=0.5 (the run has 0.1)" in changed.stdout + changed.stderr


def test_a_stage_does_not_start_after_one_that_failed(work: Path) -> None:
    given = ["hydra.sweep.dir=sweep", "first.optimizer.lr=0.1,1e9", "first.hparams.epochs=1"]
    code, _ = chain(work, *given, "--multirun")
    assert code == 1
    reasons = {row["job"]: row for row in read_csv(work / "sweep" / "sweep.csv")}
    failed = "first,optimizer.lr=1000000000.0"
    assert reasons[failed]["state"] == "failed"
    assert (
        reasons["weights,first.optimizer.lr=1000000000.0"]["reason"] == f"{failed} did not finish"
    )
    assert reasons["state,first.optimizer.lr=0.1"]["state"] == "finished"
    given[0] = "hydra.sweep.dir=fast"
    code, _ = chain(work, *given, "--multirun", "sweep.fail_fast=true")
    assert code == 1
    reasons = {row["job"]: row for row in read_csv(work / "fast" / "sweep.csv")}
    assert reasons["first,optimizer.lr=0.1"]["state"] == "finished"
    assert reasons["weights,first.optimizer.lr=0.1"]["reason"] == "not started"


def test_a_stage_has_settings_of_the_launcher_of_its_own(work: Path) -> None:
    stages = "stages: {a: {overrides: []}, b: {overrides: [optimizer=adamw]}}\n"
    (work / "conf" / "chain" / "two.yaml").write_text(f"# side by side\n{stages}")
    given = ["model.depth=8", "stop.max_steps=1", "hydra.sweep.dir=sweep", "--multirun"]
    code, said = chain(work, *given, "b.hydra.launcher.timeout_minutes=1e-4", name="two")
    assert code == 1
    rows = {row["job"]: row for row in read_csv(work / "sweep" / "sweep.csv")}
    assert rows["a"]["state"] == "finished", said
    # the pool names the timeout, a run that had begun the signal that it sent
    assert any(text in rows["b"]["reason"] for text in ("timeout_minutes", "SIGTERM")), said
    assert "timed out" in said
    code, said = chain(work, *given, name="two")
    assert code == 0, said


def test_the_chain_in_a_folder_from_a_stranger_builds_nothing_else(work: Path) -> None:
    code, said = chain(work, "hydra.run.dir=mine", "hparams.epochs=1", name="short")
    assert code != 0  # there is no such chain
    (work / "conf" / "chain" / "short.yaml").write_text("# one\nstages: {a: {overrides: []}}\n")
    code, said = chain(
        work, "hydra.run.dir=mine", "model.depth=8", "stop.max_steps=1", name="short"
    )
    assert code == 0, said
    path = work / "mine" / "chain.yaml"
    shutil.rmtree(work / "mine" / "a")
    path.write_text(path.read_text().replace("visionlab.optim.Sgd", "os.system"))
    done = script("train.py", *CONF, "resume=mine", folder=work)
    assert done.returncode == 1
    assert "os.system" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_pretraining_flows_into_a_detector(tmp_path: Path) -> None:
    write_objects(tmp_path / "data")
    given = small(tmp_path / "data")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = script("train.py", *given, f"hydra.run.dir={whole}", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    record = read_record(whole / "r1")["initial_weights"]["backbone"]
    assert record["file"].startswith(str(whole / "pretrain"))
    assert all(name.startswith("backbone.") for name in record["taken"])
    assert len(record["taken"]) > 10
    for number, stage in enumerate(MOCOV2_STAGES):
        more = [f"resume={broken}"] if number else [*given, f"hydra.run.dir={broken}"]
        process = start("train.py", *more, folder=tmp_path)
        wait_for_rows(broken / stage, process)
        process.kill()
        process.join()
    assert script("train.py", f"resume={broken}", folder=tmp_path).returncode == 0
    for stage in MOCOV2_STAGES:
        assert not differences(*(left_behind(each / stage) for each in (whole, broken)))
