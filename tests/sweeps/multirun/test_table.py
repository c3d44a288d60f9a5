"""The table of jobs on the terminal."""

import logging
from typing import Any

import pytest

from visionlab.sweeps.multirun.table import log_table


def row(monitor: str, value: float | str) -> dict[str, Any]:
    return {
        **{"job": "a", "state": "finished", "seconds": 1.0, "monitor": monitor, "value": value},
        **{"model": "model", "reason": ""},
    }


def test_the_table_says_which_metric_a_value_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log_table([row("val/top1", 0.5), row("val/top1", "")])
    log_table([row("val/top1", 0.5), row("val/AP", 0.25)])
    one, several = caplog.messages
    assert "best val/top1" in one
    assert "val/top1 0.5000" not in one
    assert "val/top1 0.5000" in several
    assert "val/AP 0.2500" in several
