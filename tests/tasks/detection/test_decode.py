from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_iou

from visionlab.core.boxes import decode
from visionlab.task import Batch
from visionlab.tasks.detection.model.anchors import Anchors
from visionlab.tasks.detection.model.decode import Detect
from visionlab.tasks.detection.records import Annotated, BoxTargets, DenseOutput, Detections

SHAPES = [(4, 6), (2, 3)]
ANCHORS = Anchors(sizes_px=[12.0, 24.0], ratios=[0.5, 2.0], scales=[1.0])(SHAPES, (8, 16))
LEVELS = [48, 12]  # anchors of each level
NUM_CLASSES = 3
SIZE = (80, 50)  # of the original images; at half the size they are 40 x 25 on a canvas of 48 x 32


def make(**settings: Any) -> Detect:
    defaults = {
        "score_threshold": 0.05,
        "candidates_per_level": 1000,
        "nms_iou": 0.5,
        "max_detections": 100,
    }
    return Detect(**{**defaults, **settings})


def batch_of(num_images: int, *, scale: float = 0.5, size: tuple[int, int] = SIZE) -> Batch:
    none = torch.zeros(0, 4, dtype=torch.float64)
    annotated = [
        Annotated(
            name="a.jpg",
            key=key,
            image=torch.zeros(3, 1, 1, dtype=torch.uint8),
            width_px=size[0],
            height_px=size[1],
            boxes=none,
            labels=none[:, 0].long(),
            crowd=none[:, 0].bool(),
            areas=none[:, 0],
        )
        for key in range(num_images)
    ]
    targets = BoxTargets(
        torch.zeros(num_images, 0, 4), torch.zeros(num_images, 0), annotated, torch.zeros(0, 2)
    )
    matrices = torch.diag(torch.tensor([scale, scale, 1.0])).repeat(num_images, 1, 1)
    return Batch(torch.zeros(num_images, 3, 32, 48), targets, torch.arange(num_images), matrices)


def outputs_of(num_images: int, seed: int, *, spread: float = 0.3) -> DenseOutput:
    """Return random outputs, no two logits of an image equal."""
    generator = torch.Generator().manual_seed(seed)
    count = num_images * len(ANCHORS) * NUM_CLASSES
    logits = torch.linspace(-6, 3, count)[torch.randperm(count, generator=generator)]
    deltas = spread * torch.randn(num_images, len(ANCHORS), 4, generator=generator)
    return DenseOutput(
        logits.view(num_images, len(ANCHORS), NUM_CLASSES),
        deltas / 0.1,
        ANCHORS,
        SHAPES,
        torch.full((4,), 0.1),
    )


def exactly(logits: Tensor, boxes: Tensor, *, shapes: Any = None) -> DenseOutput:
    """Return outputs of one image whose anchors, one a cell, are boxes already, (A, 4)."""
    return DenseOutput(
        logits[None],
        torch.zeros(1, len(boxes), 4),
        boxes,
        [(len(boxes), 1)] if shapes is None else shapes,
        torch.ones(4),
    )


def naive_detections(
    outputs: DenseOutput, settings: Detect, *, scale: float = 0.5, size: tuple[int, int] = SIZE
) -> list[list[tuple[float, int, list[float]]]]:
    """Return score, label and box of what is found, candidate by candidate."""
    images = []
    for logits, deltas in zip(outputs.logits, outputs.deltas, strict=True):
        scores = logits.sigmoid().tolist()
        boxes = (decode(deltas * outputs.box_std, outputs.anchors) / scale).tolist()
        candidates, start = [], 0
        for level_size in outputs.level_sizes:
            level = [
                (scores[anchor][label], label, boxes[anchor])
                for anchor in range(start, start + level_size)
                for label in range(len(scores[0]))
                if scores[anchor][label] > settings.score_threshold
            ]
            level.sort(key=lambda each: -each[0])
            candidates += level[: settings.candidates_per_level]
            start += level_size
        candidates.sort(key=lambda each: -each[0])
        kept: list[tuple[float, int, list[float]]] = []
        for score, label, (x1, y1, x2, y2) in candidates:
            x1, x2 = (min(max(x, 0.0), size[0]) for x in (x1, x2))
            y1, y2 = (min(max(y, 0.0), size[1]) for y in (y1, y2))
            if x2 <= x1 or y2 <= y1:
                continue
            box = torch.tensor([[x1, y1, x2, y2]])
            rivals = [other for _, kind, other in kept if kind == label]
            if rivals and box_iou(box, torch.tensor(rivals)).max() > settings.nms_iou:
                continue
            kept.append((score, label, [x1, y1, x2, y2]))
        images.append(kept[: settings.max_detections])
    return images


def assert_same(
    found: Sequence[Detections], expected: Sequence[Sequence[tuple[float, int, list[float]]]]
) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.boxes.dtype == ours.scores.dtype == torch.float32
        assert ours.labels.dtype == torch.int64
        assert ours.boxes.shape == (len(theirs), 4)
        assert ours.labels.tolist() == [label for _, label, _ in theirs]
        assert ours.scores.tolist() == pytest.approx([score for score, _, _ in theirs], abs=1e-6)
        boxes = torch.tensor([box for _, _, box in theirs]).view(-1, 4)
        torch.testing.assert_close(ours.boxes, boxes, rtol=1e-5, atol=1e-4)


@given(
    seed=st.integers(0, 9999),
    num_images=st.integers(1, 3),
    score_threshold=st.sampled_from([0.0, 0.05, 0.5, 0.9]),
    candidates_per_level=st.sampled_from([1, 7, 1000]),
    nms_iou=st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]),
    max_detections=st.sampled_from([1, 5, 300]),
)
def test_detections_equal_those_of_a_loop(
    seed: int,
    num_images: int,
    score_threshold: float,
    candidates_per_level: int,
    nms_iou: float,
    max_detections: int,
) -> None:
    settings = make(
        score_threshold=score_threshold,
        candidates_per_level=candidates_per_level,
        nms_iou=nms_iou,
        max_detections=max_detections,
    )
    outputs = outputs_of(num_images, seed)
    found = settings(outputs, batch_of(num_images))
    assert_same(found, naive_detections(outputs, settings))


def test_detections_checked_by_eye() -> None:
    boxes = torch.tensor(
        [[0.0, 0, 10, 10], [0.0, 0, 10, 9], [20.0, 0, 30, 10], [0.0, 0, 10, 4], [20.0, 10, 30, 20]]
    )
    logits = torch.full((5, 2), -9.0)
    logits[0, 0] = 2.0
    logits[1] = torch.tensor([1.0, 3.0])  # the first class is suppressed, the second is another
    logits[2, 0] = -2.0
    logits[3, 0] = 0.0  # an IoU of 0.4 with the first is not too much
    (found,) = make()(exactly(logits, boxes), batch_of(1))
    assert found.labels.tolist() == [1, 0, 0, 0]
    assert found.scores.tolist() == pytest.approx([0.952574, 0.880797, 0.5, 0.119203])
    expected = [[0, 0, 20, 18], [0, 0, 20, 20], [0, 0, 20, 8], [40, 0, 60, 20]]  # twice as large
    assert found.boxes.tolist() == expected


def test_scores_have_to_be_above_the_threshold() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [20.0, 0, 30, 10]])
    logits = torch.tensor([[0.1], [-0.1]])
    for threshold, count in ((0.0, 2), (0.47, 2), (0.5, 1), (0.53, 0)):
        (found,) = make(score_threshold=threshold)(exactly(logits, boxes), batch_of(1))
        assert len(found.scores) == count


def test_with_a_threshold_of_zero_even_scores_near_zero_are_kept() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [20.0, 0, 30, 10]])
    logits = torch.tensor([[-80.0], [-300.0]])
    (found,) = make(score_threshold=0.0)(exactly(logits, boxes), batch_of(1))
    assert found.boxes.tolist() == [[0, 0, 18, 18], [40, 0, 60, 20]]


@pytest.mark.parametrize("found_first", [False, True])
def test_an_image_where_nothing_is_found_has_empty_tensors(found_first: bool) -> None:
    outputs = outputs_of(2, seed=0)
    outputs.logits[1 if found_first else slice(None)] = -20.0
    found = make()(outputs, batch_of(2))
    assert bool(len(found[0].scores)) == found_first
    assert found[1].boxes.shape == (0, 4)
    assert found[1].scores.shape == found[1].labels.shape == (0,)
    assert found[1].boxes.dtype == found[1].scores.dtype == torch.float32
    assert found[1].labels.dtype == torch.int64


def test_boxes_are_cut_at_the_original_image_and_not_at_the_canvas() -> None:
    boxes = torch.tensor(
        [
            [-5.0, -5, 100, 100],  # larger than everything
            [41.0, 5, 47, 20],  # on the canvas beside the image
            [30.0, 20, 47, 31],  # half beside it
            [-9.0, -9, 0, 0],  # touches it
        ]
    )
    logits = torch.tensor([[4.0], [3.0], [2.0], [1.0]])
    (found,) = make()(exactly(logits, boxes), batch_of(1))
    assert found.boxes.tolist() == [[0, 0, 80, 50], [60, 40, 80, 50]]
    assert found.scores.tolist() == pytest.approx([0.982014, 0.880797])


@given(seed=st.integers(0, 9999))
def test_every_box_lies_in_the_image_and_has_an_area(seed: int) -> None:
    outputs = outputs_of(2, seed, spread=3.0)
    for found in make(score_threshold=0.0, nms_iou=1.0, max_detections=999)(outputs, batch_of(2)):
        assert len(found.boxes) > 20
        assert (found.boxes >= 0).all()
        assert (found.boxes[:, 2:] <= torch.tensor(SIZE)).all()
        assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
        assert (found.scores.diff() <= 0).all()


def test_any_matrix_is_undone() -> None:
    """Here the input is the original, mirrored, at twice the size and shifted."""
    matrix = torch.tensor([[[-2.0, 0.0, 100.0], [0.0, 2.0, 6.0], [0.0, 0.0, 1.0]]])
    outputs = exactly(torch.tensor([[2.0]]), torch.tensor([[40.0, 16.0, 60.0, 26.0]]))
    (found,) = make()(outputs, batch_of(1)._replace(matrices=matrix))
    assert found.boxes.tolist() == [[20, 5, 30, 10]]


def test_offsets_are_multiplied_by_their_deviations() -> None:
    outputs = exactly(torch.tensor([[2.0]]), torch.tensor([[0.0, 0.0, 10.0, 10.0]]))
    deltas = torch.tensor([[[5.0, 10.0, 0.0, 6.9314718]]])
    outputs = outputs._replace(deltas=deltas, box_std=torch.tensor([0.1, 0.1, 0.2, 0.1]))
    (found,) = make()(outputs, batch_of(1, scale=1.0))  # by 5 and 10 pixels; twice as high
    torch.testing.assert_close(found.boxes, torch.tensor([[5.0, 5.0, 15.0, 25.0]]))


@pytest.mark.parametrize(("nms_iou", "max_detections"), [(0.5, 3), (0.3, 2), (0.5, 1)])
def test_what_a_heap_of_better_boxes_leaves_is_found(nms_iou: float, max_detections: int) -> None:
    generator = torch.Generator().manual_seed(0)
    heap = torch.tensor([0.0, 0, 10, 10]) + 0.3 * torch.rand(150, 4, generator=generator)
    low = 30 * torch.rand(50, 2, generator=generator)
    rest = torch.cat([low, low + 2 + 5 * torch.rand(50, 2, generator=generator)], dim=1)
    logits = torch.cat([torch.linspace(4, 2, 150), torch.linspace(1, -1, 50)])[:, None]
    outputs = exactly(logits, torch.cat([heap, rest]))
    settings = make(nms_iou=nms_iou, max_detections=max_detections)
    assert_same(settings(outputs, batch_of(1)), naive_detections(outputs, settings))


@given(seed=st.integers(0, 9999))
def test_a_batch_gives_what_its_images_give_one_by_one(seed: int) -> None:
    outputs = outputs_of(3, seed)
    batch = batch_of(3)
    batch.targets.annotated[1] = batch_of(1, size=(30, 20)).targets.annotated[0]
    settings = make(candidates_per_level=9, max_detections=6)
    together = settings(outputs, batch)
    assert batch.matrices is not None
    for image in range(3):
        part = slice(image, image + 1)
        targets = BoxTargets(*batch.targets[:2], batch.targets.annotated[part], batch.targets.sizes)
        alone = settings(
            outputs._replace(logits=outputs.logits[part], deltas=outputs.deltas[part]),
            Batch(batch.inputs[part], targets, batch.keys[part], batch.matrices[part]),
        )
        for one, two in zip(alone[0], together[image], strict=True):
            torch.testing.assert_close(one, two)


def test_each_level_of_each_image_has_its_own_candidates() -> None:
    outputs = outputs_of(2, seed=1)
    outputs.logits.div_(9.0)
    outputs.logits[:, : LEVELS[0]] += 2.0  # all of the first level before all of the second
    settings = make(candidates_per_level=4, nms_iou=1.0, score_threshold=0.0)
    found = settings(outputs, batch_of(2, size=(96, 64)))
    assert [len(each.scores) for each in found] == [8, 8]
    assert_same(found, naive_detections(outputs, settings, size=(96, 64)))
    for each in found:
        assert (each.scores > 0.7).tolist() == [True] * 4 + [False] * 4


def test_scores_in_bfloat16_come_out_in_float32_and_need_no_gradient() -> None:
    outputs = outputs_of(1, seed=2)
    half = outputs._replace(
        logits=outputs.logits.bfloat16().requires_grad_(), deltas=outputs.deltas.bfloat16()
    )
    (found,) = make(max_detections=5)(half, batch_of(1))
    assert found.scores.dtype == found.boxes.dtype == torch.float32
    assert not found.scores.requires_grad
    assert len(found.scores) == 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score_threshold": 1.0}, r"^score_threshold must be in \[0, 1\), got 1\.0$"),
        ({"score_threshold": -0.1}, r"^score_threshold must be in \[0, 1\), got -0\.1$"),
        ({"score_threshold": float("nan")}, r"^score_threshold must be in \[0, 1\), got nan$"),
        ({"nms_iou": 1.1}, r"^nms_iou must be in \[0, 1\], got 1\.1$"),
        ({"nms_iou": -0.1}, r"^nms_iou must be in \[0, 1\], got -0\.1$"),
        ({"candidates_per_level": 0}, "^candidates_per_level must be >= 1, got 0$"),
        ({"max_detections": 0}, "^max_detections must be >= 1, got 0$"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**settings)
