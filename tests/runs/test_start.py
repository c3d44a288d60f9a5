"""A run that starts from the whole state of another: what comes along, and what is its own."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from composing import composed

from visionlab.config.run_config import Invocation
from visionlab.engine.checkpoints import load_last
from visionlab.files.run_folder import read_rows
from visionlab.runs.train import train

pytestmark = pytest.mark.integration

SETTINGS = ("model.depth=8", "hparams.batch_size=500", "threads=1", "device=cpu")
SETTINGS += ("tensorboard=false", "save_predictions=false", "evaluation.test=false")
SETTINGS += ("averaged.decay=[0.5]", "scheduler=constant")


def trained(folder: Path, *overrides: str, start: Path | None = None) -> Path:
    folder.mkdir()
    given = [*SETTINGS, *overrides, *([f"start.run='{start}'"] if start else [])]
    train(composed(*given), Invocation(folder=folder, choices={}, overrides=[]))
    return folder


def resumed(folder: Path, *overrides: str) -> Path:
    config = {**composed(*SETTINGS, *overrides), "resume": str(folder)}
    train(config, Invocation(folder=folder, choices={}, overrides=overrides))
    return folder


def state(folder: Path) -> dict[str, Any]:
    content = load_last(folder / "checkpoints")
    assert content is not None
    return content


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    content = state(folder)
    averages = content["averages"]["ema_0.5"]["module"]
    return content["model"] | {f"ema.{name}": value for name, value in averages.items()}


def assert_equal(one: Path, other: Path) -> None:
    ours, theirs = tensors(one), tensors(other)
    assert ours.keys() == theirs.keys()
    assert not [name for name, value in ours.items() if not torch.equal(value, theirs[name])]


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("start") / "two", "hparams.epochs=2")


@pytest.fixture(scope="module")
def four_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("start") / "four", "hparams.epochs=4")


def test_two_and_two_epochs_are_four(two_epochs: Path, four_epochs: Path, tmp_path: Path) -> None:
    longer = trained(tmp_path / "longer", "hparams.epochs=4", start=two_epochs)
    assert_equal(longer, four_epochs)
    assert read_rows(longer / "metrics.jsonl") == read_rows(four_epochs / "metrics.jsonl")[2:]
    assert (longer / "checkpoints" / "best.pt").is_file()


def test_a_started_run_resumes_exactly_without_the_other(
    two_epochs: Path, four_epochs: Path, tmp_path: Path
) -> None:
    before = shutil.copytree(two_epochs, tmp_path / "before")
    longer = trained(tmp_path / "longer", "hparams.epochs=4", "stop.max_steps=8", start=before)
    assert state(longer)["state"]["step"] == 8
    shutil.rmtree(before)
    assert_equal(resumed(longer, "stop.max_steps=null"), four_epochs)


def test_rate_and_length_are_the_new_runs_own(two_epochs: Path, tmp_path: Path) -> None:
    slow = trained(tmp_path / "slow", "hparams.epochs=3", "optimizer.lr=1e-9", start=two_epochs)
    (row,) = read_rows(slow / "metrics.jsonl")
    assert (row["epoch"], row["lr"]) == (3, 1e-9)
    learnt = {name for name, value in state(slow)["model"].items() if "running" not in name}
    before, after = state(two_epochs)["model"], state(slow)["model"]
    for name in learnt - {name for name in learnt if "num_batches" in name}:
        torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=1e-5)


def test_momentum_and_epochs_may_stay_behind(two_epochs: Path, tmp_path: Path) -> None:
    alone = ("hparams.epochs=1", "start.with_epochs=false")
    moving = trained(tmp_path / "moving", *alone, start=two_epochs)
    still = trained(tmp_path / "still", *alone, "start.with_optimizer=false", start=two_epochs)
    for folder in (moving, still):
        assert [row["epoch"] for row in read_rows(folder / "metrics.jsonl")] == [1]
    different = [
        name for name, each in tensors(moving).items() if not each.equal(tensors(still)[name])
    ]
    assert different


def test_a_new_average_begins_at_the_weights_that_come_along(
    two_epochs: Path, tmp_path: Path
) -> None:
    new = trained(tmp_path / "new", "hparams.epochs=3", "averaged.decay=[0.999]", start=two_epochs)
    average = state(new)["averages"]["ema_0.999"]
    before = state(two_epochs)["model"]["fc.weight"]
    torch.testing.assert_close(average["module"]["fc.weight"], before, atol=1e-2, rtol=0.1)
    assert (
        average["num_updates"] == state(new)["state"]["step"] - state(two_epochs)["state"]["step"]
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["hparams.epochs=2"], r"hparams\.epochs must be > the 2 of start\.run.* got 2"),
        (["hparams.epochs=3", "model.depth=14"], r"start\.run .* weights of another model: layer1"),
        (
            ["hparams.epochs=3", "optimizer=adamw"],
            r"start\.with_optimizer must be false .*Sgd.*Adam",
        ),
        (
            ["hparams.epochs=3", "optimizer.decay_norms_and_biases=false"],
            r"start\.with_optimizer must be false for parameters in other groups",
        ),
    ],
)
def test_a_start_that_does_not_fit_is_refused(
    overrides: list[str], message: str, two_epochs: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        trained(tmp_path / "refused", *overrides, start=two_epochs)


def test_a_run_that_ended_within_an_epoch_gives_only_its_weights(tmp_path: Path) -> None:
    broken = trained(tmp_path / "broken", "hparams.epochs=2", "stop.max_steps=1")
    with pytest.raises(
        ValueError, match=r"start\.with_epochs must be false .* within epoch 1, got true"
    ):
        trained(tmp_path / "refused", "hparams.epochs=2", start=broken)
    trained(tmp_path / "new", "hparams.epochs=1", "start.with_epochs=false", start=broken)


def test_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"start\.run must be the folder of a run, got /no"):
        trained(tmp_path / "refused", "hparams.epochs=2", start=Path("/nowhere"))
