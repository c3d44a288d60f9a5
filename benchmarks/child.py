"""Processes that are measured as a whole."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TRAIN = str(ROOT / "train.py")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Time and largest memory of a process, and the CPU time of it and all below it."""

    seconds: float
    cpu_seconds: float
    peak_gb: float


def run(
    arguments: Sequence[str], *, folder: Path, env: Mapping[str, str] | None = None
) -> Measured:
    """Run Python with some arguments to its end; what it prints goes to stderr.

    A small process in between starts it, since Linux counts the memory of whoever does.

    Raises:
        RuntimeError: it failed.
    """
    with tempfile.NamedTemporaryFile() as file:
        command = [sys.executable, __file__, file.name, sys.executable, *arguments]
        environment = {**os.environ, **(env or {})}
        done = subprocess.run(command, cwd=folder, env=environment, stdout=sys.stderr, check=False)
        if done.returncode:
            raise RuntimeError(f"{arguments} ended with exit code {done.returncode}")
        return Measured(**json.loads(Path(file.name).read_text()))


def measure(file: Path, command: Sequence[str]) -> int:
    """Run a command, write what it took, return its exit code."""
    began = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    found = {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_gb": usage.ru_maxrss / 1e6,
    }
    file.write_text(json.dumps(found))
    process.returncode = os.waitstatus_to_exitcode(status)
    return abs(process.returncode)


if __name__ == "__main__":
    sys.exit(measure(Path(sys.argv[1]), sys.argv[2:]))
