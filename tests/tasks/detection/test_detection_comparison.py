import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_iou

from visionlab.tasks.detection.average_precision import (
    Overlaps,
    class_average_precision,
    match,
    pooled_average_precision,
)
from visionlab.tasks.detection.comparison import DetectionComparison
from visionlab.tasks.detection.records import Annotated

CLASSES = ["ant", "bee", "cat"]
THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
COMPARISON = DetectionComparison(
    iou_thresholds=THRESHOLDS,
    matching="coco",
    area="continuous",
    variable_classes=[],
    ensemble_column="WBF",
)
A, B, C = [0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 40.0, 40.0], [60.0, 0.0, 80.0, 30.0]
NEAR_A, HALF_B = [0.0, 0.0, 10.0, 9.0], [20.0, 20.0, 40.0, 30.0]
Found = tuple[Sequence[float], float, int]  # box, score, label
Samples = dict[str, Tensor]


def annotated(
    key: int, boxes: Sequence[Sequence[float]], labels: Sequence[int], crowd: Sequence[bool]
) -> Annotated:
    return Annotated(
        key=key,
        name="a.jpg",
        image=torch.zeros(3, 1, 1, dtype=torch.uint8),
        width_px=100,
        height_px=100,
        boxes=torch.tensor(boxes, dtype=torch.float64).view(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
        crowd=torch.tensor(crowd, dtype=torch.bool),
        areas=torch.ones(len(boxes), dtype=torch.float64),
    )


def samples_of(images: Mapping[int, Sequence[Found]]) -> Samples:
    """Return the results of detections, by the key of the image."""
    found = [each for image in images.values() for each in image]
    return {
        "keys": torch.tensor(list(images)),
        "num_detections": torch.tensor([len(image) for image in images.values()]).int(),
        "boxes": torch.tensor([box for box, _, _ in found], dtype=torch.float32).view(-1, 4),
        "scores": torch.tensor([score for _, score, _ in found], dtype=torch.float32),
        "labels": torch.tensor([label for _, _, label in found]).short(),
    }


def read(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


def numbers(path: Path) -> dict[str, list[float]]:
    """Return the rows of a table by name, NaN for an empty cell."""
    return {name: [float(cell or "nan") for cell in cells] for name, *cells in read(path)[1:]}


def write(
    folder: Path,
    members: Mapping[str, Samples],
    ensemble: Samples,
    truth: Sequence[Annotated],
    comparison: DetectionComparison = COMPARISON,
) -> None:
    split: Any = SimpleNamespace(samples=truth)
    comparison(folder, members, ensemble, split, class_names=CLASSES)


# the order of the split is not that of the results
TRUTH = [annotated(7, [B], [0], [False]), annotated(3, [A, B, C], [0, 1, 1], [False] * 2 + [True])]
MEMBERS = {
    "one": samples_of({3: [(NEAR_A, 0.9, 0), (HALF_B, 0.8, 1)], 7: [(B, 0.7, 0)]}),
    "two": samples_of({3: [(B, 0.8, 1), (C, 0.9, 1)], 7: [(A, 0.6, 0), (B, 0.5, 0), (A, 0.4, 2)]}),
}
ENSEMBLE = samples_of({3: [(A, 0.9, 0), (B, 0.8, 1)], 7: []})


def test_tables_checked_by_eye(tmp_path: Path) -> None:
    comparison = replace(COMPARISON, variable_classes=["bee", "cat"])
    write(tmp_path, MEMBERS, ENSEMBLE, TRUTH, comparison)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.csv")) == [
        "WBF_metrics.csv",
        "compare_metrics/IOU_0-5_class_wise_APs.csv",
        "one_metrics.csv",
        "overlap/overlap_matrix.csv",
        "overview_metrics.csv",
        "two_metrics.csv",
    ]
    assert read(tmp_path / "one_metrics.csv") == [
        ["class", *(f"{each:g}" for each in THRESHOLDS), "nr_occur"],
        ["ant", *["1.0"] * 9, "0.25", "2"],  # NEAR_A has 0.9, then only the second of two is right
        ["bee", "1.0", *["0.0"] * 9, "1"],  # HALF_B has 0.5; the crowd is no object
        ["cat", *[""] * 10, "0"],
        ["overall_mean", "1.0", *["0.5"] * 8, "0.125", "1.0"],
        ["variable_mean", "1.0", *["0.0"] * 9, "0.5"],
    ]
    assert read(tmp_path / "overview_metrics.csv") == [
        ["class", "one", "two", "WBF"],
        ["ant", "1.0", "0.25", "0.5"],
        ["bee", "1.0", "1.0", "1.0"],
        ["cat", "", "", ""],
        ["overall_mean", "1.0", "0.625", "0.75"],
        ["variable_mean", "1.0", "1.0", "1.0"],
    ]
    assert read(tmp_path / "compare_metrics" / "IOU_0-5_class_wise_APs.csv") == [
        ["class", "mean", "0.25", "0.75", "min", "max", "nr_occur", "WBF"],
        ["ant", "0.62", "0.62", "0.62", "0.25", "1.00", "2", "0.50"],
        ["bee", "1.00", "1.00", "1.00", "1.00", "1.00", "1", "1.00"],
        ["cat", "", "", "", "", "", "0", ""],
    ]
    # of one, HALF_B and B are among the 5 detections of two: ranks 2 and 3; of two, B and B are
    # among the 3 of one: ranks 2 and 4
    assert numbers(tmp_path / "overlap" / "overlap_matrix.csv") == {
        "one": [1.0, pytest.approx((2 / 3 + 2 / 3) / 5)],
        "two": [pytest.approx((1 / 2 + 1 / 2) / 3), 1.0],
    }


def random_case(seed: int, num_models: int = 3) -> tuple[list[Annotated], dict[str, Samples]]:
    """Return annotated images with crowds, and detections near to them with distinct scores."""
    generator = np.random.default_rng(seed)
    truth = []
    for key in range(4):
        count = int(generator.integers(0, 7))
        low = generator.uniform(0, 60, (count, 2))
        boxes = np.concatenate([low, low + generator.uniform(20, 40, (count, 2))], axis=1)
        labels = generator.integers(0, 2, count).tolist()
        crowd = (generator.random(count) < 0.2).tolist()
        truth.append(annotated(key * 5 % 7, boxes.tolist(), labels, crowd))
    models = {}
    for number in range(num_models):
        images = {}
        for sample in truth:
            near = sample.boxes.repeat(2, 1)
            moved = near + torch.from_numpy(generator.normal(0, 2, near.shape).clip(-9, 9))
            labels = generator.integers(0, 2, len(near)).tolist()
            scores = generator.permutation(len(near)) + generator.random()
            rows = zip(moved.tolist(), (scores / 16).tolist(), labels, strict=True)
            images[sample.key] = list(rows)
        models[f"model_{number}"] = samples_of(images)
    return truth, models


def dense(found: Samples, objects: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Overlaps:
    """Return all pairs of one image and class; IoUs are torchvision's."""
    counts = found["num_detections"].tolist()
    pairs: list[tuple[int, int, float, float]] = []
    row = column = 0
    columns = (found["boxes"].double().split(counts), found["labels"].split(counts))
    for boxes, labels, (others, other_labels, _) in zip(*columns, objects, strict=True):
        ious = box_iou(boxes, others)
        for i in range(len(boxes)):
            for j in range(len(others)):
                if labels[i] == other_labels[j]:
                    low = torch.maximum(boxes[i, :2], others[j, :2])
                    high = torch.minimum(boxes[i, 2:], others[j, 2:])
                    size = (boxes[i, 2:] - boxes[i, :2]).prod()
                    share = (high - low).clamp(min=0).prod() / size
                    pairs.append((row + i, column + j, float(ious[i, j]), float(share)))
        row, column = row + len(boxes), column + len(others)
    rows, places, values, shares = zip(*pairs, strict=True) if pairs else ((), (), (), ())
    return Overlaps(
        scores=found["scores"].numpy(),
        labels=found["labels"].long().numpy(),
        object_labels=torch.cat([each[1] for each in objects]).long().numpy(),
        is_crowd=torch.cat([each[2] for each in objects]).numpy(),
        detections=np.array(rows, dtype=np.int64),
        objects=np.array(places, dtype=np.int64),
        ious=np.array(values, dtype=np.float64),
        shares=np.array(shares, dtype=np.float64),
    )


def as_objects(found: Samples) -> list[tuple[Tensor, Tensor, Tensor]]:
    counts = found["num_detections"].tolist()
    boxes, labels = found["boxes"].double().split(counts), found["labels"].split(counts)
    crowd = [torch.zeros(count, dtype=torch.bool) for count in counts]
    return list(zip(boxes, labels, crowd, strict=True))


@pytest.mark.parametrize("matching", ["coco", "dota", "legacy"])
@pytest.mark.parametrize("seed", range(6))
def test_tables_are_those_of_all_pairs_of_boxes(seed: int, matching: Any, tmp_path: Path) -> None:
    truth, models = random_case(seed)
    comparison = replace(COMPARISON, matching=matching, ensemble_column="fused")
    members = {name: models[name] for name in ("model_0", "model_1")}
    write(tmp_path, members, models["model_2"], truth, comparison)
    objects = [(each.boxes, each.labels, each.crowd) for each in truth]
    rules: Any = {"matching": matching, "num_classes": 3}
    shown = []
    for name, column in (("model_0", "model_0"), ("model_1", "model_1"), ("model_2", "fused")):
        outcomes = match(dense(models[name], objects), iou_thresholds=THRESHOLDS, **rules)
        expected = class_average_precision(outcomes, area="continuous")
        found = numbers(tmp_path / f"{column}_metrics.csv")
        np.testing.assert_array_equal([found[name][:-1] for name in CLASSES], expected)
        assert [found[name][-1] for name in CLASSES] == outcomes.num_objects.tolist()
        shown.append(expected[:, 0])
    overview = numbers(tmp_path / "overview_metrics.csv")
    np.testing.assert_array_equal([overview[name] for name in CLASSES], np.stack(shown, axis=1))
    overlap = numbers(tmp_path / "overlap" / "overlap_matrix.csv")
    for row, name in enumerate(members):
        for column, other in enumerate(members):
            if row != column or matching != "legacy":  # by which each detection finds itself
                outcomes = match(
                    dense(models[name], as_objects(models[other])), iou_thresholds=[0.5], **rules
                )
                (expected,) = pooled_average_precision(outcomes, area="continuous")
                assert overlap[name][column] == pytest.approx(expected, nan_ok=True)
        assert overlap[name][row] == 1.0


@settings(max_examples=10)  # files are written
@given(seed=st.integers(0, 999), order=st.permutations(range(4)), data=st.data())
def test_neither_the_order_of_images_nor_that_of_detections_changes_a_table(
    seed: int, order: list[int], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    truth, models = random_case(seed)
    moved = {}
    for name, found in models.items():
        counts = found["num_detections"].tolist()
        rows = list(torch.arange(sum(counts)).split(counts))
        shuffled = [rows[row][data.draw(st.permutations(range(counts[row])))] for row in order]
        chosen = torch.cat(shuffled)
        moved[name] = {
            "keys": found["keys"][order],
            "num_detections": found["num_detections"][order],
            **{part: found[part][chosen] for part in ("boxes", "scores", "labels")},
        }
    tables = []
    for each in (models, moved):
        folder = tmp_path_factory.mktemp("tables")
        members = dict(each)
        ensemble = members.pop("model_2")
        write(folder, members, ensemble, truth)
        tables.append({path.name: path.read_text() for path in sorted(folder.rglob("*.csv"))})
    assert tables[0] == tables[1]


def test_boxes_without_area_and_images_without_anything_are_taken(tmp_path: Path) -> None:
    flat = samples_of({3: [([5.0, 5.0, 5.0, 9.0], 0.9, 0), ([5.0, 5.0, 4.0, 9.0], 0.8, 0)], 7: []})
    none = samples_of({3: [], 7: []})
    write(tmp_path, {"flat": flat, "none": none}, none, TRUTH)
    assert numbers(tmp_path / "overview_metrics.csv")["overall_mean"] == [0.0, 0.0, 0.0]
    overlap = numbers(tmp_path / "overlap" / "overlap_matrix.csv")
    assert overlap["none"] == [0.0, 1.0]
    assert np.isnan(overlap["flat"][1])  # nothing is there to be found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iou_thresholds": [0.5, 1.5]}, r"iou_thresholds must be in \(0, 1\], got 1.5"),
        ({"iou_thresholds": [0.6]}, r"iou_thresholds must .* 0.5, got \[0.6\]"),
        ({"matching": "old"}, "matching must be one of coco, dota, legacy, got 'old'"),
        ({"area": "7_point"}, "area must be one of continuous, 11_point, 101_point, got '7_point'"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        replace(COMPARISON, **changes)


def test_a_variable_class_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    comparison = replace(COMPARISON, variable_classes=["bee", "slur"])
    with pytest.raises(ValueError, match=r"^variable_classes must .*, got 'slur'$"):
        write(tmp_path, MEMBERS, ENSEMBLE, TRUTH, comparison)
    assert not list(tmp_path.iterdir())
