"""Signals to the scripts, as terminals and schedulers send them."""

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest
from processes import ENVIRONMENT, ROOT, SMALL, only_run

pytestmark = pytest.mark.integration
COMMAND = [sys.executable, str(ROOT / "train.py"), *SMALL, "hparams.epochs=1000"]


def default_signals() -> None:
    """Undo that shells let what they start in the background, or with nohup, ignore signals."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def open_terminal() -> None:
    """Make standard input the terminal of a new session."""
    default_signals()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def wait_for_last(folder: Path, process: subprocess.Popen[bytes]) -> None:
    while not list(folder.glob("outputs/*/*/checkpoints/last.pt")):
        assert process.poll() is None, "the run ended before its first checkpoint"
        time.sleep(0.1)


def wait_for_handlers(process: subprocess.Popen[str]) -> None:
    """Wait until a process catches SIGHUP, the last of the signals that it handles first."""
    status, caught = Path(f"/proc/{process.pid}/status"), 0
    while not caught & 1 << (signal.SIGHUP - 1):
        assert process.poll() is None, "the run ended before it handled signals"
        (line,) = [each for each in status.read_text().splitlines() if each.startswith("SigCgt:")]
        caught = int(line.split()[1], 16)
        time.sleep(0.01)


def read_until(done: threading.Event, terminal: int) -> None:
    while not done.is_set():
        if select.select([terminal], [], [], 0.1)[0]:
            os.read(terminal, 1000)


def test_a_run_whose_terminal_is_closed_saves_its_state(tmp_path: Path) -> None:
    shown, terminal = pty.openpty()
    process = subprocess.Popen(
        COMMAND,
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=open_terminal,
    )
    os.close(terminal)
    done = threading.Event()
    reader = threading.Thread(target=read_until, args=(done, shown))
    reader.start()
    try:
        wait_for_last(tmp_path, process)
    finally:
        done.set()
        reader.join()
        os.close(shown)  # the system sends SIGHUP
    assert process.wait(120) == 128 + signal.SIGHUP
    record = json.loads((only_run(tmp_path) / "run.json").read_text())
    assert (record["status"], record["error"]) == ("interrupted", "stopped by SIGHUP")


def test_nohup_keeps_a_run_alive(tmp_path: Path) -> None:
    command = ["nohup", *COMMAND]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL) as run:
        wait_for_last(tmp_path, run)
        run.send_signal(signal.SIGHUP)
        time.sleep(2)
        assert run.poll() is None
        run.send_signal(signal.SIGTERM)
        assert run.wait(120) == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("sign", ["", "run folder"])
def test_a_signal_at_the_start_is_one_line_and_leaves_nothing(
    tmp_path: Path, sign: str, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        COMMAND,
        cwd=tmp_path,
        env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1"},
        preexec_fn=default_signals,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if sign:
        assert process.stdout.readline().startswith(sign)
    else:
        wait_for_handlers(process)
        time.sleep(0.3)  # within the imports
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert errors == "stopped before the run began\n"
    assert not list(tmp_path.iterdir())
