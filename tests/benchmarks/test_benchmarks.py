"""Each benchmark runs, and prints what it measured."""

import importlib.util
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from processes import ENVIRONMENT, ROOT

from visionlab.tasks.classification.model import ResNetCifar

pytestmark = pytest.mark.integration


def rows_of(script: str, *arguments: str) -> list[str]:
    """Run a benchmark; return the rows of its tables that hold a number."""
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    done = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return re.findall(r"^\| [^|]+ \| -?\d.*\|$", done.stdout, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("script", "num_rows"),
    [
        ("speed.py", 12),
        ("detection.py", 18),
        ("keypoints.py", 10),
        ("fasterrcnn.py", 5),
        ("moco.py", 5),
        ("oriented.py", 4),
    ],
)
def test_a_smoke_run_prints_its_tables(script: str, num_rows: int) -> None:
    assert len(rows_of(script, "--smoke", "--threads=1")) == num_rows


def test_a_smoke_run_of_fusion_prints_its_tables() -> None:
    sides = 2 if importlib.util.find_spec("ensemble_boxes") else 1
    assert len(rows_of("fuse.py", "--smoke")) == 8 * sides + 8


def test_a_smoke_run_of_the_gpu_benchmark_prints_its_tables(tmp_path: Path) -> None:
    assert len(rows_of("gpu.py", "--smoke", f"--json={tmp_path / 'gpu.json'}")) == 37
    assert len(json.loads((tmp_path / "gpu.json").read_text())) == 13


@pytest.mark.parametrize(
    ("part", "num_rows"),
    [("sharing", 3), ("skipping", 1), ("planning", 1), ("launching", 1), ("slots", 1)],
)
def test_a_smoke_run_of_a_part_of_sweeps_prints_its_rows(part: str, num_rows: int) -> None:
    assert len(rows_of("sweeps.py", "--smoke", f"--only={part}")) == num_rows


def test_a_subset_has_the_first_images(tmp_path: Path) -> None:
    noise, few = tmp_path / "noise", tmp_path / "few"
    assert len(rows_of("cifar_subset.py", f"--out={noise}", "--images=3")) == 7
    assert len(rows_of("cifar_subset.py", f"--root={noise}", f"--out={few}", "--images=2")) == 7
    pixels, kept = (
        pickle.loads((folder / "cifar-10-batches-py/data_batch_2").read_bytes())["data"]
        for folder in (noise, few)
    )
    assert (kept == pixels[:2]).all()
    assert kept.shape == (2, 3072)


def test_grouped_networks_compute_what_each_computes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    grouped = importlib.import_module("grouped")
    torch.manual_seed(0)
    singles = [ResNetCifar(depth=20)(num_classes=10) for _ in range(3)]
    together = grouped.GroupedCifarNet(3)
    parameters = zip(*(single.parameters() for single in singles), strict=True)
    with torch.no_grad():
        for ours, theirs in zip(together.parameters(), parameters, strict=True):
            ours.copy_(torch.cat(theirs).view_as(ours))
    images = torch.randn(3, 4, 3, 32, 32)
    wanted = torch.stack([single(each) for single, each in zip(singles, images, strict=True)], 1)
    torch.testing.assert_close(together(images.transpose(0, 1).flatten(1, 2)), wanted)
