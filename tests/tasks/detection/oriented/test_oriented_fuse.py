import math
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oriented import NEAR_BOXES, Box, iou_of, tensor, turned
from torch import Tensor

from visionlab.core import oriented_boxes
from visionlab.tasks.detection.fuse import images
from visionlab.tasks.detection.fuse.wbf import Confidence
from visionlab.tasks.detection.oriented import clusters
from visionlab.tasks.detection.oriented.fuse import OrientedBoxFusion
from visionlab.tasks.detection.records import Detections

FUSE = OrientedBoxFusion(
    iou_threshold=0.55, score_threshold=0.0, confidence="box_and_model_avg", max_detections=100
)


def found_of(boxes: Tensor, scores: list[float], labels: list[int]) -> Detections:
    return Detections(boxes.float(), torch.tensor(scores), torch.tensor(labels, dtype=torch.int64))


def fused(*members: Detections, weights: list[float] | None = None) -> Detections:
    (found,) = FUSE([[each] for each in members], weights or [1.0] * len(members))
    return found


def assert_same(found: Tensor, wanted: Tensor) -> None:
    corners = [
        oriented_boxes.canonical_corners(oriented_boxes.corners(each.double()))
        for each in (found, wanted)
    ]
    shifts = [(corners[0] - corners[1].roll(shift, dims=-2)).abs().max() for shift in range(4)]
    assert min(shifts) < 1e-3


def upright(*corners: tuple[float, ...]) -> Tensor:
    return oriented_boxes.from_boxes(tensor(*corners))


def test_the_published_example_with_upright_boxes() -> None:
    first = found_of(
        100 * upright((0.1, 0.1, 0.4, 0.4), (0.5, 0.5, 0.8, 0.8), (0.11, 0.11, 0.41, 0.41)),
        [0.9, 0.6, 0.3],
        [0, 1, 0],
    )
    second = found_of(
        100 * upright((0.12, 0.1, 0.42, 0.4), (0.5, 0.52, 0.8, 0.82), (0.05, 0.6, 0.25, 0.9)),
        [0.8, 0.7, 0.5],
        [0, 1, 0],
    )
    found = fused(first, second)
    assert found.labels.tolist() == [0, 1, 0]
    assert found.scores.tolist() == pytest.approx([0.666667, 0.65, 0.25], abs=1e-6)
    wanted = 100 * upright(
        (0.1095, 0.1015, 0.4095, 0.4015),
        (0.5, 0.510769, 0.8, 0.810769),
        (0.05, 0.6, 0.25, 0.9),
    )
    for one, other in zip(found.boxes, wanted, strict=True):
        assert_same(one[None], other[None])
    weighted = fused(first, second, weights=[2.0, 1.0])
    assert weighted.scores.tolist() == pytest.approx([0.64, 0.633333, 0.166667], abs=1e-6)


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
@pytest.mark.parametrize("degrees", [0, 30, 45, 89, -90])
def test_a_box_from_another_corner_on_does_not_collapse(turn: int, degrees: float) -> None:
    one = turned(10, 20, 4, 2, degrees)
    sides = (2, 4) if turn % 2 else (4, 2)
    other = turned(10, 20, *sides, degrees + 90 * turn)
    found = fused(found_of(one, [0.8], [0]), found_of(other, [0.6], [0]))
    assert_same(found.boxes, one)
    assert found.scores.tolist() == pytest.approx([0.7])


def test_angles_on_both_sides_of_the_range_have_a_mean_between_them() -> None:
    found = fused(
        found_of(turned(0, 0, 40, 10, 88), [0.5], [0]),
        found_of(turned(0, 0, 40, 10, -88), [0.5], [0]),
    )
    assert_same(found.boxes, turned(0, 0, 40, 10, 90))


def test_sides_are_not_mixed_where_angles_differ_by_more_than_half_a_right_angle() -> None:
    boxes = torch.cat([turned(0, 0, 10, 4, 0), turned(0, 0, 10, 4, 50)])
    fuse = OrientedBoxFusion(
        iou_threshold=0.3, score_threshold=0.0, confidence="box_and_model_avg", max_detections=100
    )
    (found,) = fuse([[found_of(boxes[:1], [0.5], [0])], [found_of(boxes[1:], [0.5], [0])]], [1, 1])
    assert_same(found.boxes, turned(0, 0, 10, 4, 25))


def test_images_classes_and_low_scores() -> None:
    box = turned(10, 20, 4, 2, 30)
    some, none = found_of(box.expand(2, 5), [0.8, 0.1], [0, 1]), found_of(box[:0], [], [])
    fuse = OrientedBoxFusion(
        iou_threshold=0.5, score_threshold=0.2, confidence="box_and_model_avg", max_detections=100
    )
    first, second = fuse([[some, none], [none, none]], [1.0, 3.0])
    assert first.labels.tolist() == [0]
    assert first.scores.tolist() == pytest.approx([0.2])  # a quarter of the weights agrees
    assert second.boxes.shape == (0, 5)


@settings(max_examples=25)
@given(NEAR_BOXES, st.integers(0, 3), st.integers(0, 3), st.floats(0.1, 1.0))
def test_fusing_a_box_with_itself_gives_it(box: Box, one: int, other: int, score: float) -> None:
    x, y, width, height, angle = box
    numbers = [
        tensor(
            (x, y, *((height, width) if turn % 2 else (width, height)), angle + turn * math.pi / 2)
        )
        for turn in (one, other)
    ]
    found = fused(*(found_of(each, [score], [0]) for each in numbers))
    assert len(found.scores) == 1
    assert_same(found.boxes, tensor(box).float())
    assert found.scores.item() == pytest.approx(score)


@settings(max_examples=25)
@given(st.permutations(range(3)), st.floats(0.5, 4.0))
def test_order_of_members_and_scale_of_weights_change_nothing(
    order: list[int], factor: float
) -> None:
    boxes = [turned(10 + shift, 20, 4, 2, 30 + 9 * shift) for shift in range(3)]
    members = [found_of(box, [0.5], [0]) for box in boxes]
    weights = [1.0, 2.0, 0.0]
    wanted = fused(*members, weights=weights)
    found = fused(
        *(members[place] for place in order), weights=[factor * weights[place] for place in order]
    )
    torch.testing.assert_close(found.boxes, wanted.boxes)
    torch.testing.assert_close(found.scores, wanted.scores)


def test_scores_of_zero_have_a_plain_mean() -> None:
    found = fused(
        found_of(turned(0, 0, 4, 2, 10), [0.0], [0]), found_of(turned(0.5, 0, 4, 2, 10), [0.0], [0])
    )
    assert_same(found.boxes, turned(0.25, 0, 4, 2, 10))
    assert found.scores.tolist() == [0.0]


def test_sides_keep_their_places_if_the_mean_box_becomes_higher_than_wide() -> None:
    sides = [(10.0, 9.9), (9.0, 10.2), (9.0, 10.4), (9.2, 10.4)]
    boxes = [turned(10, 20, width, height, 20) for width, height in sides]
    found = fused(*(found_of(box, [0.5], [0]) for box in boxes))
    assert_same(found.boxes, turned(10, 20, 9.3, 10.225, 20))


def random_members(seed: int) -> list[list[Detections]]:
    """Return three members with three images of some boxes, many of which have equal scores."""
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> Detections:
        boxes = torch.rand(count, 5, generator=generator) * tensor((9, 9, 6, 6, 3)) + 1
        scores = torch.randint(0, 5, (count,), generator=generator) / 4
        labels = torch.randint(0, 2, (count,), generator=generator)
        return Detections(boxes.float(), scores, labels)

    counts = torch.randint(0, 14, (3, 3), generator=generator).tolist()
    return [[draw(count) for count in row] for row in counts]


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 0.55]))
def test_boxes_fuse_as_they_do_one_after_another(seed: int, iou_threshold: float) -> None:
    """A naive loop over boxes; groups that are fused together do not mix."""
    members = random_members(seed)
    fuse = OrientedBoxFusion(
        iou_threshold=iou_threshold, score_threshold=0.0, confidence="avg", max_detections=100
    )
    for number, found in enumerate(fuse(members, [1.0, 1.0, 1.0])):
        rows = list(zip(found.labels.tolist(), found.scores.tolist(), found.boxes, strict=True))
        assert [row[1] for row in rows] == sorted((row[1] for row in rows), reverse=True)
        for label in (0, 1):
            for box, score in naive([each[number] for each in members], label, iou_threshold):
                match = [
                    place
                    for place, (own, own_score, own_box) in enumerate(rows)
                    if own == label
                    and own_score == pytest.approx(score, abs=1e-5)
                    and torch.allclose(own_box, box.float(), atol=1e-3, rtol=1e-3)
                ]
                del rows[match[0]]
        assert not rows


def naive(
    members: list[Detections], label: int, iou_threshold: float
) -> list[tuple[Tensor, float]]:
    """Return the fused boxes of a class in an image and their scores."""
    boxes = [
        (float(score), oriented_boxes.canonical(box.double()))
        for each in members
        for box, score, own in zip(*(each.boxes, each.scores, each.labels), strict=True)
        if int(own) == label
    ]
    open_clusters: list[tuple[list[Tensor], list[float], Tensor]] = []
    for score, box in sorted(boxes, key=lambda pair: (-pair[0], pair[1].tolist())):
        overlaps = [
            iou_of(tuple(box.tolist()), tuple(mean.tolist())) for _, _, mean in open_clusters
        ]
        best = max(range(len(overlaps)), key=overlaps.__getitem__, default=None)
        if best is None or overlaps[best] <= iou_threshold:
            open_clusters.append(([box], [score], box))
            continue
        aligned, scores, mean = open_clusters[best]
        aligned.append(nearest(box, mean))
        scores.append(score)
        shares = torch.tensor(scores if any(scores) else [1.0] * len(scores)).double()
        mean = (torch.stack(aligned) * shares[:, None]).sum(dim=0) / shares.sum()
        twice = 2 * torch.stack(aligned)[:, 4]
        mean[4] = torch.atan2((shares * twice.sin()).sum(), (shares * twice.cos()).sum()) / 2
        open_clusters[best] = (aligned, scores, mean)
    return [
        (oriented_boxes.canonical(mean), sum(scores) / len(scores) * min(3, len(scores)) / 3)
        for _, scores, mean in open_clusters
    ]


def nearest(box: Tensor, reference: Tensor) -> Tensor:
    """Return the numbers of a box whose corners are nearest to those of a reference."""
    x, y, width, height, angle = box.tolist()
    options = tensor(
        *(
            (x, y, *((height, width) if turn % 2 else (width, height)), angle + turn * math.pi / 2)
            for turn in range(4)
        )
    )
    distances = (oriented_boxes.corners(options) - oriented_boxes.corners(reference)).square()
    return options[distances.sum(dim=(1, 2)).argmin()]


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.permutations(range(3)), st.sampled_from(get_args(Confidence)))
def test_neither_the_order_of_members_nor_that_of_boxes_counts(
    seed: int, order: list[int], confidence: Confidence
) -> None:
    members, weights = random_members(seed), [1.0, 2.0, 1.0]
    members[2] = [Detections(*(part.clone() for part in each)) for each in members[0]]  # all tied
    fuse = OrientedBoxFusion(
        iou_threshold=0.3, score_threshold=0.0, confidence=confidence, max_detections=5
    )
    wanted = fuse(members, weights)
    generator = torch.Generator().manual_seed(seed)
    shuffled = [
        [shuffle(each, generator=generator) for each in members[number]] for number in order
    ]
    found = fuse(shuffled, [weights[number] for number in order])
    assert all(
        torch.equal(one, other)
        for pair in zip(found, wanted, strict=True)
        for one, other in zip(*pair, strict=True)
    )


def shuffle(found: Detections, *, generator: torch.Generator) -> Detections:
    order = torch.randperm(len(found.scores), generator=generator)
    return Detections(*(part[order] for part in found))


def test_equal_scores_have_the_order_of_their_labels_and_numbers() -> None:
    boxes = torch.cat([turned(x, 5, 4, 2, 30) for x in (30, 10, 20, 40)])
    found = fused(found_of(boxes, [0.5] * 4, [1, 1, 0, 0]))
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert found.boxes[:, 0].tolist() == pytest.approx([20, 40, 10, 30])


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_images_and_blocks_of_pairs_do_not_see_each_other(seed: int) -> None:
    members = random_members(seed)
    together = FUSE(members, [1.0, 2.0, 3.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "_BOXES_AT_ONCE", 1)
        patch.setattr(clusters, "_PAIRS_AT_ONCE", 7)
        alone = FUSE(members, [1.0, 2.0, 3.0])
    for one, other in zip(together, alone, strict=True):
        assert all(map(torch.equal, one, other))


def test_boxes_without_area_are_dropped() -> None:
    found = fused(
        found_of(torch.cat([turned(5, 5, 4, 0, 30), turned(5, 5, 4, 2, 30)]), [0.9, 0.5], [0, 0])
    )
    assert found.scores.tolist() == [0.5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iou_threshold": 1.0}, r"^iou_threshold must be in \[0, 1\), got 1\.0$"),
        ({"score_threshold": -1.0}, r"^score_threshold must be in \[0, 1\], got -1\.0$"),
        ({"max_detections": 0}, r"^max_detections must be >= 1, got 0$"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OrientedBoxFusion(
            **{"iou_threshold": 0.5, "score_threshold": 0.0, "confidence": "avg"}
            | {"max_detections": 9, **changes}
        )


@pytest.mark.parametrize("weights", [[1.0], [-1.0, 2.0], [0.0, 0.0]])
def test_weights_out_of_range(weights: list[float]) -> None:
    box = found_of(turned(0, 0, 4, 2, 10), [0.5], [0])
    with pytest.raises(ValueError, match=r"^weights must be 2 finite numbers >= 0.*, got \["):
        FUSE([[box], [box]], weights)
