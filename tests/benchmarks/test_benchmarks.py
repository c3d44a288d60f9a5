"""Each benchmark runs, and prints what it measured."""

import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
from processes import ENVIRONMENT, ROOT

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
    ("script", "num_rows"), [("speed.py", 12), ("detection.py", 18), ("keypoints.py", 10)]
)
def test_a_smoke_run_prints_its_tables(script: str, num_rows: int) -> None:
    assert len(rows_of(script, "--smoke", "--threads=1")) == num_rows


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
