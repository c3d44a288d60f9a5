import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from oriented import turned
from torch import Tensor

from visionlab.core import geometry, oriented_boxes
from visionlab.task import Batch
from visionlab.tasks.detection.model.decode import Detect
from visionlab.tasks.detection.records import Annotated, BoxTargets, DenseOutput, Detections

DETECT = Detect(score_threshold=0.05, candidates_per_level=100, nms_iou=0.1, max_detections=100)
STD = torch.tensor([0.1, 0.1, 0.2, 0.2, 0.2])
IMAGE = Annotated(
    key=0,
    name="",
    image=torch.zeros(3, 100, 200, dtype=torch.uint8),
    width_px=200,
    height_px=100,
    boxes=torch.zeros(0, 4),
    labels=torch.zeros(0, dtype=torch.int64),
    crowd=torch.zeros(0, dtype=torch.bool),
    areas=torch.zeros(0),
)


def outputs_of(boxes: list[Tensor], scores: list[list[float]]) -> DenseOutput:
    """Return outputs that are boxes (K, 5) of class 0 of each input, each from an anchor."""
    anchors = torch.tensor([[0.0, 0, 20, 20]]).expand(len(boxes[0]), 4)
    deltas = torch.stack(
        [oriented_boxes.encode(each.float(), oriented_boxes.from_boxes(anchors)) for each in boxes]
    )
    logits = torch.tensor(scores).logit()[..., None]
    return DenseOutput(logits, deltas / STD, anchors, [(1, len(anchors))], STD)


def batch_of(matrices: Tensor, *, pages: list[int] | None = None, num_images: int) -> Batch:
    annotated = [replace(IMAGE, key=key) for key in range(num_images)]
    none, sizes = torch.zeros(len(matrices), 0), torch.full((len(matrices), 2), 64.0)
    numbers = None if pages is None else torch.tensor(pages)
    targets = BoxTargets(none[..., None], none, annotated, sizes, None, numbers)
    return Batch(None, targets, torch.arange(num_images), matrices.float())


def assert_boxes(found: Detections, *wanted: Tensor) -> None:
    corners = [
        oriented_boxes.canonical_corners(oriented_boxes.corners(each.double()))
        for each in (found.boxes, torch.cat(wanted))
    ]
    torch.testing.assert_close(*corners, atol=1e-3, rtol=1e-5)


def test_detections_in_original_pixels_are_exact_for_a_turned_input() -> None:
    box = turned(60, 40, 30, 8, 25)
    matrix = geometry.scalings(torch.tensor([[0.5, 0.5]]))
    matrix = geometry.rotations(torch.tensor([37.0])) @ matrix
    seen = oriented_boxes.transform(box[None], matrix)[0]
    found = DETECT(outputs_of([seen], [[0.9]]), batch_of(matrix, num_images=1))
    assert len(found) == 1
    assert_boxes(found[0], box)
    assert found[0].scores.tolist() == pytest.approx([0.9])
    assert found[0].boxes.dtype == torch.float32
    assert found[0].boxes[0, 4].item() == pytest.approx(math.radians(25), abs=1e-4)


def test_crossing_boxes_of_a_class_are_both_found() -> None:
    boxes = torch.cat([turned(50, 50, 40, 4, 45), turned(50, 50, 40, 4, -45)])
    batch = batch_of(torch.eye(3)[None], num_images=1)
    (found,) = DETECT(outputs_of([boxes], [[0.6, 0.9]]), batch)
    assert_boxes(found, boxes[1:], boxes[:1])  # highest scores first


def test_crops_of_a_page_are_merged_and_pages_are_not() -> None:
    boxes = [turned(50, 50, 30, 6, 20), turned(52, 50, 30, 6, 20), turned(50, 50, 30, 6, 20)]
    offsets = torch.tensor([[0.0, 0.0], [40.0, 30.0], [0.0, 0.0]])
    matrices = geometry.scalings(torch.full((3, 2), 0.5)) @ geometry.translations(-offsets)
    seen = [
        oriented_boxes.transform(box[None], one[None])[0]
        for box, one in zip(boxes, matrices, strict=True)
    ]
    batch = batch_of(matrices, pages=[0, 0, 1], num_images=2)
    first, second = DETECT(outputs_of(seen, [[0.5], [0.8], [0.7]]), batch)
    assert_boxes(first, boxes[1])
    assert_boxes(second, boxes[2])


def test_a_page_has_the_best_detections_of_all_crops() -> None:
    boxes = [
        torch.cat([turned(20 * row + 10, 10 + 60 * crop, 8, 4, 10) for row in range(3)])
        for crop in range(2)
    ]
    batch = batch_of(torch.eye(3).expand(2, 3, 3), pages=[0, 0], num_images=1)
    detect = replace(DETECT, max_detections=3)
    (found,) = detect(outputs_of(boxes, [[0.3, 0.9, 0.2], [0.5, 0.1, 0.6]]), batch)
    assert found.scores.tolist() == pytest.approx([0.9, 0.6, 0.5])
    assert_boxes(found, boxes[0][1:2], boxes[1][2:], boxes[1][:1])


def test_at_angle_zero_detections_are_those_of_upright_boxes() -> None:
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(2, 30, 2, generator=generator) * 60
    boxes = torch.cat([low, low + 5 + 30 * torch.rand(2, 30, 2, generator=generator)], dim=-1)
    oriented = oriented_boxes.canonical(oriented_boxes.from_boxes(boxes))
    scores = torch.rand(2, 30, generator=generator).tolist()
    outputs = outputs_of(list(oriented), scores)
    dense = DenseOutput(
        outputs.logits, outputs.deltas[..., :4], outputs.anchors, outputs.level_shapes, STD[:4]
    )
    batch = batch_of(2 * torch.eye(3).expand(2, 3, 3), num_images=2)
    settings: dict[str, Any] = {
        "score_threshold": 0.05,
        "candidates_per_level": 20,
        "nms_iou": 0.3,
        "max_detections": 8,
    }
    ours, theirs = (Detect(**settings)(each, batch) for each in (outputs, dense))
    for one, other in zip(ours, theirs, strict=True):
        assert len(one.scores) == 8
        assert torch.equal(one.scores, other.scores)
        torch.testing.assert_close(oriented_boxes.enclosing(one.boxes), other.boxes)


def test_nothing_is_found() -> None:
    outputs = outputs_of([turned(50, 50, 40, 4, 45)], [[0.01]])
    (found,) = DETECT(outputs, batch_of(torch.eye(3)[None], num_images=1))
    assert found.boxes.shape == (0, 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score_threshold": 1.0}, r"^score_threshold must be in \[0, 1\), got 1\.0$"),
        ({"nms_iou": -0.1}, r"^nms_iou must be in \[0, 1\], got -0\.1$"),
        ({"max_detections": 0}, "^max_detections must be >= 1, got 0$"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(DETECT, **settings)
