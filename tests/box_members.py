"""Members' detections, and fusion box by box, for tests of fusion."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from hypothesis import strategies as st

from visionlab.tasks.detection.records import Detections

Box = tuple[float, ...]
Row = tuple[Box, float, int]  # box, score, label
Members = list[list[Detections]]
Fusion = Callable[[Members, Sequence[float]], list[Detections]]

# sums of these are exact, ties frequent, and few boxes far away
SIDES = st.tuples(st.integers(0, 6), st.integers(1, 6))
BOXES = st.tuples(SIDES, SIDES).map(lambda s: (s[0][0], s[1][0], sum(s[0]), sum(s[1])))
SCORES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
ROWS = st.tuples(BOXES, SCORES, st.integers(-1, 1))
WEIGHTS = st.sampled_from([0.25, 0.5, 1.0, 2.0])


def detections(rows: Sequence[Row]) -> Detections:
    """Return detections, highest scores first."""
    rows = sorted(rows, key=lambda row: -row[1])
    return Detections(
        torch.tensor([row[0] for row in rows], dtype=torch.float32).view(-1, 4),
        torch.tensor([row[1] for row in rows], dtype=torch.float32),
        torch.tensor([row[2] for row in rows], dtype=torch.int64),
    )


def rows_of(found: Detections) -> list[Row]:
    """Return the detections as rows."""
    columns = (found.boxes.tolist(), found.scores.tolist(), found.labels.tolist())
    return [(tuple(box), score, label) for box, score, label in zip(*columns, strict=True)]


# worked examples of one image; their results were computed with ensemble_boxes 1.0.9
EXAMPLE = [
    [
        detections(
            [
                ((0.10, 0.10, 0.40, 0.40), 0.9, 0),
                ((0.50, 0.50, 0.80, 0.80), 0.6, 1),
                ((0.11, 0.11, 0.41, 0.41), 0.3, 0),
            ]
        )
    ],
    [
        detections(
            [
                ((0.12, 0.10, 0.42, 0.40), 0.8, 0),
                ((0.50, 0.52, 0.80, 0.82), 0.7, 1),
                ((0.05, 0.60, 0.25, 0.90), 0.5, 0),
            ]
        )
    ],
]
SCENE = [  # three members that see two objects, and one of them a third
    [detections([((10, 10, 50, 60), 0.9, 0), ((100, 100, 180, 160), 0.8, 0)])],
    [detections([((12, 8, 52, 58), 0.6, 0), ((104, 96, 176, 164), 0.7, 0)])],
    [detections([((14, 12, 54, 62), 0.3, 0), ((20, 90, 60, 130), 0.4, 0)])],
]


@st.composite
def members(draw: st.DrawFn) -> tuple[Members, list[float]]:
    """Draw members with their weights, some images or members without boxes."""
    num_members, num_images = draw(st.integers(1, 4)), draw(st.integers(1, 2))
    images = st.lists(ROWS, max_size=7).map(detections)
    lists = st.lists(images, min_size=num_images, max_size=num_images)
    found = draw(st.lists(lists, min_size=num_members, max_size=num_members))
    return found, draw(st.lists(WEIGHTS, min_size=num_members, max_size=num_members))


def random_members(seed: int, *, jitter: float) -> Members:
    """Return 4 members and 3 images of 60 boxes; with jitter 0, they are unrelated."""
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> Detections:
        low = 100 * torch.rand(count, 2, generator=generator)
        sizes = 5 + 30 * torch.rand(count, 2, generator=generator)
        scores = torch.rand(count, generator=generator)
        labels = torch.randint(3, (count,), generator=generator)
        return Detections(torch.cat([low, low + sizes], dim=1), scores, labels)

    def jittered(found: Detections) -> Detections:
        if not jitter:
            return draw(60)
        sizes = (found.boxes[:, 2:] - found.boxes[:, :2]).repeat(1, 2)
        shifts = jitter * sizes * torch.randn(60, 4, generator=generator)
        scores = (found.scores + 0.1 * torch.rand(60, generator=generator)).clamp(max=1.0)
        return Detections(found.boxes + shifts, scores, found.labels)

    base = [draw(60) for _ in range(3)]
    return [[jittered(found) for found in base] for _ in range(4)]


class Candidate(NamedTuple):
    """A box of a member, its weighted score, the weight and the number of the member."""

    box: Box
    score: float
    weight: float
    member: int


def by_class(
    found: Members, weights: Sequence[float], *, image: int, score_threshold: float = 0.0
) -> dict[int, list[Candidate]]:
    """Return the candidates of each class of an image in canonical order."""
    groups: dict[int, list[Candidate]] = {}
    for number, weight in enumerate(weights):
        share = weight / max(weights)
        for box, score, label in rows_of(found[number][image]):
            if score >= score_threshold and share:
                groups.setdefault(label, []).append(Candidate(box, score * share, share, number))
    for group in groups.values():
        group.sort(key=lambda each: (-each.score, each.box, each.weight))
    return groups


def iou(box: Box, other: Box) -> float:
    """Return the intersection over union."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    common = max(width, 0.0) * max(height, 0.0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return common / (sum(areas) - common)


def mean_box(boxes: Sequence[Box], shares: Sequence[float]) -> Box:
    """Return the weighted mean; a plain one if all weights are 0."""
    if not any(shares):
        shares = [1.0] * len(boxes)
    total = sum(shares)
    pairs = list(zip(boxes, shares, strict=True))
    return tuple(sum(share * box[side] for box, share in pairs) / total for side in range(4))


def assert_rows(found: Detections, wanted: Sequence[Row], *, atol: float = 1e-5) -> None:
    """Compare detections with rows in any order, whose scores above 1 become 1."""

    # rounded keys, so that rounding does not change the order
    def key(row: Row) -> tuple[object, ...]:
        return (row[2], round(row[1], 5), *(round(side, 3) for side in row[0]))

    ours = sorted(rows_of(found), key=key)
    theirs = sorted(((box, min(score, 1.0), label) for box, score, label in wanted), key=key)
    assert [row[2] for row in ours] == [row[2] for row in theirs]
    flat = ([[*box, score] for box, score, _ in rows] for rows in (ours, theirs))
    ours_flat, theirs_flat = (torch.tensor(rows).view(-1, 5) for rows in flat)
    torch.testing.assert_close(ours_flat, theirs_flat, rtol=1e-5, atol=atol)
    scores = found.scores.tolist()
    assert scores == sorted(scores, reverse=True)


def assert_equal(found: Sequence[Detections], wanted: Sequence[Detections]) -> None:
    """Compare detections bit by bit."""
    assert list(map(rows_of, found)) == list(map(rows_of, wanted))
