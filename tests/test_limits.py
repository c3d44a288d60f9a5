"""Limits of a machine end a script in one line that names them."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from processes import ENVIRONMENT, ROOT, SMALL

pytestmark = pytest.mark.integration
FOLDER = [
    "dataset=imagefolder",
    "dataset.root=data",
    "dataset.size_px=16",
    "augment.pad_px=2",
    "model=resnet20",
    "model.depth=8",
    "hparams.epochs=1",
    "hparams.batch_size=4",
    "threads=1",
    "device=cpu",
]


def limited(limit: str, *command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script under a limit of bash's `ulimit`."""
    return subprocess.run(
        ["bash", "-c", f'ulimit {limit}; exec "$@"', "bash", sys.executable, *command],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("train.py", SMALL),
        ("train.py", ["--multirun", *SMALL, "global_seed=0,1"]),
        ("tune.py", [*SMALL, "n_trials=1", "optimizer.lr=interval(0.01,0.1)"]),
        ("eval.py", ["run=."]),
    ],
    ids=["train", "multirun", "tune", "eval"],
)
def test_too_little_address_space(name: str, arguments: list[str], tmp_path: Path) -> None:
    done = limited("-v 3000000", str(ROOT / name), *arguments, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: memory must hold the program")
    assert "(ulimit -v), got a limit of 2929 MiB" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("limit", [6, 16, 24])
def test_too_few_open_files_for_workers(limit: int, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(12):
            image = Image.new("RGB", (16, 16), (20 * number, 90, 255 * (name == "a")))
            image.save(tmp_path / "data" / name / f"{number}.png")
    done = limited(f"-n {limit}", str(ROOT / "train.py"), *FOLDER, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the limit of open files must allow")
    assert f"(ulimit -n), got {limit};" in done.stderr
    assert done.stderr.count("\n") == 1


def test_few_open_files_are_enough_without_workers(tmp_path: Path) -> None:
    command = [str(ROOT / "train.py"), *SMALL, "hparams.epochs=1", "threads=1"]
    done = limited("-n 24", *command, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
