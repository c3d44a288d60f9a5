"""What a terminal shows."""

import logging
import sys

import pytest

from visionlab.config.terminal import PrintableFormatter, shell_command


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Größe 大 🙂\t| a\n| b", "Größe 大 🙂\t| a\n| b"),
        ("\x1b[31mred\x9b", r"\x1b[31mred\x9b"),
        ("back\rover\x07", r"back\rover\x07"),
        ("\u202eleft to right", r"\u202eleft to right"),
        ("bad\udcff", r"bad\udcff"),
        ("100 % %s {0}", "100 % %s {0}"),
    ],
)
def test_no_text_commands_the_terminal(text: str, shown: str) -> None:
    record = logging.LogRecord("run", logging.INFO, "file", 1, "class %s", (text,), None)
    assert PrintableFormatter("%(message)s").format(record) == f"class {shown}"
