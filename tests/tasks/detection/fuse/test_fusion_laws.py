"""Laws that all fusions of detections obey."""

import random
from collections.abc import Sequence

import pytest
import torch
from box_members import (
    Fusion,
    Members,
    assert_equal,
    detections,
    members,
    random_members,
    rows_of,
)
from hypothesis import given
from hypothesis import strategies as st

from visionlab.tasks.detection import (
    GaussianSoftNms,
    LinearSoftNms,
    NonMaximumSuppression,
    NonMaximumWeighted,
    WeightedBoxFusion,
)
from visionlab.tasks.detection.fuse import images, pairs
from visionlab.tasks.detection.fuse.wbf import Confidence

LIMIT = {"score_threshold": 0.0, "max_detections": 10**6}
CONFIDENCES: Sequence[Confidence] = (
    *("avg", "sum", "max"),
    *("box_and_model_avg", "absent_model_aware_avg"),
)
BOX_FUSIONS = [
    WeightedBoxFusion(iou_threshold=0.45, confidence=confidence, **LIMIT)
    for confidence in CONFIDENCES
]
SUPPRESSIONS: list[Fusion] = [
    NonMaximumSuppression(iou_threshold=0.45, **LIMIT),
    NonMaximumWeighted(iou_threshold=0.45, **LIMIT),
]
SOFT: list[Fusion] = [
    LinearSoftNms(iou_threshold=0.3, **LIMIT),
    GaussianSoftNms(sigma=0.5, **LIMIT),
]
FUSIONS: list[Fusion] = [*BOX_FUSIONS, *SUPPRESSIONS, *SOFT]
ANY_FUSION = st.sampled_from(FUSIONS)
Case = tuple[Members, list[float]]


@given(case=members(), fusion=ANY_FUSION, seed=st.integers(0, 99))
def test_neither_the_order_of_members_nor_that_of_boxes_counts(
    case: Case, fusion: Fusion, seed: int
) -> None:
    found, weights = case
    generator = random.Random(seed)
    numbers = generator.sample(range(len(found)), len(found))
    shuffled = [[found[number][image] for image in range(len(found[0]))] for number in numbers]
    for member in shuffled:
        for image, each in enumerate(member):
            order = generator.sample(range(len(each.scores)), len(each.scores))
            member[image] = type(each)(*(part[order] for part in each))
    other = fusion(shuffled, [weights[number] for number in numbers])
    assert_equal(other, fusion(found, weights))


@given(case=members(), fusion=ANY_FUSION, factor=st.sampled_from([0.1, 3.0, 1e-6, 7e8]))
def test_only_the_ratios_of_weights_count(case: Case, fusion: Fusion, factor: float) -> None:
    found, weights = case
    assert_equal(fusion(found, [factor * weight for weight in weights]), fusion(found, weights))


@given(case=members(), fusion=ANY_FUSION)
def test_a_member_of_weight_0_does_not_count(case: Case, fusion: Fusion) -> None:
    found, weights = case
    other = [found[0][::-1], *found]
    assert_equal(fusion(other, [0.0, *weights]), fusion(found, weights))


@given(
    case=members(), copies=st.integers(1, 4), fusion=st.sampled_from([*BOX_FUSIONS, *SUPPRESSIONS])
)
def test_equal_members_fuse_to_themselves(case: Case, copies: int, fusion: Fusion) -> None:
    keep = NonMaximumSuppression(iou_threshold=0.0, **LIMIT)
    member = keep(*case)
    weights = [1.0, 0.3, 0.7, 0.1][:copies]
    assert_equal(fusion([member] * copies, weights), member)


def test_many_equal_members_fuse_to_themselves() -> None:
    (found, *_) = random_members(1, jitter=0.0)
    keep = NonMaximumSuppression(iou_threshold=0.0, **LIMIT)
    member = keep([found], [1])
    for fusion in (*BOX_FUSIONS, *SUPPRESSIONS):
        assert_equal(fusion([member] * 30, [1 / (place + 1) for place in range(30)]), member)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_images_do_not_see_each_other(fusion: Fusion, monkeypatch: pytest.MonkeyPatch) -> None:
    found = random_members(2, jitter=0.05)
    weights = [1, 2, 3, 4]
    together = fusion(found, weights)
    alone = [fusion([[member[image]] for member in found], weights)[0] for image in range(3)]
    assert_equal(together, alone)
    monkeypatch.setattr(images, "_BOXES_AT_ONCE", 300)  # less than two images
    monkeypatch.setattr(pairs, "_PAIRS_AT_ONCE", 7)
    assert_equal(fusion(found, weights), together)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_nothing_found_is_nothing_fused(fusion: Fusion) -> None:
    nothing, one = detections([]), detections([((1, 2, 3, 4), 0.5, 7)])
    for found in ([[]], [[], []], [[nothing]], [[nothing, nothing], [nothing, nothing]]):
        fused = fusion(found, [1.0] * len(found))
        assert_equal(fused, found[0])
        assert all(each.boxes.shape == (0, 4) for each in fused)
    fused = fusion([[nothing, one], [nothing, nothing]], [1, 1])
    assert [len(each.scores) for each in fused] == [0, 1]
    assert fused[1].boxes.tolist() == [[1, 2, 3, 4]]
    assert fused[1].labels.tolist() == [7]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_zero_scores_and_boxes_without_area(fusion: Fusion) -> None:
    rows = [((0, 0, 4, 4), 0.0, 0), ((0, 0, 4, 4), 0.0, 0), ((1, 1, 1, 5), 0.9, 0)]
    (fused,) = fusion([[detections(rows)], [detections(rows[:1])]], [1, 1])
    assert set(fused.scores.tolist()) == {0.0}
    assert set(map(tuple, fused.boxes.tolist())) == {(0, 0, 4, 4)}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_records_keep_their_types(fusion: Fusion) -> None:
    (fused,) = fusion([[detections([((0, 0, 4, 4), 0.5, 3)])]], [1])
    assert [part.dtype for part in fused] == [torch.float32, torch.float32, torch.int64]


def test_the_best_detections_of_each_image_are_kept() -> None:
    rows = [((10 * place, 0, 10 * place + 5, 5), 0.5, place % 2) for place in range(6)]
    found = [[detections([*rows, ((90, 0, 95, 5), 0.6, 0)]), detections(rows[:1])]]
    fusion = NonMaximumSuppression(iou_threshold=0.5, score_threshold=0.0, max_detections=3)
    first, second = fusion(found, [1])
    # equal scores are ordered by label, then coordinates
    assert [(row[0][0], row[2]) for row in rows_of(first)] == [(90, 0), (0, 0), (20, 0)]
    assert len(second.scores) == 1


def test_members_of_other_lengths_are_refused() -> None:
    nothing = detections([])
    for fusion in FUSIONS:
        with pytest.raises(ValueError, match=r"^members must .* member 0, 2, got 1 for member 1$"):
            fusion([[nothing, nothing], [nothing]], [1, 1])
        with pytest.raises(ValueError, match=r"^weights must be 1 .*, got \[1, 1\]$"):
            fusion([[nothing]], [1, 1])
