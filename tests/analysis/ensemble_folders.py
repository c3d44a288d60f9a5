"""Files of ensembles as `eval.py` leaves them in run folders, with made-up numbers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visionlab.files.atomic import csv_text

NUM_BINS = 15
OTHERS = ("ensemble", "greedy", "fitted", "soup")


def content(members: Sequence[str], *, seed: int = 1) -> dict[str, Any]:
    """Return what `ensemble_<split>.json` holds for some members."""
    draw, count = np.random.default_rng(seed), len(members)
    names = [*members, *OTHERS]
    values = [{"size": size, "value": float(draw.random())} for size in range(1, count + 1)]
    return {
        "task": "classification",
        "samples": [360, "1babd454"],
        "members": list(members),
        "best_member": members[-1],
        "metrics": {name: {"top1": float(draw.random()), "top5": 1.0} for name in names},
        "by_size": {
            "metric": "top1",
            "subsets": [_subsets(size, draw) for size in range(1, count + 1)],
            "last": values,
            "spread": values[::2],
        },
        "diversity": {
            "disagreement": 0.5,
            "pairs": {"disagreement": draw.random((count, count)).tolist()},
        },
        "calibration": {name: {"ece": 0.1, "reliability": _bins(draw)} for name in names},
        "costs": {},
    }


def _subsets(size: int, draw: np.random.Generator) -> dict[str, float]:
    low, mean, high = sorted(draw.random(3).tolist())
    return {"size": size, "num_subsets": 5, "mean": mean, "low": low, "high": high}


def _bins(draw: np.random.Generator) -> dict[str, list[float]]:
    accuracy = draw.random(NUM_BINS)
    return {
        "bins": list(range(NUM_BINS)),
        "counts": [24] * NUM_BINS,
        "confidence": np.sort(draw.random(NUM_BINS)).tolist(),
        "accuracy": accuracy.tolist(),
        "low": (0.9 * accuracy).tolist(),
        "high": (0.9 * accuracy + 0.1).tolist(),
    }


def write_ensemble(
    run: Path, members: Sequence[str], *, split: str = "test", **changes: Any
) -> dict[str, Any]:
    """Write the file of an ensemble into a folder; return its content."""
    run.mkdir(parents=True, exist_ok=True)
    written = content(members) | changes
    (run / f"ensemble_{split}.json").write_text(json.dumps(written))
    return written


def spread(*, seed: int = 1) -> dict[str, list[float]]:
    """Return error of landmarks against spread of members."""
    draw = np.random.default_rng(seed)
    rising = np.sort(draw.random(NUM_BINS))
    error = (2.0 * rising + 0.1 * draw.random(NUM_BINS)).tolist()
    return {"counts": [9] * NUM_BINS, "spread": rising.tolist(), "error": error}


def write_overlap(run: Path, names: Sequence[str], values: Any, *, split: str = "test") -> Path:
    """Write the table of overlaps."""
    path = run / f"ensemble_{split}" / "overlap" / "overlap_matrix.csv"
    rows = [[name, *row] for name, row in zip(names, np.asarray(values).tolist(), strict=True)]
    return _write(path, [["model", *names], *rows])


def write_classes(
    run: Path,
    classes: Mapping[str, Sequence[float | str]],
    *,
    name: str = "class_wise_top1.csv",
    split: str = "test",
) -> Path:
    """Write the table of classes; values are those of its columns."""
    path = run / f"ensemble_{split}" / "compare_metrics" / name
    header = ["class", "mean", "0.25", "0.75", "min", "max", "nr_occur", "ensemble"]
    return _write(path, [header, *([key, *row] for key, row in classes.items())])


def _write(path: Path, rows: Sequence[Sequence[Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(csv_text(rows))
    return path
