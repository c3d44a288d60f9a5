"""What a terminal shows."""

import sys

import pytest

from visionlab.config.terminal import shell_command


@pytest.mark.parametrize(
    ("started", "command"),
    [
        ("train.py", "python eval.py 'run=a b'"),
        ("/lab/.venv/bin/visionlab", "visionlab eval 'run=a b'"),
        ("/lab/visionlab/__main__.py", "visionlab eval 'run=a b'"),
        ("/lab/pytest/__main__.py", "python eval.py 'run=a b'"),
    ],
)
def test_commands_are_shown_in_the_form_in_which_the_program_was_started(
    monkeypatch: pytest.MonkeyPatch, started: str, command: str
) -> None:
    monkeypatch.setattr(sys, "argv", [started, "hparams.epochs=1"])
    assert shell_command("eval", "run=a b") == command
