"""What a run says without a terminal."""

import logging
from pathlib import Path

import pytest
from siblings import TASKS

from visionlab.engine import evaluation, progress
from visionlab.engine.progress import Terminal, log_metrics
from visionlab.engine.speed import describe_speed
from visionlab.engine.state import TrainState
from visionlab.testing.training import train

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("name", TASKS)
def test_a_line_an_epoch_with_the_monitored_number_of_each_model(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    task = TASKS[name]()
    observer = Terminal(TrainState(), total_steps=9, epochs=3, monitor=task.monitor)
    rows = train(TASKS[name], tmp_path, observers=[observer]).rows
    observer.close()
    lines = [message for message in caplog.messages if message.startswith("epoch ")]
    assert len(lines) == 3
    for line, row in zip(lines, rows, strict=True):
        assert line.count(f"train loss {row['train/loss']:.4f}") == 1
        for model in ("model", "ema_0.5"):
            is_best = " (best)" if row[f"best/{model}"] else ""
            assert f"{model} {row[f'val/{model}/{task.monitor}']:.4f}{is_best}  " in line
        assert f"train loss {row['train/loss']:.4f} (median {row['train/loss_median']:.4f})" in line


def test_a_table_a_split_with_a_line_a_model(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log_metrics({"test": {"model": {"top1": 0.5}, "ema_0.9": {"top1": 0.75}}, "train": {}})
    assert "0.7500" in caplog.text
    assert caplog.text.index("model") < caplog.text.index("ema_0.9")


def test_a_single_part_of_the_loss_is_shown_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    one = {"loss": 0.5, "cross_entropy": 0.5, "top1": 0.5}
    log_metrics({"test": {"model": one, "best": {**one, "top1": 0.75}}})
    log_metrics({"test": {"model": {"loss": 0.75, "box_loss": 0.5, "class_loss": 0.25}}})
    first, second = caplog.messages
    assert "loss" in first
    assert "cross_entropy" not in first
    assert "top1" in first
    assert "box_loss" in second
    assert "class_loss" in second


@pytest.mark.parametrize("name", TASKS)
def test_long_epochs_and_evaluations_have_lines_of_their_own(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (progress, evaluation):
        monkeypatch.setattr(module, "SILENT_SECONDS", 0.0)
    caplog.set_level(logging.INFO)
    task = TASKS[name]()
    observer = Terminal(TrainState(), total_steps=9, epochs=3, monitor=task.monitor)
    train(TASKS[name], tmp_path, observers=[observer])
    observer.close()
    steps = [message for message in caplog.messages if "  step " in message]
    assert len(steps) == 9
    assert all("image" in each and " left" in each and "  lr " in each for each in steps)
    assert "step 9/9" in steps[-1]
    assert steps[-1].endswith("0:00:00 left")
    assert all("  loss " in each for each in steps)
    if "val" in task.splits:
        assert f"evaluating: 0 of {len(task.splits['val'])} images" in caplog.text


@pytest.mark.parametrize(
    ("count", "seconds", "speed"),
    [
        (5, 16.0, "3.2 s/image"),
        (1, 1.0, "1.0 images/s"),
        (3, 2.0, "1.5 images/s"),
        (5000, 2.0, "2,500 images/s"),
        (0, 1.0, "0.0 images/s"),
        (1, 3600.0, "3,600.0 s/image"),
    ],
)
def test_a_speed_below_one_is_seconds_per_image(count: int, seconds: float, speed: str) -> None:
    assert describe_speed(count, seconds) == speed
