from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_iou

from visionlab.tasks.detection.loss import matching
from visionlab.tasks.detection.loss.matching import Matches, match
from visionlab.tasks.detection.model.anchors import Anchors

Shapes = Sequence[tuple[int, int]]
ANCHORS = Anchors(sizes_px=[16.0, 40.0, 90.0], ratios=[0.5, 1.0, 2.0], scales=[1.0, 1.3])
STRIDES = (8, 16, 64)
LEVELS: list[Shapes] = [
    [(8, 8), (4, 4), (1, 1)],
    [(5, 9), (3, 5), (1, 2)],
    [(1, 1), (1, 1), (1, 1)],
    [(1, 7), (2, 1), (1, 1)],
]


def matched(
    boxes: Tensor,
    is_box: Tensor,
    shapes: Shapes,
    *,
    positive_iou: float = 0.5,
    negative_iou: float = 0.4,
    force_best_anchor: bool = False,
) -> Matches:
    return match(
        boxes,
        is_box,
        ANCHORS(shapes, STRIDES),
        shapes,
        positive_iou=positive_iou,
        negative_iou=negative_iou,
        force_best_anchor=force_best_anchor,
    )


def naive_match(
    boxes: Tensor,
    is_box: Tensor,
    anchors: Tensor,
    *,
    positive_iou: float,
    negative_iou: float,
    force_best_anchor: bool,
) -> tuple[list[tuple[int, int, int]], list[tuple[int, int]]]:
    """Return positives and ignored anchors from all overlaps, image by image and pair by pair."""
    positives, ignored = [], []
    for image, (rows, is_real) in enumerate(zip(boxes, is_box.tolist(), strict=True)):
        numbers = [number for number, real in enumerate(is_real) if real]
        overlaps = box_iou(rows[numbers], anchors).tolist()
        forced: dict[int, int] = {}
        if force_best_anchor:
            for number, row in zip(numbers, overlaps, strict=True):
                forced.setdefault(row.index(max(row)), number)
        for anchor in range(len(anchors)):
            column = [row[anchor] for row in overlaps]
            best = max(column, default=0.0)
            if anchor in forced:
                positives.append((image, anchor, forced[anchor]))
            elif best >= positive_iou:
                positives.append((image, anchor, numbers[column.index(best)]))
            elif best >= negative_iou:
                ignored.append((image, anchor))
    return positives, ignored


def listed(found: Matches) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    parts = found.positives, found.ignored
    first, second = ([tuple(row) for row in torch.stack(part, 1).tolist()] for part in parts)
    return first, second


def random_boxes(seed: int, num_images: int, most: int, *, whole: bool) -> tuple[Tensor, Tensor]:
    """Return boxes, tiny and huge, some outside, some twice, and where they are no padding."""
    generator = np.random.default_rng(seed)
    centres = generator.uniform(-20, 90, (num_images, most, 2))
    sizes = 2 ** generator.uniform(-2, 8, (num_images, most, 1))
    sizes = sizes * 2 ** generator.uniform(-1.5, 1.5, (num_images, most, 2))
    is_usual = generator.random((num_images, most, 1)) < 0.7
    sizes = np.where(is_usual, generator.uniform(10, 100, sizes.shape), sizes)
    if whole:  # so that overlaps are equal and thresholds are met exactly
        centres, sizes = 4 * np.round(centres / 4), 8 * np.ceil(sizes / 8)
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=2)
    if most > 1:
        boxes[:, -1] = boxes[:, 0]
    is_box = generator.random((num_images, most)) < 0.75
    is_box[generator.random(num_images) < 0.2] = False
    return torch.from_numpy(boxes).float(), torch.from_numpy(is_box)


PROBLEMS = st.builds(
    random_boxes, st.integers(0, 10**6), st.integers(1, 4), st.integers(0, 7), whole=st.booleans()
)


@given(
    problem=PROBLEMS,
    shapes=st.sampled_from(LEVELS),
    thresholds=st.sampled_from([(0.5, 0.4), (0.5, 0.5), (0.3, 0.1), (0.9, 0.05), (1.0, 0.7)]),
    forced=st.booleans(),
)
def test_matches_equal_those_from_all_overlaps(
    problem: tuple[Tensor, Tensor], shapes: Shapes, thresholds: tuple[float, float], forced: bool
) -> None:
    settings = {
        "positive_iou": thresholds[0],
        "negative_iou": thresholds[1],
        "force_best_anchor": forced,
    }
    found = matched(*problem, shapes, **settings)  # type: ignore[arg-type]
    expected = naive_match(*problem, ANCHORS(shapes, STRIDES), **settings)  # type: ignore[arg-type]
    assert listed(found) == expected
    assert all(part.dtype == torch.int64 for part in (*found.positives, *found.ignored))


def test_many_problems_have_positives_and_ignored_anchors() -> None:
    """What the test above compares is not always empty."""
    counts = np.zeros(2, dtype=np.int64)
    for seed in range(30):
        problem = random_boxes(seed, 3, 5, whole=bool(seed % 2))
        found = listed(matched(*problem, LEVELS[0]))
        counts += [len(part) for part in found]
    assert (counts > 150).all()


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("chunk", [1, 50, 1000])
def test_the_size_of_chunks_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, chunk: int, forced: bool
) -> None:
    problems = [random_boxes(seed, 4, 6, whole=bool(seed % 2)) for seed in range(10)]
    expected = [
        listed(matched(*problem, LEVELS[0], force_best_anchor=forced)) for problem in problems
    ]
    monkeypatch.setattr(matching, "_CHUNK", chunk)
    for problem, wanted in zip(problems, expected, strict=True):
        assert listed(matched(*problem, LEVELS[0], force_best_anchor=forced)) == wanted


def one_anchor(box: Sequence[float], *more: Sequence[float], **settings: bool) -> Matches:
    """Match with the one anchor 0, 0, 32, 32."""
    boxes = torch.tensor([[list(each) for each in (box, *more)]], dtype=torch.float32)
    anchors = torch.tensor([[0.0, 0.0, 32.0, 32.0]])
    return match(
        boxes,
        torch.ones(boxes.shape[:2], dtype=torch.bool),
        anchors,
        [(1, 1)],
        positive_iou=0.5,
        negative_iou=0.25,
        **{"force_best_anchor": False, **settings},
    )


@pytest.mark.parametrize(
    ("width", "kind"),
    [(32.0, "positive"), (16.0, "positive"), (15.9, "ignored"), (8.0, "ignored"), (7.9, "none")],
)
def test_thresholds_count_from_just_their_value_on(width: float, kind: str) -> None:
    positives, ignored = listed(one_anchor([0, 0, width, 32]))
    assert positives == ([(0, 0, 0)] if kind == "positive" else [])
    assert ignored == ([(0, 0)] if kind == "ignored" else [])


def test_of_equal_overlaps_the_first_box_is_taken() -> None:
    left, right = [0, 0, 24, 32], [8, 0, 32, 32]
    assert listed(one_anchor(left, right))[0] == [(0, 0, 0)]
    assert listed(one_anchor([0, 0, 20, 32], right, left))[0] == [(0, 0, 1)]


def test_padding_is_never_matched() -> None:
    boxes = torch.tensor([[[0.0, 0, 32, 32], [0.0, 0, 32, 32]], [[0.0, 0, 32, 32]] * 2])
    is_box = torch.tensor([[False, True], [False, False]])
    found = match(
        boxes,
        is_box,
        torch.tensor([[0.0, 0.0, 32.0, 32.0]]),
        [(1, 1)],
        positive_iou=0.5,
        negative_iou=0.4,
        force_best_anchor=True,
    )
    assert listed(found) == ([(0, 0, 1)], [])


def test_a_box_that_no_anchor_overlaps_enough_can_be_forced_on_the_best_one() -> None:
    tiny = torch.tensor([[[30.0, 30.0, 33.0, 33.0]]])
    is_box = torch.ones(1, 1, dtype=torch.bool)
    assert listed(matched(tiny, is_box, LEVELS[0])) == ([], [])
    positives, ignored = listed(matched(tiny, is_box, LEVELS[0], force_best_anchor=True))
    anchors = ANCHORS(LEVELS[0], STRIDES)
    assert positives == [(0, int(box_iou(tiny[0], anchors).argmax()), 0)]
    assert ignored == []


def test_a_forced_anchor_goes_to_the_first_box_that_wants_it_though_another_overlaps_it_more() -> (
    None
):
    bad, good = [0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 32.0, 32.0]
    assert listed(one_anchor(bad, good))[0] == [(0, 0, 1)]
    assert listed(one_anchor(bad, good, force_best_anchor=True))[0] == [(0, 0, 0)]
    assert listed(one_anchor(good, bad, force_best_anchor=True))[0] == [(0, 0, 0)]


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("most", [0, 3])
def test_a_batch_without_boxes_has_no_matches(most: int, forced: bool) -> None:
    boxes, is_box = torch.zeros(2, most, 4), torch.zeros(2, most, dtype=torch.bool)
    found = matched(boxes, is_box, LEVELS[0], force_best_anchor=forced)
    assert listed(found) == ([], [])


@given(problem=PROBLEMS, forced=st.booleans())
def test_an_image_is_matched_the_same_whatever_is_beside_it(
    problem: tuple[Tensor, Tensor], forced: bool
) -> None:
    boxes, is_box = problem
    together = listed(matched(boxes, is_box, LEVELS[1], force_best_anchor=forced))
    alone: tuple[list[tuple[int, ...]], list[tuple[int, ...]]] = ([], [])
    for image in range(len(boxes)):
        part = slice(image, image + 1)
        found = listed(matched(boxes[part], is_box[part], LEVELS[1], force_best_anchor=forced))
        for rows, more in zip(alone, found, strict=True):
            rows += [(image, *row[1:]) for row in more]
    assert together == alone


def test_anchors_of_the_paper_on_a_usual_canvas_are_matched_as_by_all_overlaps() -> None:
    paper = Anchors(
        sizes_px=[32, 64, 128, 256, 512],
        ratios=[0.5, 1.0, 2.0],
        scales=[1.0, 2 ** (1 / 3), 2 ** (2 / 3)],
    )
    shapes = [(40, 52), (20, 26), (10, 13), (5, 7), (3, 4)]
    anchors = paper(shapes, (8, 16, 32, 64, 128))
    generator = torch.Generator().manual_seed(0)
    low = 300 * torch.rand(2, 9, 2, generator=generator)
    boxes = torch.cat([low, low + 4 + 300 * torch.rand(2, 9, 2, generator=generator) ** 2], dim=2)
    found = match(
        boxes,
        torch.ones(2, 9, dtype=torch.bool),
        anchors,
        shapes,
        positive_iou=0.5,
        negative_iou=0.4,
        force_best_anchor=False,
    )
    for image in range(2):
        best, number = box_iou(boxes[image], anchors).max(dim=0)
        is_here = found.positives[0] == image
        expected = (best >= 0.5).nonzero()[:, 0]
        assert len(expected) > 50
        assert torch.equal(found.positives[1][is_here], expected)
        assert torch.equal(found.positives[2][is_here], number[expected])
        between = ((best >= 0.4) & (best < 0.5)).nonzero()[:, 0]
        assert torch.equal(found.ignored[1][found.ignored[0] == image], between)
