"""Class names, file names and paths with any characters, in whole runs."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from nasty import NASTY
from PIL import Image
from processes import ENVIRONMENT, ROOT, only_run, script

pytestmark = pytest.mark.integration
SETTINGS = [
    "dataset=imagefolder",
    "dataset.size_px=16",
    "dataset.num_workers=0",
    "augment.pad_px=2",
    "model=resnet20",
    "model.depth=8",
    "hparams.epochs=1",
    "hparams.batch_size=32",
    "threads=1",
    "device=cpu",
]


def write_folder(root: Path) -> None:
    """Write images into folders with the vocabulary's names, in files with such names."""
    for number, text in enumerate(NASTY):
        name = re.sub(r"/", "%", text)[:100]
        (root / name).mkdir(parents=True)
        for place in range(8):
            image = Image.new("RGB", (16, 16), (8 * number, 30 * place, 100))
            image.save(root / name / f"{name} {place}.png")


def commands_of_users(text: str) -> list[str]:
    """Return what the vocabulary has and a terminal would obey."""
    return re.findall(r"\x1b\[31m|\x07|\u202e|back\rover", text)


def test_runs_and_evaluations_show_them_as_text(tmp_path: Path) -> None:
    root = tmp_path / "a [b] (1) & $x_1$ # 50% 🙂"
    write_folder(root)
    done = script("train.py", *SETTINGS, f"dataset.root={root}", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    run = only_run(tmp_path)
    assert not commands_of_users(done.stdout + (run / "run.log").read_text())
    done = script("eval.py", f"run={run}", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    done = script("plots.py", f"runs={run}", "report=true", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_obeys_none_of_them(tmp_path: Path) -> None:
    write_folder(tmp_path / "data")
    command = [sys.executable, str(ROOT / "train.py"), *SETTINGS, "dataset.root=data"]
    shown, terminal = pty.openpty()
    with subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stdout=terminal, stderr=terminal
    ) as process:
        os.close(terminal)
        text = b""
        try:
            while piece := os.read(shown, 10_000):
                text += piece
        except OSError:  # the terminal is closed
            pass
    os.close(shown)
    assert process.returncode == 0, text
    assert not commands_of_users(text.decode())


def test_names_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    for name in ("a", os.fsdecode(b"bad\xff")):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(tmp_path / "data" / name / "1.png")
    done = script("train.py", *SETTINGS, "dataset.root=data", folder=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"error: names .* must be UTF-8, got '.*bad\\udcff.*'\n", done.stderr)
