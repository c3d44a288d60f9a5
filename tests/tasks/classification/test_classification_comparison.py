import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from visionlab.tasks.classification.comparison import compare_labels
from visionlab.tasks.classification.metric import Accuracy

CLASSES = ["ant", "bee", "cat"]
LABELS = torch.tensor([1, 1, 1, 1, 0, 0])  # no cat
PREDICTED = {
    "first": torch.tensor([1, 1, 1, 0, 0, 0]),
    "second": torch.tensor([1, 2, 2, 2, 2, 2]),
    "ensemble": torch.tensor([1, 1, 1, 1, 0, 1]),
}


def samples_of(predicted: Tensor) -> dict[str, Tensor]:
    metric = Accuracy(class_names=CLASSES, top_k=[1])
    metric.update(torch.eye(3)[predicted], LABELS)
    return metric.samples()


def read(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


def test_tables_checked_by_eye(tmp_path: Path) -> None:
    found = {name: samples_of(predicted) for name, predicted in PREDICTED.items()}
    ensemble = found.pop("ensemble")
    split: Any = SimpleNamespace()
    compare_labels(tmp_path, found, ensemble, split, class_names=CLASSES)
    assert read(tmp_path / "overview_metrics.csv") == [
        ["class", "first", "second", "ensemble"],
        ["ant", "1.0", "0.0", "0.5"],
        ["bee", "0.75", "0.25", "1.0"],
        ["cat", "", "", ""],
        ["overall_mean", "0.875", "0.125", "0.75"],
    ]
    assert read(tmp_path / "compare_metrics" / "class_wise_top1.csv") == [
        ["class", "mean", "0.25", "0.75", "min", "max", "nr_occur", "ensemble"],
        ["bee", "0.5", "0.5", "0.5", "0.25", "0.75", "4", "1.0"],
        ["ant", "0.5", "0.5", "0.5", "0.0", "1.0", "2", "0.5"],
        ["cat", "", "", "", "", "", "0", ""],
    ]
    assert read(tmp_path / "overlap" / "overlap_matrix.csv") == [
        ["model", "first", "second"],
        ["first", "1.0", str(1 / 6)],
        ["second", str(1 / 6), "1.0"],
    ]
