"""`tune.py` as a user runs it."""

import csv
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from processes import script, send, start

from visionlab.files.run_folder import read_rows

pytestmark = pytest.mark.integration

TINY = ["model.depth=8", "hparams.epochs=2", "tensorboard=false", "device=cpu", "n_trials=3"]
# the second epoch is pruned wherever its number is not above that of one trial before
EAGER = ["pruner.n_startup_trials=1", "pruner.n_warmup_steps=0", "hydra.sweep.dir=tune/small"]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned")
    done = script("tune.py", *TINY, *EAGER, folder=folder)
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    return folder / "tune" / "small"


def test_a_tuning_leaves_a_run_for_each_trial_and_its_table(tuned: Path) -> None:
    table = rows(tuned)
    assert len(table) == 3
    for number, row in enumerate(table):
        run = tuned / row["folder"]
        assert row["folder"].startswith(f"{number}_optimizer.lr-")
        status = json.loads((run / "run.json").read_text())["status"]
        assert status == {"complete": "finished", "pruned": "pruned"}[row["state"]]
        numbers = [each["val/model/top1"] for each in read_rows(run / "metrics.jsonl")]
        assert len(numbers) == int(row["epochs"])
        assert float(row["value"]) == (max(numbers) if row["state"] == "complete" else numbers[-1])


def test_what_tune_says(tuned: Path) -> None:
    said = (tuned.parents[1] / "stdout.txt").read_text()
    assert len(re.findall(r"\b[123]/3: optimizer\.lr [\d.e-]+, ", said)) == 3
    assert "alembic" not in said
    assert f"watch it with: optuna-dashboard sqlite:///{tuned / 'study.db'}\n" in said
    best = (tuned / "best_overrides.txt").read_text()
    assert re.fullmatch(
        r"model\.depth=8 hparams\.epochs=2 tensorboard=False device=cpu optimizer\.lr=[\d.e-]+\n",
        best,
    )
    assert f"train with it: python train.py {best}" in said


def test_the_run_of_a_trial_is_like_any_other(tuned: Path, tmp_path: Path) -> None:
    run = tuned / rows(tuned)[0]["folder"]
    config = OmegaConf.load(run / "config.yaml")
    assert not {"n_trials", "study", "objective", "pruner", "trial", "max_failures"} & set(config)
    assert "test" not in json.loads((run / "run.json").read_text())["results"]
    done = script("eval.py", f"run={run}", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "evaluation_test.json").read_text())["model"]["top1"] > 0


def test_a_study_that_is_done_trains_nothing(tuned: Path) -> None:
    before = (tuned / "trials.csv").read_text()
    done = script("tune.py", *TINY, *EAGER, folder=tuned.parents[1])
    assert done.returncode == 0, done.stderr
    assert "epoch" not in done.stdout.split("best is")[0]
    assert (tuned / "trials.csv").read_text() == before


def test_other_settings_are_another_study(tuned: Path) -> None:
    done = script("tune.py", *TINY, *EAGER, "hparams.epochs=3", folder=tuned.parents[1])
    assert done.returncode == 1
    assert re.fullmatch(r"error: settings must be .* got .*hparams.epochs=3.*\n", done.stderr)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)]
)
def test_a_study_ended_from_outside_goes_on_to_its_total(
    number: signal.Signals, tmp_path: Path
) -> None:
    arguments = [*TINY, "n_trials=1", "hydra.sweep.dir=tune/small"]
    process = start("tune.py", *arguments, folder=tmp_path)
    folder = tmp_path / "tune" / "small"
    while not list(folder.glob("0_*/metrics.jsonl")):
        assert process.is_alive()
        time.sleep(0.01)
    assert send(process, number) == (143 if number == signal.SIGTERM else -signal.SIGKILL)
    done = script("tune.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    table = rows(folder)
    assert [row["state"] for row in table] == ["fail", "complete"]
    assert table[0]["optimizer.lr"] == table[1]["optimizer.lr"]
    assert table[0]["reason"].endswith("; requeued")


def test_a_terminated_tuning_goes_on_to_the_result_of_an_undisturbed_one(
    tuned: Path, tmp_path: Path
) -> None:
    process = start("tune.py", *TINY, *EAGER, folder=tmp_path, aside=tmp_path)
    folder = tmp_path / "tune" / "small"
    while not list(folder.glob("1_*/metrics.jsonl")):
        assert process.is_alive()
        time.sleep(0.01)
    assert send(process, signal.SIGTERM) == 128 + signal.SIGTERM
    assert (tmp_path / "stderr").read_text() == "stopped by SIGTERM\n"
    done = script("tune.py", *TINY, *EAGER, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    columns = ("state", "value", "epochs", "optimizer.lr")
    ended = [[row[name] for name in columns] for row in rows(folder) if row["state"] != "fail"]
    assert ended == [[row[name] for name in columns] for row in rows(tuned)]
    assert len(rows(folder)) == len(ended) + 1


def test_a_trial_that_is_tried_again_goes_on(tmp_path: Path) -> None:
    arguments = [*TINY, "hparams.epochs=4", "n_trials=1", "hydra.launcher.retries=1"]
    process = start("tune.py", *arguments, "hydra.sweep.dir=tune/small", folder=tmp_path)
    folder = tmp_path / "tune" / "small"
    while not list(folder.glob("0_*/checkpoints/last.pt")):
        assert process.is_alive()
        time.sleep(0.01)
    children = Path("/proc", str(process.pid), "task", str(process.pid), "children").read_text()
    os.kill(int(children.split()[0]), signal.SIGKILL)
    process.join(120)
    assert process.exitcode == 0
    (row,) = rows(folder)
    run = folder / row["folder"]
    assert row["state"] == "complete"
    assert json.loads((run / "run.json").read_text())["num_starts"] == 2
    numbers = [each["val/model/top1"] for each in read_rows(run / "metrics.jsonl")]
    assert len(numbers) == 4
    assert float(row["value"]) == max(numbers)


def test_the_sweeper_of_hydra_can_still_be_chosen(tmp_path: Path) -> None:
    arguments = [*TINY, "hparams.epochs=1", "n_trials=1", "hydra/sweeper=optuna"]
    done = script("tune.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "tune").iterdir()
    best = OmegaConf.load(folder / "optimization_results.yaml")
    assert 0.0 < best.best_value < 1.0
    assert (folder / "study.db").is_file()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("n_trials=0", "n_trials must be >= 1, got 0"),
        ("hydra.sweeper.n_jobs=0", "n_jobs must be >= 1, got 0"),
        ("optimzer.lr=1,2", "optimzer.lr must be a setting; .* optimizer.lr[?]"),
        ("optimizer.lr=abc,1", ".*optimizer.lr must be a number, got 'abc'"),
        ("optimizer.lr=interval(1,0)", r"optimizer.lr must be an interval from .* interval\(1,0\)"),
        (
            "optimizer.lr=0.1",
            "at least one key must have a search space, e.g. optimizer.lr=0.1,1",
        ),
        (
            "scheduler=interval(0,1)",
            "scheduler must be a choice of the files in conf/scheduler, .*",
        ),
        ("scheduler=cosine,cosin", ".*Could not find 'scheduler/cosin'; .*"),
        ("optimizer.lr=interval(-1,1)", "optimizer.lr must be > 0, got -1.0"),
        ("pruner.n_startup_trials=-1", "pruner.Number of startup trials cannot be negative.*"),
        ("hparams.epochs=interval(2,5)", ".*hparams.epochs must be a whole number, got 2.0"),
        ("n_trials=1,2", "n_trials must be one value, got a space"),
        ("objective=best", "objective must be raw or averaged, got best"),
        ("resume=x", "resume must be null in a tuning, got x"),
        ("trial=3", "trial must be left to the sweeper, got 3"),
        ("study=foo", "study must be a storage URL like sqlite:///FILE, got foo"),
        ("hydra/sweeper/sampler=grid", "hydra/sweeper/sampler must draw points one by one, .*"),
        ("optimizer.lr=range(1,inf)", r"optimizer.lr must be a range .*, got range\(1,inf\)"),
        ("device=nonsense", "device must be auto, cpu, cuda or cuda:N, got 'nonsense'"),
        ("dataset.val.split=0.0001", "dataset must have a val split to tune on, got none"),
        ("model.checkpoint=nowhere.pt", "nowhere.pt must be a file, got nothing"),
    ],
)
def test_a_mistake_is_one_line_before_the_first_trial(
    argument: str, message: str, tmp_path: Path
) -> None:
    done = script("tune.py", argument, "hydra.sweep.dir=tune/none", folder=tmp_path)
    assert done.returncode in (1, 2)
    assert re.fullmatch(f"error: {message}\n", done.stderr)
    assert done.stdout == ""
    assert not (tmp_path / "tune" / "none").exists()


def test_absent_data_are_one_line_before_the_first_trial(tmp_path: Path) -> None:
    arguments = ["dataset=imagefolder", f"dataset.root={tmp_path / 'nowhere'}"]
    done = script("tune.py", *arguments, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: dataset.root must be a folder, looked for {tmp_path / 'nowhere'}\n"
    )
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


def test_an_average_must_be_there_to_be_tuned(tmp_path: Path) -> None:
    done = script("tune.py", "objective=averaged", "averaged=ema,none", folder=tmp_path)
    assert done.stderr == "error: objective must be raw for a run without averages, got averaged\n"
