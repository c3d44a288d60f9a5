"""Scripts as a user runs them: in processes of their own, in a folder of their own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from visionlab.engine.observers import read_rows
from visionlab.storage import read_tensors

ROOT = Path(__file__).parents[1]
# two epochs of 11 steps on the embedded digits, a few seconds
SMALL = ["model.depth=8", "hparams.epochs=2", "averaged.decay=[0.5,0.9]", "device=cpu"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HYDRA_FULL_ERROR": "0"}


def script(name: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script to its end."""
    return subprocess.run(
        [sys.executable, str(ROOT / name), *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def start(name: str, *arguments: str, folder: Path) -> subprocess.Popen[str]:
    """Start a script."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / name), *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def only_run(folder: Path) -> Path:
    """Return the one run folder below `folder`."""
    (found,) = folder.glob("outputs/*/*")
    return found


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a run below `folder` has written its first checkpoint."""
    while not list(folder.glob("outputs/*/*/checkpoints/last.pt")):
        assert process.poll() is None, "the run ended before its first checkpoint"
        time.sleep(0.01)


def send(process: subprocess.Popen[str], number: signal.Signals) -> int:
    """Send a signal and return the exit code."""
    process.send_signal(number)
    return process.wait(timeout=120)


def left_behind(run: Path) -> dict[str, Any]:
    """Return what must be equal in equal runs: weights, averages, rows, results, predictions."""
    last = read_tensors(run / "checkpoints" / "last.pt", sealed=True)
    last["state"]["seconds"] = 0.0
    files = {
        path.name: read_tensors(path, sealed=True)["model"]
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
