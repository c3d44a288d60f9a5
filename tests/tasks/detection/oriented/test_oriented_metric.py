from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oriented import tensor, turned
from torch import Tensor

from visionlab.core import oriented_boxes, polygons
from visionlab.tasks.detection.metric import IGNORED, RIGHT, WRONG, AveragePrecision
from visionlab.tasks.detection.oriented.metric import OrientedAveragePrecision
from visionlab.tasks.detection.records import Annotated, BoxTargets, Detections

THRESHOLDS = [0.5, 0.75]


def image_of(boxes: Tensor, labels: Sequence[int], *, difficult: Sequence[int] = ()) -> Annotated:
    """Return an image with objects (K, 5), some of them difficult."""
    corners = oriented_boxes.corners(boxes.double())
    crowd = torch.zeros(len(boxes), dtype=torch.bool)
    crowd[list(difficult)] = True
    return Annotated(
        key=0,
        name="",
        image=torch.zeros(3, 1, 1, dtype=torch.uint8),
        width_px=400,
        height_px=400,
        boxes=polygons.bounds(corners),
        labels=torch.tensor(labels, dtype=torch.int64),
        crowd=crowd,
        areas=polygons.areas(corners),
        polygons=corners,
    )


def found_of(boxes: Tensor, scores: Sequence[float], labels: Sequence[int]) -> Detections:
    return Detections(boxes.float(), torch.tensor(scores), torch.tensor(labels, dtype=torch.int64))


def targets_of(images: Sequence[Annotated]) -> BoxTargets:
    return BoxTargets(torch.zeros(0), torch.zeros(0), images, torch.zeros(0))


def metric(**changes: Any) -> OrientedAveragePrecision:
    defaults = {"iou_thresholds": THRESHOLDS, "matching": "coco", "area": "continuous"}
    return OrientedAveragePrecision(class_names=["bar", "note"], **{**defaults, **changes})


def computed(
    found: Sequence[Detections], images: Sequence[Annotated], **changes: Any
) -> dict[str, float]:
    made = metric(**changes)
    made.update(found, targets_of(images))
    return made.compute()


def test_a_thin_bar_is_lost_by_a_pixel_at_high_thresholds() -> None:
    bars = torch.cat([turned(100, 100, 100, 4, 30), turned(200, 100, 100, 4, 30)])
    noise = tensor((0, 1, 0, 0, 0), (0, 0, 0, 0, 0))  # an IoU of 0.62 and 1
    numbers = computed([found_of(bars + noise, [0.9, 0.8], [0, 0])], [image_of(bars, [0, 0])])
    assert numbers == {
        "AP": pytest.approx(0.625),
        "AP50": pytest.approx(1.0),
        # the first is wrong: precision 1/2 at recall 1/2
        "AP75": pytest.approx(0.25),
        "AP/bar": pytest.approx(0.625),
        "AP/note": -1.0,
    }


def test_turned_boxes_with_the_same_upright_box_differ() -> None:
    bar, other = turned(100, 100, 80, 6, 45), turned(100, 100, 80, 6, -45)
    assert computed([found_of(other, [0.9], [0])], [image_of(bar, [0])])["AP50"] == 0
    assert computed([found_of(bar, [0.9], [1])], [image_of(bar, [0])])["AP50"] == 0  # class


def test_a_class_without_detections_counts_but_for_the_legacy_rule() -> None:
    boxes = torch.cat([turned(100, 100, 40, 20, 30), turned(200, 100, 40, 20, 30)])
    found, images = [found_of(boxes[:1], [0.9], [0])], [image_of(boxes, [0, 1])]
    assert computed(found, images)["AP"] == 0.5
    assert computed(found, images, matching="legacy")["AP"] == 1
    assert computed(found, images, matching="legacy")["AP/note"] == -1


@pytest.mark.parametrize("matching", ["coco", "dota", "legacy"])
def test_difficult_objects_are_neither_found_nor_missed(matching: Any) -> None:
    boxes = torch.cat([turned(100, 100, 40, 20, 30), turned(200, 100, 40, 20, 30)])
    image = image_of(boxes, [0, 0], difficult=[1])
    found = [found_of(boxes, [0.7, 0.9], [0, 0])]
    assert computed(found, [image], matching=matching)["AP50"] == 1


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_at_angle_zero_the_metric_is_that_of_coco(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    found, images = [], []
    for _ in range(3):
        low = torch.rand(5, 2, generator=generator).double() * 150
        boxes = torch.cat([low, low + 10 + torch.rand(5, 2, generator=generator) * 90], dim=1)
        near = (boxes.repeat(3, 1) + torch.randn(15, 4, generator=generator) * 4).float()
        labels = torch.randint(2, (5,), generator=generator)
        scores = torch.rand(15, generator=generator)
        found.append(Detections(near, scores, labels.repeat(3)))
        oriented = oriented_boxes.from_boxes(boxes)
        image = image_of(oriented, labels.tolist())
        images.append(replace(image, boxes=boxes))
    ours = computed(
        [each._replace(boxes=oriented_boxes.from_boxes(each.boxes)) for each in found],
        [replace(image, polygons=None) for image in images] if seed % 2 else images,
        area="101_point",
        iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
    )
    coco = AveragePrecision(class_names=["bar", "note"], backend="faster_coco_eval")
    coco.update(found, targets_of(images))
    theirs = coco.compute()
    for name in ("AP", "AP50", "AP75", "AP/bar", "AP/note"):
        # COCO loses a point of 101 where a recall such as 7/25 is below 0.28 in binary
        assert ours[name] == pytest.approx(theirs[name], abs=0.02), name


def test_samples_name_the_outcome_of_each_detection() -> None:
    boxes = torch.cat([turned(100, 100, 40, 20, 30), turned(200, 100, 40, 20, 30)])
    made = metric()
    images = [image_of(boxes, [0, 1], difficult=[1]), image_of(boxes[:0], [])]
    found = [found_of(boxes, [0.9, 0.5], [0, 1]), found_of(boxes[:1], [0.3], [0])]
    made.update(found, targets_of(images))
    samples = made.samples()
    assert samples["num_detections"].tolist() == [2, 1]
    assert samples["num_objects"].tolist() == [[1, 0], [0, 0]]
    assert samples["outcomes"].tolist() == [RIGHT, IGNORED, WRONG]
    assert samples["ious"].tolist() == pytest.approx([1.0, 0.0, 0.0])
    assert samples["ious"].dtype == torch.float32
    assert samples["boxes"].shape == (3, 5)
    made.reset()
    with pytest.raises(ValueError, match="at least one image, got 0"):
        made.compute()


def test_nothing_found_anywhere() -> None:
    box = turned(100, 100, 40, 20, 30)
    numbers = computed([found_of(box[:0], [], [])], [image_of(box, [1])])
    assert numbers == {"AP": 0, "AP50": 0, "AP75": 0, "AP/bar": -1, "AP/note": 0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matching": "old"}, "^matching must be one of coco, dota, legacy, got 'old'$"),
        (
            {"area": "7_point"},
            "^area must be one of continuous, 11_point, 101_point, got '7_point'$",
        ),
        ({"iou_thresholds": []}, r"^iou_thresholds must be numbers in \(0, 1\), got \[\]$"),
        ({"iou_thresholds": [0.5, 1]}, r"^iou_thresholds must be .*, got \[0\.5, 1\]$"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric(**changes)
