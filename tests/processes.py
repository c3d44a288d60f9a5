"""Scripts as a user runs them: in processes of their own, in a folder of their own."""

import atexit
import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from visionlab.files.run_folder import read_rows
from visionlab.files.tensors import read_tensors
from visionlab.runs import processes as run_processes
from visionlab.sweeps.launcher import forkserver

ROOT = Path(__file__).parents[1]
# two epochs of 11 steps on the embedded digits, a few seconds
SMALL = ["model.depth=8", "hparams.epochs=2", "averaged.decay=[0.5,0.9]", "device=cpu"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HYDRA_FULL_ERROR": "0"}


# importing torch and timm takes longer than most of these runs: each process is forked from one
# that has imported them and nothing else; `python train.py` itself runs in test_scripts.py
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "visionlab.runs.train",
        "visionlab.runs.evaluate",
        "visionlab.runs.predict",
        "visionlab.sweeps.workers.trial",
        "torch.utils.tensorboard",
        "sklearn.datasets",
        "timm",
    ]
)


def script(name: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script to its end."""
    with tempfile.TemporaryDirectory() as aside:
        process = start(name, *arguments, folder=folder, aside=Path(aside))
        process.join(300)
        assert process.exitcode is not None, "the script did not end within 300 seconds"
        out, err = (Path(aside, name).read_text() for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess([name, *arguments], process.exitcode, out, err)


def start(
    name: str,
    *arguments: str,
    folder: Path,
    aside: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> BaseProcess:
    """Start a script; what it prints goes to files in `aside`."""
    settings = {**ENVIRONMENT, **(environment or {})}
    process = FORKS.Process(target=_run, args=(ROOT / name, arguments, folder, aside, settings))
    process.start()
    return process


def _run(
    path: Path,
    arguments: Sequence[str],
    folder: Path,
    aside: Path | None,
    environment: Mapping[str, str],
) -> None:
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        target = os.devnull if aside is None or name == "stdin" else str(aside / name)
        os.dup2(os.open(target, os.O_RDWR | os.O_CREAT), number)
    os.environ.update(environment)
    os.chdir(folder)
    torch.set_num_threads(1)
    # what a multirun starts is forked from this process, which has imported torch; the real way is
    # tested in test_scripts.py
    forkserver.CONTEXT = run_processes.CONTEXT = multiprocessing.get_context("fork")
    if path.name == "tune.py":
        from visionlab.sweeps.tuning import tuning  # slow to import

        # a fork during a write to SQLite would find the file locked by itself, for ever
        tuning.HEARTBEAT_SECONDS = 1e6
    sys.argv = [str(path), *arguments]
    sys.path[0] = str(path.parent)
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # which a forked process leaves out


def only_run(folder: Path) -> Path:
    """Return the one run folder below `folder`."""
    (found,) = folder.glob("outputs/*/*")
    return found


def wait_for_checkpoint(folder: Path, process: BaseProcess) -> None:
    """Wait until a run below `folder` has written its first checkpoint."""
    while not list(folder.glob("outputs/*/*/checkpoints/last.pt")):
        assert process.is_alive(), "the run ended before its first checkpoint"
        time.sleep(0.01)


def wait_for_checkpoints(folder: Path, process: BaseProcess, *, count: int) -> None:
    """Wait until the one run below `folder` has written `last.pt` about so many times."""
    wait_for_checkpoint(folder, process)
    path = only_run(folder) / "checkpoints" / "last.pt"
    seen: set[int] = set()
    while len(seen) < count:
        assert process.is_alive(), f"the run ended before it had written {count} checkpoints"
        with contextlib.suppress(FileNotFoundError):  # between two renames
            seen.add(path.stat().st_mtime_ns)
        time.sleep(0.002)


def send(process: BaseProcess, number: signal.Signals) -> int:
    """Send a signal, unless the process has ended by itself, and return the exit code."""
    assert process.pid is not None
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def left_behind(run: Path) -> dict[str, Any]:
    """Return what must be equal in equal runs: weights, averages, rows, results, predictions."""
    last = read_tensors(run / "checkpoints" / "last.pt", require_checksum=True)
    last["state"]["seconds"] = 0.0
    files = {
        path.name: read_tensors(path, require_checksum=True)["model"]
        for path in sorted((run / "checkpoints").glob("*.pt"))
        if path.name not in ("last.pt", "previous.pt")
    }
    arrays = {}
    for path in sorted((run / "predictions").glob("*.npz")):
        with np.load(path) as content:
            arrays[path.name] = dict(content)
    return {
        "last": {key: last[key] for key in ("state", "model", "optimizer", "averages")},
        "files": files,
        "rows": read_rows(run / "metrics.jsonl"),
        "text": (run / "metrics.jsonl").read_text(),
        "predictions": arrays,
    }


def differences(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """Return the places where two nested containers differ, bit for bit."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if ours.keys() != theirs.keys():
            return [f"{where}: keys {ours.keys() ^ theirs.keys()}"]
        return [
            found for key in ours for found in differences(ours[key], theirs[key], f"{where}/{key}")
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [
            found
            for index, pair in enumerate(zip(ours, theirs, strict=True))
            for found in differences(*pair, f"{where}/{index}")
        ]
    if isinstance(ours, torch.Tensor):
        return [] if torch.equal(ours, theirs) else [where]
    if isinstance(ours, np.ndarray):
        return [] if np.array_equal(ours, theirs) else [where]
    return [] if ours == theirs else [f"{where}: {ours} and {theirs}"]
