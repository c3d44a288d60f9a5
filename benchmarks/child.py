"""Processes that are measured as a whole."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TRAIN = str(ROOT / "train.py")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a process took; memory is that of its largest moment."""

    seconds: float
    peak_gb: float


def run(command: Sequence[str], *, folder: Path, env: dict[str, str] | None = None) -> Measured:
    """Run Python with some arguments to its end; what it prints goes to stderr.

    Raises:
        RuntimeError: it failed.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *command], cwd=folder, env={**os.environ, **(env or {})}, stdout=sys.stderr
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with exit code {process.returncode}")
    return Measured(seconds=seconds, peak_gb=usage.ru_maxrss / 1e6)
