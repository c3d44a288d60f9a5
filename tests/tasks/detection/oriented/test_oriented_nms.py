import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from oriented import NEAR_BOXES, Box, iou_of, tensor, turned

from visionlab.tasks.detection.oriented.nms import oriented_nms

CANDIDATES = st.lists(
    st.tuples(NEAR_BOXES, st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.integers(0, 2)), max_size=12
)


def kept(boxes: torch.Tensor, scores: list[float], groups: list[int], limit: float) -> list[int]:
    found: list[int] = oriented_nms(
        boxes, torch.tensor(scores), torch.tensor(groups), iou_threshold=limit
    ).tolist()
    return found


def greedy(candidates: list[tuple[Box, float, int]], limit: float) -> list[int]:
    """Return the rows that are kept, one after another."""
    found: list[int] = []
    for row in sorted(range(len(candidates)), key=lambda row: (-candidates[row][1], row)):
        box, _, group = candidates[row]
        rivals = [candidates[other][0] for other in found if candidates[other][2] == group]
        if all(iou_of(rival, box) <= limit for rival in rivals):
            found.append(row)
    return sorted(found)


def test_by_hand() -> None:
    boxes = torch.cat(
        [
            turned(0, 0, 40, 4, 0),
            turned(0, 0, 40, 4, 90),  # crosses the first: upright boxes would overlap little too
            turned(1, 0, 40, 4, 0),
            turned(20, 20, 40, 4, 45),
            turned(24, 16, 40, 4, 45),  # beside it: upright boxes have an IoU of 0.6
        ]
    )
    assert kept(boxes, [0.5, 0.6, 0.7, 0.8, 0.9], [0] * 5, 0.3) == [1, 2, 3, 4]
    assert kept(boxes, [0.5, 0.6, 0.7, 0.8, 0.9], [0, 0, 1, 0, 0], 0.3) == [0, 1, 2, 3, 4]


def test_of_equal_scores_the_first_is_kept() -> None:
    boxes = turned(0, 0, 4, 2, 10).expand(3, 5)
    assert kept(boxes, [0.5, 0.5, 0.5], [0, 0, 0], 0.9) == [0]


def test_what_a_suppressed_box_overlaps_is_kept() -> None:
    boxes = torch.cat([turned(x, 0, 10, 4, 0) for x in (0, 3, 6, 9, 12)])
    assert kept(boxes, [0.9, 0.8, 0.7, 0.6, 0.5], [0] * 5, 0.4) == [0, 2, 4]


def test_nothing_and_boxes_without_area() -> None:
    assert kept(tensor((0, 0, 1, 1, 0))[:0], [], [], 0.5) == []
    assert kept(turned(0, 0, 0, 0, 0).expand(2, 5), [0.1, 0.2], [0, 0], 0.5) == [0, 1]


@given(CANDIDATES, st.sampled_from([0.05, 0.3, 0.7]))
def test_equals_the_greedy_loop(candidates: list[tuple[Box, float, int]], limit: float) -> None:
    boxes = tensor(*[box for box, _, _ in candidates]).view(-1, 5)
    pairs = [(a, b) for a, _, _ in candidates for b, _, _ in candidates]
    if any(math.isclose(iou_of(a, b), limit, abs_tol=1e-6) for a, b in pairs):
        return
    scores = [score for _, score, _ in candidates]
    groups = [group for _, _, group in candidates]
    assert kept(boxes, scores, groups, limit) == greedy(candidates, limit)
