"""Weighted boxes fusion against worked numbers and a fusion box by box."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
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

from visionlab.tasks.detection import WeightedBoxFusion

CONFIDENCES = ["avg", "sum", "max", "box_and_model_avg", "absent_model_aware_avg"]
SINGLE = (0.05, 0.60, 0.25, 0.90)
EQUAL = [(0.1095, 0.1015, 0.4095, 0.4015), (0.5, 0.510769, 0.8, 0.810769), SINGLE]
TWO_TO_ONE = [(0.106875, 0.101875, 0.406875, 0.401875), (0.5, 0.507368, 0.8, 0.807368), SINGLE]


def fusion(**settings: Any) -> WeightedBoxFusion:
    values = {"iou_threshold": 0.55, "score_threshold": 0.0, "confidence": "avg"}
    return WeightedBoxFusion(**{**values, "max_detections": 100, **settings})


def naive(
    found: Members, weights: Sequence[float], settings: WeightedBoxFusion, image: int
) -> list[Row]:
    """Fuse the boxes of an image one by one."""
    rows: list[Row] = []
    groups = by_class(found, weights, image=image, score_threshold=settings.score_threshold)
    for label, candidates in groups.items():
        clusters: list[list[Candidate]] = []
        for candidate in candidates:
            overlaps = [iou(fused_box(cluster), candidate.box) for cluster in clusters]
            best = max(overlaps, default=0.0)
            if best > settings.iou_threshold:
                clusters[overlaps.index(best)].append(candidate)
            else:
                clusters.append([candidate])
        for cluster in clusters:
            score = confidence(settings.confidence, cluster, weights)
            rows.append((fused_box(cluster), score, label))
    return rows


def fused_box(cluster: Sequence[Candidate]) -> tuple[float, ...]:
    return mean_box([each.box for each in cluster], [each.score for each in cluster])


def confidence(rule: str, cluster: Sequence[Candidate], weights: Sequence[float]) -> float:
    shares = [weight / max(weights) for weight in weights]
    present = {each.member for each in cluster}
    mean = sum(each.score for each in cluster) / len(cluster)
    of_boxes = sum(each.weight for each in cluster)
    of_present = sum(shares[member] for member in present)
    of_absent = sum(share for number, share in enumerate(shares) if number not in present)
    return {
        "avg": mean * min(len(weights), len(cluster)) / sum(shares),
        "sum": mean * len(cluster) / sum(shares),
        "max": max(each.score for each in cluster),
        "box_and_model_avg": mean * len(cluster) / of_boxes * of_present / sum(shares),
        "absent_model_aware_avg": mean * len(cluster) / (of_boxes + of_absent),
    }[rule]


@pytest.mark.parametrize(
    ("rule", "weights", "boxes", "scores"),
    [
        ("avg", [1, 1], EQUAL, [0.666667, 0.65, 0.25]),
        ("box_and_model_avg", [1, 1], EQUAL, [0.666667, 0.65, 0.25]),
        ("absent_model_aware_avg", [1, 1], EQUAL, [0.666667, 0.65, 0.25]),
        ("max", [1, 1], EQUAL, [0.9, 0.7, 0.5]),
        ("sum", [1, 1], EQUAL, [1.0, 0.65, 0.25]),
        ("avg", [2, 1], TWO_TO_ONE, [0.711111, 0.633333, 0.166667]),
        ("max", [2, 1], TWO_TO_ONE, [0.9, 0.6, 0.25]),
        ("box_and_model_avg", [2, 1], TWO_TO_ONE, [0.64, 0.633333, 0.166667]),
        ("absent_model_aware_avg", [2, 1], TWO_TO_ONE, [0.64, 0.633333, 0.166667]),
        ("sum", [2, 1], TWO_TO_ONE, [1.0, 0.633333, 0.166667]),  # not 1.066667
    ],
)
def test_the_worked_example(
    rule: str, weights: list[float], boxes: list[tuple[float, ...]], scores: list[float]
) -> None:
    (fused,) = fusion(confidence=rule)(EXAMPLE, weights)
    assert fused.labels.tolist() == [0, 1, 0]
    assert fused.scores.tolist() == pytest.approx(scores, abs=1e-6)
    torch.testing.assert_close(fused.boxes, torch.tensor(boxes), rtol=0, atol=1e-6)


def test_low_scores_are_dropped_before_they_are_weighted() -> None:
    (fused,) = fusion(score_threshold=0.55)(EXAMPLE, [1, 1])
    assert fused.scores.tolist() == pytest.approx([0.85, 0.65])
    assert fused.boxes[0].tolist() == pytest.approx([0.109412, 0.1, 0.409412, 0.4], abs=1e-6)
    (same,) = fusion(score_threshold=0.6)(EXAMPLE, [1e-6, 1])  # 0.6 itself stays
    assert len(same.scores) == 2


@pytest.mark.parametrize(
    ("weights", "rows"),
    [
        (
            [1, 1, 1],
            [
                [0.6, 11.3333, 9.6667, 51.3333, 59.6667],
                [0.5, 101.8667, 98.1333, 178.1333, 161.8667],
                [0.1333, 20.0, 90.0, 60.0, 130.0],
            ],
        ),
        (
            [1, 3, 2],
            [
                [0.55, 11.8182, 9.2727, 51.8182, 59.2727],
                [0.4833, 102.8966, 97.1034, 177.1034, 162.8965],
                [0.1333, 20.0, 90.0, 60.0, 130.0],
            ],
        ),
    ],
)
def test_other_numbers_of_ensemble_boxes(weights: list[float], rows: list[list[float]]) -> None:
    (fused,) = fusion(confidence="box_and_model_avg")(SCENE, weights)
    assert_rows(fused, [(tuple(box), score, 0) for score, *box in rows], atol=1e-4)


@given(
    case=members(),
    threshold=st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 0.55, 0.8, 1.0]),
    rule=st.sampled_from(CONFIDENCES),
    least=st.sampled_from([0.0, 0.25, 0.6]),
)
def test_it_equals_a_fusion_box_by_box(
    case: tuple[Members, list[float]], threshold: float, rule: str, least: float
) -> None:
    found, weights = case
    ours = fusion(iou_threshold=threshold, confidence=rule, score_threshold=least)
    for image, fused in enumerate(ours(found, weights)):
        assert_rows(fused, naive(found, weights, ours, image))


@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.45, 0.55, 0.7])
@pytest.mark.parametrize("jitter", [0.0, 0.03, 0.12])
def test_it_equals_a_fusion_of_many_boxes_one_by_one(threshold: float, jitter: float) -> None:
    found = random_members(7, jitter=jitter)
    ours = fusion(iou_threshold=threshold, max_detections=10**6)
    for weights in ([1, 1, 1, 1], [1, 0.5, 0.2, 0.9]):
        for image, fused in enumerate(ours(found, weights)):
            assert_rows(fused, naive(found, weights, ours, image))


def test_a_chain_drifts_with_its_mean() -> None:
    # each box overlaps the one before; the fused box lags behind
    rows = [
        ((float(3 * place), 0.0, 3 * place + 10.0, 10.0), 1 - place / 64, 0) for place in range(9)
    ]
    found = [[detections([row])] for row in rows]
    ours = fusion(iou_threshold=0.5)
    (fused,) = ours(found, [1] * 9)
    assert_rows(fused, naive(found, [1] * 9, ours, 0))
    assert 1 < len(fused.scores) < 9


def test_boxes_at_either_end_of_a_long_box_join_it() -> None:
    rows = [((0, 0, 100, 10), 1.0, 0), ((79, 0, 100, 10), 0.01, 0), ((0, 0, 21, 10), 0.005, 0)]
    assert len(fusion(iou_threshold=0.2)([[detections(rows)]], [1])[0].scores) == 1


def test_zero_scores_give_a_plain_mean() -> None:
    found = [[detections([((0, 0, 10, 10), 0.0, 0)])], [detections([((2, 0, 12, 10), 0.0, 0)])]]
    (fused,) = fusion()(found, [1, 3])
    assert fused.boxes.tolist() == [[1, 0, 11, 10]]
    assert fused.scores.tolist() == [0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iou_threshold": 2}, r"iou_threshold must .*\[0, 1\], got 2"),
        ({"score_threshold": -1}, "score_threshold must .*, got -1"),
        ({"confidence": "mean"}, "confidence must be one of avg, .*, got 'mean'"),
        ({"max_detections": 0}, "max_detections must be >= 1, got 0"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        fusion(**settings)
