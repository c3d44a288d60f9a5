"""What a run says without a terminal."""

import logging
from pathlib import Path

import pytest
from siblings import TASKS

from visionlab.engine.progress import Terminal, log_metrics
from visionlab.engine.state import TrainState
from visionlab.testing.training import train


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
            assert f"{model} {row[f'val/{model}/{task.monitor}']:.4f}" in line


def test_a_table_a_split_with_a_line_a_model(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log_metrics({"test": {"model": {"top1": 0.5}, "ema_0.9": {"top1": 0.75}}, "train": {}})
    assert "0.7500" in caplog.text
    assert caplog.text.index("model") < caplog.text.index("ema_0.9")
