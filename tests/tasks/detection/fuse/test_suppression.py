"""Fusions by suppression against worked numbers and suppression box by box."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from box_members import (
    EXAMPLE,
    SCENE,
    Candidate,
    Members,
    Row,
    assert_rows,
    by_class,
    detections,
    iou,
    mean_box,
    members,
    random_members,
)
from hypothesis import given
from hypothesis import strategies as st

from visionlab.tasks.detection import (
    GaussianSoftNms,
    LinearSoftNms,
    NonMaximumSuppression,
    NonMaximumWeighted,
)

Naive = Callable[[Sequence[Candidate]], list[tuple[tuple[float, ...], float]]]
ALL = {"score_threshold": 0.0, "max_detections": 10**6}
THRESHOLDS = st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 0.8, 1.0])


def naive_nms(threshold: float) -> Naive:
    def fuse(candidates: Sequence[Candidate]) -> list[tuple[tuple[float, ...], float]]:
        kept: list[Candidate] = []
        for each in candidates:
            if all(iou(other.box, each.box) <= threshold for other in kept):
                kept.append(each)
        return [(each.box, each.score) for each in kept]

    return fuse


def naive_nmw(threshold: float) -> Naive:
    def fuse(candidates: Sequence[Candidate]) -> list[tuple[tuple[float, ...], float]]:
        clusters: list[list[Candidate]] = []
        for each in candidates:
            overlaps = [iou(cluster[0].box, each.box) for cluster in clusters]
            best = max(overlaps, default=0.0)
            if best > threshold:
                clusters[overlaps.index(best)].append(each)
            else:
                clusters.append([each])
        fused = []
        for cluster in clusters:
            shares = [each.score * iou(cluster[0].box, each.box) for each in cluster]
            fused.append((mean_box([each.box for each in cluster], shares), cluster[0].score))
        return fused

    return fuse


def naive_soft_nms(decay: Callable[[float], float], least: float) -> Naive:
    def fuse(candidates: Sequence[Candidate]) -> list[tuple[tuple[float, ...], float]]:
        rest, picked = [(each.score, each.box) for each in candidates], []
        while rest:
            best = max(range(len(rest)), key=lambda place: rest[place][0])  # the first of equals
            score, box = rest.pop(best)
            picked.append((box, score))
            rest = [(other * decay(iou(box, each)), each) for other, each in rest]
        return [(box, score) for box, score in picked if score >= least]

    return fuse


def assert_like(fusion: Any, naive: Naive, found: Members, weights: Sequence[float]) -> None:
    for image, fused in enumerate(fusion(found, weights)):
        groups = by_class(found, weights, image=image, score_threshold=fusion.score_threshold)
        rows = [(*each, label) for label, group in groups.items() for each in naive(group)]
        assert_rows(fused, rows)


def scores_by_class(found: Any) -> dict[int, list[float]]:
    (fused,) = found
    pairs = list(zip(fused.labels.tolist(), fused.scores.tolist(), strict=True))
    return {label: [score for other, score in pairs if other == label] for label in (0, 1)}


def test_the_worked_example() -> None:
    fused = NonMaximumSuppression(iou_threshold=0.5, **ALL)(EXAMPLE, [1, 1])
    assert scores_by_class(fused) == {0: pytest.approx([0.9, 0.5]), 1: pytest.approx([0.7])}
    fused = NonMaximumSuppression(iou_threshold=0.5, **ALL)(EXAMPLE, [2, 1])
    assert scores_by_class(fused) == {0: pytest.approx([0.9, 0.25]), 1: pytest.approx([0.6])}
    (weighted,) = NonMaximumWeighted(iou_threshold=0.55, **ALL)(EXAMPLE, [1, 1])
    rows: list[Row] = [
        ((0.108927, 0.101412, 0.408927, 0.401412), 0.9, 0),
        ((0.5, 0.511429, 0.8, 0.811429), 0.7, 1),
        ((0.05, 0.60, 0.25, 0.90), 0.5, 0),
    ]
    assert_rows(weighted, rows)
    settings = {"score_threshold": 0.001, "max_detections": 100}
    soft = GaussianSoftNms(sigma=0.5, **settings)(EXAMPLE, [1, 1])
    assert scores_by_class(soft) == {
        0: pytest.approx([0.9, 0.5, 0.173012, 0.013840], abs=1e-6),
        1: pytest.approx([0.7, 0.129759], abs=1e-6),
    }
    soft = LinearSoftNms(iou_threshold=0.5, **settings)(EXAMPLE, [1, 1])
    assert scores_by_class(soft) == {
        0: pytest.approx([0.9, 0.5, 0.1, 0.004542], abs=1e-6),
        1: pytest.approx([0.7, 0.075], abs=1e-6),
    }


def test_other_numbers_of_ensemble_boxes() -> None:
    (fused,) = NonMaximumWeighted(iou_threshold=0.55, **ALL)(SCENE, [1, 3, 2])
    rows: list[Row] = [
        ((103.0625, 96.9375, 176.9375, 163.0625), 0.7, 0),
        ((11.8088, 9.1164, 51.8088, 59.1164), 0.6, 0),
        ((20.0, 90.0, 60.0, 130.0), 0.266667, 0),
    ]
    assert_rows(fused, rows, atol=1e-4)


def test_an_iou_at_the_threshold_stays() -> None:
    found = [[detections([((0, 0, 2, 1), 0.9, 0)])], [detections([((1, 0, 2, 1), 0.8, 0)])]]
    for fusion in (NonMaximumSuppression, NonMaximumWeighted):
        assert len(fusion(iou_threshold=0.5, **ALL)(found, [1, 1])[0].scores) == 2
        assert len(fusion(iou_threshold=0.49, **ALL)(found, [1, 1])[0].scores) == 1
    soft = LinearSoftNms(iou_threshold=0.5, **ALL)(found, [1, 1])[0]
    assert soft.scores.tolist() == pytest.approx([0.9, 0.8])


def test_a_decayed_box_suppresses_later_with_what_is_left() -> None:
    # b decays below c, which then is picked first
    rows = [((0, 0, 10, 10), 1.0, 0), ((0, 1, 10, 11), 0.9, 0), ((0, 4, 10, 14), 0.5, 0)]
    (fused,) = LinearSoftNms(iou_threshold=0.5, **ALL)([[detections(rows)]], [1])
    c = 0.5
    b = 0.9 * (1 - 90 / 110) * (1 - 70 / 130)
    assert fused.scores.tolist() == pytest.approx([1.0, c, b])


@given(case=members(), threshold=THRESHOLDS, least=st.sampled_from([0.0, 0.25]))
def test_suppression_equals_that_of_one_box_after_the_other(
    case: tuple[Members, list[float]], threshold: float, least: float
) -> None:
    settings = {"iou_threshold": threshold, "score_threshold": least, "max_detections": 100}
    assert_like(NonMaximumSuppression(**settings), naive_nms(threshold), *case)
    assert_like(NonMaximumWeighted(**settings), naive_nmw(threshold), *case)


@given(case=members(), threshold=THRESHOLDS, sigma=st.sampled_from([0.1, 0.5, 2.0]))
def test_decay_equals_that_of_one_box_after_the_other(
    case: tuple[Members, list[float]], threshold: float, sigma: float
) -> None:
    settings = {"score_threshold": 0.001, "max_detections": 100}
    gaussian = naive_soft_nms(lambda overlap: math.exp(-(overlap**2) / sigma), 0.001)
    assert_like(GaussianSoftNms(sigma=sigma, **settings), gaussian, *case)
    linear = naive_soft_nms(lambda x: 1 - x if x > threshold else 1.0, 0.001)
    assert_like(LinearSoftNms(iou_threshold=threshold, **settings), linear, *case)


@pytest.mark.parametrize("jitter", [0.0, 0.03, 0.12])
def test_many_boxes(jitter: float) -> None:
    found, weights = random_members(3, jitter=jitter), [1, 0.5, 0.2, 0.9]
    settings = {"score_threshold": 0.05, "max_detections": 10**6}
    for threshold in (0.2, 0.6):
        hard = {"iou_threshold": threshold, **settings}
        assert_like(NonMaximumSuppression(**hard), naive_nms(threshold), found, weights)
        assert_like(NonMaximumWeighted(**hard), naive_nmw(threshold), found, weights)
        linear = naive_soft_nms(lambda x, t=threshold: 1 - x if x > t else 1.0, 0.05)  # type: ignore[misc]
        assert_like(LinearSoftNms(**hard), linear, found, weights)
    gaussian = naive_soft_nms(lambda overlap: math.exp(-(overlap**2) / 0.5), 0.05)
    assert_like(GaussianSoftNms(sigma=0.5, **settings), gaussian, found, weights)


@pytest.mark.parametrize(
    ("fusion", "settings", "message"),
    [
        (NonMaximumSuppression, {"iou_threshold": 2}, r"iou_threshold must .*, got 2"),
        (NonMaximumWeighted, {"iou_threshold": -1}, r"iou_threshold must .*, got -1"),
        (LinearSoftNms, {"iou_threshold": 1.5}, r"iou_threshold must .*, got 1.5"),
        (GaussianSoftNms, {"sigma": 0}, "sigma must be > 0, got 0"),
        (GaussianSoftNms, {"sigma": 1, "score_threshold": 2}, "score_threshold must .*, got 2"),
        (LinearSoftNms, {"iou_threshold": 1, "max_detections": 0}, "max_detections .*, got 0"),
    ],
)
def test_wrong_settings(fusion: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        fusion(**{**ALL, **settings})
