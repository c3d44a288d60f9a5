"""200 commands of every kind, each killed at a random moment: repeated, they end bit for bit alike.

Runs of the three tasks (accumulation, hard examples, plateau, averages), multiruns and tunings.
"""

import json
import os
import random
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna import load_study
from optuna.trial import TrialState
from processes import SMALL, differences, left_behind, script, start

pytestmark = pytest.mark.slow

ALWAYS = ("device=cpu", "tensorboard=false", "checkpoint.every_minutes=0")
DIGITS = (*SMALL, *ALWAYS)
FIXED = ("hydra.sweep.dir=sweep", "hydra.launcher.slots=2", "global_seed=0", "threads=1")
COMMANDS: Mapping[str, Sequence[str]] = {
    "averages": ("train.py", *DIGITS, "averaged.uniform=true", "averaged.buffers=recomputed"),
    "accumulation": ("train.py", *DIGITS, "hparams.accumulate_steps=2"),
    "hard_examples": ("train.py", *DIGITS, "hparams.hard_examples=[0.2,0.9]"),
    "plateau": ("train.py", *DIGITS, "scheduler=plateau", "hparams.epochs=4"),
    "detection": (
        *("train.py", "task=detection", "model.backbone.name=test_resnet", "hparams.epochs=2"),
        *("averaged.decay=0.5", "hparams.accumulate_steps=2", *ALWAYS),
        *("dataset.num_train=24", "dataset.num_val=6", "dataset.num_test=5"),
    ),
    "keypoints": (
        *("train.py", "task=keypoints", "model.backbone.name=test_resnet", "model.stride=32"),
        *("model.grid=2", "dataset.size_px=64", "hparams.epochs=2", "hparams.batch_size=8"),
        *("averaged.decay=0.5", "hparams.hard_examples=[0.2,0.9]", *ALWAYS),
        *("dataset.num_train=48", "dataset.num_val=12", "dataset.num_test=5"),
    ),
    "multirun": (
        *("train.py", "--multirun", *DIGITS, *FIXED),
        *("optimizer.lr=0.05,0.1", "averaged.decay=0.5,0.9"),
    ),
    "tuning": ("tune.py", *DIGITS, *FIXED, "optimizer.lr=choice(0.02,0.05,0.1)", "n_trials=4"),
}
COUNT = 200


def runs_below(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.rglob("config.yaml") if ".hydra" not in path.parts)


def repeat(command: Sequence[str], folder: Path) -> None:
    """Do what a user does after a kill: resume the run, or give the command again."""
    name, *arguments = command
    if name == "train.py" and "--multirun" not in arguments and (runs := runs_below(folder)):
        arguments = [f"resume={runs[0]}"]
    done = script(name, *arguments, folder=folder)
    assert done.returncode == 0, done.stderr


def results(name: str, folder: Path) -> dict[str, Any]:
    """Return what must not depend on a kill."""
    if name == "tuning":  # a lost trial runs again in another folder, so by learning rate
        study = load_study(study_name="tune", storage=f"sqlite:///{folder / 'sweep' / 'study.db'}")
        complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
        assert len(complete) == 4
        return {str(trial.params["optimizer.lr"]): trial.value for trial in complete}
    runs = runs_below(folder)
    named = {run.name if name == "multirun" else "": run for run in runs}
    return {key: left_behind(run) for key, run in named.items()}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[float, dict[str, Any]]]:
    """The seconds and the results of each command when nothing happens to it."""
    found = {}
    for name, command in COMMANDS.items():
        folder, began = tmp_path_factory.mktemp(name), time.monotonic()
        done = script(*command, folder=folder)
        assert done.returncode == 0, done.stderr
        found[name] = time.monotonic() - began, results(name, folder)
    return found


@pytest.mark.parametrize("number", range(COUNT))
def test_a_command_killed_at_a_random_moment_ends_as_if_it_had_not_been(
    unbroken: Mapping[str, tuple[float, Mapping[str, Any]]], number: int, tmp_path: Path
) -> None:
    name = [*COMMANDS][number % len(COMMANDS)]
    seconds, expected = unbroken[name]
    (tmp_path / "aside").mkdir()
    process = start(*COMMANDS[name], folder=tmp_path, aside=tmp_path / "aside")
    time.sleep(random.Random(number).uniform(0.2, 1.0) * seconds)
    if process.exitcode is None:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    repeat(COMMANDS[name], tmp_path)
    ours = results(name, tmp_path)
    if name == "tuning":
        assert {key: expected.get(key, value) for key, value in ours.items()} == ours
    else:
        assert differences(expected, ours) == []
    for run in runs_below(tmp_path):
        status = json.loads((run / "run.json").read_text())["status"]
        assert status == "finished" or name == "tuning"
