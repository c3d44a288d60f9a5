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
    """Run a benchmark; return the rows of its tables whose last column begins with a number."""
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    done = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return re.findall(r"^\|.+\| -?\d[^|]*\|$", done.stdout, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("script", "num_rows"),
    [
        ("start.py", 5),
        ("speed.py", 18),
        ("evaluation.py", 6),
        ("many_runs.py", 4),
        ("detection.py", 26),
        ("keypoints.py", 14),
        ("fasterrcnn.py", 7),
        ("moco.py", 8),
        ("oriented.py", 6),
    ],
)
def test_a_smoke_run_prints_its_tables(script: str, num_rows: int) -> None:
    assert len(rows_of(script, "--smoke", "--threads=1")) == num_rows


def test_a_smoke_run_of_fusion_prints_its_tables() -> None:
    num_rows = 26 if importlib.util.find_spec("ensemble_boxes") else 16
    assert len(rows_of("fuse.py", "--smoke")) == num_rows


def test_a_smoke_run_of_the_gpu_benchmark_prints_its_tables(tmp_path: Path) -> None:
    assert len(rows_of("gpu.py", "--smoke", f"--json={tmp_path / 'gpu.json'}")) == 37
    assert len(json.loads((tmp_path / "gpu.json").read_text())["results"]) == 13


@pytest.mark.parametrize("name", ["digits", "digit_scenes", "drawn_faces"])
def test_a_smoke_run_of_whole_runs_accounts_for_the_whole_time(name: str, tmp_path: Path) -> None:
    file = tmp_path / "whole.json"
    rows_of("whole_runs.py", "--smoke", "--threads=1", f"--only={name}", f"--json={file}")
    table, whole, epochs = json.loads(file.read_text())["results"]
    phases = {phase: float(seconds) for phase, seconds, _ in table["rows"]}
    assert {"forward and loss", "backward", "optimizer step", "validation"} < phases.keys()
    assert min(phases.values()) >= 0.0
    total = float(table["title"].rsplit(": ")[-1].removesuffix(" s"))
    assert sum(phases.values()) == pytest.approx(total, abs=0.05 * len(phases))
    assert 0.0 < whole["values"][0] < epochs["values"][0] < 100.0


def test_a_smoke_run_of_all_rewrites_the_sections_of_those_that_succeed(tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    text = (ROOT / "benchmarks/RESULTS.md").read_text()
    results.write_text(text)
    command = [sys.executable, str(ROOT / "benchmarks/run_all.py"), "--smoke", "--threads=1"]
    command += [f"--results={results}", "--only=oriented,nothing,fasterrcnn"]
    done = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 1
    assert "nothing: " in done.stderr
    parts = re.split(r"<!-- (?:end of )?(?:oriented|fasterrcnn)\.py -->", results.read_text())
    before = re.split(r"<!-- (?:end of )?(?:oriented|fasterrcnn)\.py -->", text)
    assert parts[::2] == before[::2]
    for section, name in zip(parts[1::2], ("fasterrcnn", "oriented"), strict=True):
        assert f"    python benchmarks/{name}.py --smoke" in section
        assert re.search(
            r"threads 1, load .* before, .* after\.\nTook \d+ s, \d+ s of CPU", section
        )
        assert "| visionlab |" in section


@pytest.mark.parametrize(
    ("part", "num_rows"),
    [
        ("sharing", 4),
        ("skipping", 1),
        ("planning", 3),
        ("launching", 1),
        ("digits", 2),
        ("slots", 1),
    ],
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
