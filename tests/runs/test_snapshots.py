"""Snapshots: rates of published recipes in whole runs, files, and what a kill does to them."""

import math
import time
from pathlib import Path

import pytest
from processes import differences, left_behind, script, start

from visionlab.files.run_folder import read_record, read_rows

pytestmark = pytest.mark.integration

COMMON = (
    "model.depth=8",
    "hparams.batch_size=400",
    "averaged.decay=0.5",
    "device=cpu",
    "threads=1",
)
COMMON += ("tensorboard=false", "evaluation.test=false")
STEPS = 4  # of an epoch
ONE_RUN = (
    *("scheduler=deepscores_500_30", "optimizer.lr=0.0075", "hparams.epochs=6"),
    *("scheduler.phases.warm.length_epochs=2", "scheduler.phases.cycles.schedule.cycle_epochs=[2]"),
)


def cosine(step: int, length: int, *, base: float) -> float:
    eta = base * 1e-5
    return eta + 0.5 * (base - eta) * (1 + math.cos(math.pi * step / length))


def test_the_one_run_form_killed_after_a_snapshot_ends_as_undisturbed(tmp_path: Path) -> None:
    done = script("train.py", *COMMON, *ONE_RUN, "hydra.run.dir=whole", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    whole = tmp_path / "whole"
    expected = [
        cosine(step, 8, base=0.0025) if step < 8 else cosine(step % 8, 8, base=0.0075)
        for step in range(STEPS - 1, 6 * STEPS, STEPS)
    ]
    rates = [row["lr"] for row in read_rows(whole / "metrics.jsonl")]
    assert rates == pytest.approx(expected, rel=0, abs=1e-12)
    assert read_record(whole)["snapshots"] == {"snapshot_01": 4, "snapshot_02": 6}

    process = start("train.py", *COMMON, *ONE_RUN, "hydra.run.dir=killed", folder=tmp_path)
    killed = tmp_path / "killed"
    while not (killed / "checkpoints" / "snapshot_01.pt").exists():
        assert process.is_alive(), "the run ended without a snapshot"
        time.sleep(0.002)
    process.kill()
    process.join()
    done = script("train.py", f"resume={killed}", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not differences(left_behind(whole), left_behind(killed))
    names = {path.name for path in (killed / "checkpoints").glob("*snapshot*")}
    assert names == {
        f"{start}snapshot_{number:02d}.pt" for start in ("", "ema_0.5_") for number in (1, 2)
    }


def test_the_recipe_of_two_runs_as_a_chain_and_as_phases(tmp_path: Path) -> None:
    chain = ("chain=deepscores_two_runs", "warm.hparams.epochs=4", "cycles.hparams.epochs=4")
    chain += ("warm.scheduler.milestone_epochs=[2,3]", "cycles.scheduler.cycle_epochs=[2]")
    chain += ("warm.scheduler.warmup_steps=6", "hydra.run.dir=chain")
    phases = ("scheduler=deepscores_two_runs", "optimizer.lr=0.0075", "hparams.epochs=8")
    phases += ("scheduler.phases.warm.length_epochs=4", "hydra.run.dir=phases")
    phases += ("scheduler.phases.warm.schedule.milestone_epochs=[2,3]",)
    phases += ("scheduler.phases.warm.schedule.warmup_steps=6",)
    phases += ("scheduler.phases.cycles.schedule.cycle_epochs=[2]",)
    for given in (chain, phases):
        done = script("train.py", *COMMON, *given, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    in_chain = [
        row["lr"]
        for stage in ("warm", "cycles")
        for row in read_rows(tmp_path / "chain" / stage / "metrics.jsonl")
    ]
    in_one = [row["lr"] for row in read_rows(tmp_path / "phases" / "metrics.jsonl")]
    expected = [0.0025 * (1 / 3 + 2 / 3 * 3 / 6), 0.0025, 0.00125, 0.000625]
    expected += [cosine(step, 8, base=0.0075) for step in (3, 7)] * 2
    assert in_one == pytest.approx(expected, rel=0, abs=1e-12)
    assert in_chain == pytest.approx(expected, rel=0, abs=1e-12)
    assert read_record(tmp_path / "chain" / "cycles")["snapshots"] == {
        "snapshot_01": 2,
        "snapshot_02": 4,
    }
    assert read_record(tmp_path / "phases")["snapshots"] == {"snapshot_01": 6, "snapshot_02": 8}
