import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import box_iou

from visionlab.tasks.detection.average_precision import (
    LEGACY_IOU,
    Area,
    Matching,
    Outcomes,
    Overlaps,
    class_average_precision,
    match,
    pooled_average_precision,
)

THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
NUM_CLASSES = 3
Image = tuple[NDArray[Any], ...]  # ious, scores, labels, object_labels, is_crowd


def overlaps_of(images: Sequence[Image]) -> Overlaps:
    """Return all pairs of one class, also those that do not overlap; IoUs are shares too."""
    detections, objects, ious = [], [], []
    num_detections = num_objects = 0
    for matrix, _, labels, object_labels, _ in images:
        rows, columns = (labels[:, None] == object_labels).nonzero()
        detections.append(rows + num_detections)
        objects.append(columns + num_objects)
        ious.append(matrix[rows, columns])
        num_detections += len(labels)
        num_objects += len(object_labels)
    scores, labels, object_labels, is_crowd = (
        np.concatenate(column) for column in list(zip(*images, strict=True))[1:]
    )
    pairs = (np.concatenate(column) for column in (detections, objects, ious))
    rows, columns, values = pairs
    return Overlaps(scores, labels, object_labels, is_crowd, rows, columns, values, values)


def image(ious: Sequence[Sequence[float]], scores: Sequence[float], crowd: int = 0) -> Image:
    """Return an image with detections (D,) and objects (G,) of class 0; the last are crowds."""
    matrix = np.array(ious, dtype=np.float64)
    count = matrix.shape[1]
    return (
        matrix,
        np.array(scores, dtype=np.float32),
        np.zeros(len(scores), dtype=np.int64),
        np.zeros(count, dtype=np.int64),
        np.arange(count) >= count - crowd,
    )


def undetected(num_objects: int, *, label: int) -> Image:
    """Return an image without detections."""
    ious, scores, labels, *_ = image([[0.0] * num_objects], [0.5])
    return (
        *(ious[:0], scores[:0], labels[:0]),
        np.full(num_objects, label),
        np.zeros(num_objects, dtype=np.bool_),
    )


def outcomes_of(
    images: Sequence[Image],
    *,
    matching: Matching = "coco",
    thresholds: Sequence[float] = THRESHOLDS,
) -> Outcomes:
    return match(
        overlaps_of(images), iou_thresholds=thresholds, matching=matching, num_classes=NUM_CLASSES
    )


def precision_of(
    images: Sequence[Image], *, matching: Matching = "coco", area: Area = "continuous"
) -> list[float]:
    """Return the average precision of class 0 at IoUs of 0.5 and 0.75."""
    outcomes = outcomes_of(images, matching=matching, thresholds=[0.5, 0.75])
    return class_average_precision(outcomes, area=area)[0].tolist()


def random_images(seed: int, num_images: int, *, has_ties: bool) -> list[Image]:
    generator = np.random.default_rng(seed)
    images = []
    for _ in range(num_images):
        count, num_objects = generator.integers(0, 12), generator.integers(0, 8)
        ious = generator.random((count, num_objects))
        scores = generator.random(count).astype(np.float32) ** 8  # some in exponents
        if has_ties:
            ious, scores = np.round(ious, 1), np.round(scores, 1)
        labels = generator.integers(0, 2, count)
        object_labels = generator.integers(0, 2, num_objects)
        images.append((ious, scores, labels, object_labels, generator.random(num_objects) < 0.2))
    return images


CASES = st.builds(random_images, st.integers(0, 9999), st.integers(1, 6), has_ties=st.booleans())


def naive_class(
    images: Sequence[Image], label: int, threshold: float, matching: Matching, area: Area
) -> float:
    """Return the average precision of a class in plain loops."""
    ranked, num_objects = list[tuple[float, str]](), 0
    for found in images:
        outcomes, count = naive_image(found, label, threshold, matching)
        ranked += outcomes
        num_objects += count
    return naive_area(ranked, num_objects, area)


def naive_image(
    found: Image, label: int, threshold: float, matching: Matching
) -> tuple[list[tuple[float, str]], int]:
    ious, scores, labels, object_labels, is_crowd = found
    rows = [row for row in range(len(labels)) if labels[row] == label]
    objects = [column for column in range(len(is_crowd)) if object_labels[column] == label]
    free = [column for column in objects if not is_crowd[column]]
    count = len(free)
    if matching == "legacy":
        order = sorted(rows, key=lambda row: str(scores[row]))
    else:
        order = sorted(rows, key=lambda row: -scores[row])
    if matching == "dota":
        return naive_dota(found, order, objects, threshold), count
    outcomes = dict.fromkeys(rows, "wrong")
    for row in order:
        best = None
        for column in free:
            iou = ious[row, column]
            is_able = iou > LEGACY_IOU if matching == "legacy" else iou >= threshold
            if is_able and (best is None or iou >= ious[row, best]):
                best = column
        if best is not None:
            free.remove(best)
        if best is not None and ious[row, best] >= threshold:
            outcomes[row] = "right"
        elif any(ious[row, each] >= threshold for each in objects if is_crowd[each]):
            outcomes[row] = "ignored"
    return [(float(scores[row]), outcomes[row]) for row in rows], count


def naive_dota(
    found: Image, order: Sequence[int], objects: Sequence[int], threshold: float
) -> list[tuple[float, str]]:
    ious, scores, *_, is_crowd = found
    ranked, taken = [], set[int]()
    for row in order:
        # the first of equals
        best = max(objects, key=lambda column, row=row: ious[row, column], default=None)
        if best is None or not ious[row, best] > threshold:
            outcome = "wrong"
        elif is_crowd[best]:
            outcome = "ignored"
        else:
            outcome = "wrong" if best in taken else "right"
            taken.add(best)
        ranked.append((float(scores[row]), outcome))
    return ranked


def naive_area(ranked: Sequence[tuple[float, str]], num_objects: int, area: Area) -> float:
    if num_objects == 0:
        return float("nan")
    points = [(0.0, 0.0)]
    num_right = num_counted = 0
    for _, outcome in sorted(ranked, key=lambda pair: -pair[0]):
        if outcome != "ignored":
            num_counted += 1
            num_right += outcome == "right"
            points.append((num_right / num_objects, num_right / num_counted))
    if area != "continuous":
        count = {"11_point": 11, "101_point": 101}[area]
        recalls = [number / (count - 1) for number in range(count)]
        heights = [max([p for r, p in points if r >= each - 1e-12] or [0.0]) for each in recalls]
        return sum(heights) / count
    total = 0.0
    for number in range(1, len(points)):
        width = points[number][0] - points[number - 1][0]
        total += width * max(precision for _, precision in points[number:])
    return total


@pytest.mark.parametrize("area", ["continuous", "11_point", "101_point"])
@pytest.mark.parametrize("matching", ["coco", "dota", "legacy"])
@given(images=CASES)
def test_all_thresholds_are_those_of_plain_loops(
    images: list[Image], matching: Matching, area: Area
) -> None:
    found = class_average_precision(outcomes_of(images, matching=matching), area=area)
    expected = [
        [naive_class(images, label, threshold, matching, area) for threshold in THRESHOLDS]
        for label in range(NUM_CLASSES)
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@given(images=CASES)
def test_pooled_detections_are_ranked_together(images: list[Image]) -> None:
    found = pooled_average_precision(outcomes_of(images), area="continuous")
    for number, threshold in enumerate(THRESHOLDS):
        ranked, num_objects = list[tuple[float, str]](), 0
        for each in images:
            rows = {label: naive_image(each, label, threshold, "coco") for label in range(2)}
            # in the order of the image, so that ties are ranked alike
            queues = {label: iter(outcomes) for label, (outcomes, _) in rows.items()}
            ranked += [next(queues[label]) for label in each[2].tolist()]
            num_objects += sum(count for _, count in rows.values())
        expected = naive_area(ranked, num_objects, "continuous")
        assert found[number] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_numbers_checked_by_eye() -> None:
    """Two objects: one is found well, then something wrong, then the other one at 0.6."""
    found = [image([[0.9, 0.0], [0.1, 0.0], [0.0, 0.6]], [0.9, 0.8, 0.7])]
    assert precision_of(found) == pytest.approx([0.5 + 0.5 * 2 / 3, 0.5])
    # recalls from 0 to 0.5 have a precision of 1, and from 0.6 to 1 of 2 / 3
    assert precision_of(found, area="11_point") == pytest.approx([(6 + 10 / 3) / 11, 6 / 11])


def test_without_detections_a_class_has_none_and_without_objects_no_average_precision() -> None:
    outcomes = outcomes_of([undetected(4, label=1), image([[0.9]], [0.5])])
    assert outcomes.num_objects.tolist() == [1, 4, 0]
    found = class_average_precision(outcomes, area="continuous")
    assert found[0].tolist() == [1.0] * 9 + [0.0]
    assert found[1].tolist() == [0.0] * 10
    assert np.isnan(found[2]).all()
    assert class_average_precision(outcomes, area="11_point")[1].tolist() == [0.0] * 10
    nothing = outcomes_of([undetected(0, label=0)])
    assert np.isnan(pooled_average_precision(nothing, area="continuous")).all()


def test_a_second_detection_of_an_object_is_wrong_and_one_in_a_crowd_does_not_count() -> None:
    twice = [image([[0.9, 0.0], [0.8, 0.0], [0.0, 0.8]], [0.9, 0.8, 0.7])]
    assert precision_of(twice)[0] == pytest.approx(0.5 + 0.5 * 2 / 3)
    in_crowd = [image([[0.0, 0.0, 0.6], [0.9, 0.0, 0.0], [0.0, 0.9, 0.0]], [0.9, 0.8, 0.7], 1)]
    assert precision_of(in_crowd) == pytest.approx([1.0, 2 / 3])


def test_a_detection_goes_on_to_another_object_if_the_best_is_taken() -> None:
    found = [image([[0.9, 0.6], [0.8, 0.7], [0.7, 0.95]], [0.9, 0.8, 0.7])]
    # at 0.5 the second takes the second object; at 0.75 it has no other, and the third takes it
    assert precision_of(found) == pytest.approx([1.0, 0.5 + 0.5 * 2 / 3])


def test_the_legacy_rule_lets_a_poor_detection_take_the_object_of_a_better_one() -> None:
    found = [image([[0.9], [0.21]], [0.9, 0.1])]
    assert precision_of(found) == [1.0, 1.0]
    assert precision_of(found, matching="legacy") == [0.0, 0.0]
    below = [image([[0.9], [LEGACY_IOU]], [0.9, 0.1])]
    assert precision_of(below, matching="legacy") == [1.0, 1.0]


def test_the_legacy_rule_compares_scores_as_text() -> None:
    found = [image([[0.9], [0.21]], [0.9, 9e-5])]  # "0.9" < "9e-05"
    assert precision_of(found, matching="legacy") == [1.0, 1.0]
    # ... but ranks them as numbers
    ranked = [image([[0.0], [0.9]], [0.9, 9e-5])]
    assert precision_of(ranked, matching="legacy") == [0.5, 0.5]


def test_the_legacy_rule_assigns_objects_once_for_all_thresholds() -> None:
    found = [image([[0.9], [0.6]], [0.9, 0.1])]
    assert precision_of(found, matching="legacy") == [0.5, 0.0]
    assert precision_of(found) == [1.0, 1.0]


FOUND = [[0.60, 0.55], [0.90, 0.00], [0.00, 0.30]]  # of three detections, two objects
FALLING, SWAPPED = [0.9, 0.8, 0.7], [0.7, 0.8, 0.9]


def words_of(found: Image, matching: Matching, thresholds: Sequence[float]) -> list[str]:
    """Return the outcomes at each threshold as letters (right, wrong, ignored), by row."""
    outcomes = outcomes_of([found], matching=matching, thresholds=thresholds)
    letters = np.where(outcomes.is_right, "r", np.where(outcomes.is_counted, "w", "i"))
    return ["".join(row) for row in letters[:, np.argsort(outcomes.rows)]]


def test_matching_of_coco_by_hand() -> None:
    # the first takes object 0 and the second finds it taken
    assert words_of(image(FOUND, FALLING), "coco", [0.5, 0.8]) == ["rww", "wrw"]
    # the second takes object 0, and the first one is left with the other
    assert words_of(image(FOUND, SWAPPED), "coco", [0.5]) == ["rrw"]


def test_matching_of_dota_by_hand() -> None:
    # object 0 is the first one's only choice, and the IoU must be above the threshold
    assert words_of(image(FOUND, SWAPPED), "dota", [0.5, 0.6]) == ["wrw", "wrw"]
    assert words_of(image(FOUND, FALLING), "dota", [0.6]) == ["wrw"]


def test_matching_of_the_legacy_rule_by_hand() -> None:
    # upwards: 0.7 reserves object 1 at 0.3, 0.8 takes object 0, and nothing is left for 0.9
    assert words_of(image(FOUND, FALLING), "legacy", [0.1, 0.5]) == ["wrr", "wrw"]
    # below an IoU of 0.2 nothing counts, even if the threshold is lower
    fifth = (np.array(FOUND) / 5).tolist()
    assert words_of(image(fifth, FALLING), "legacy", [0.1]) == ["www"]


def test_difficult_objects_are_neither_found_nor_missed() -> None:
    difficult = image([row[::-1] for row in FOUND], FALLING, crowd=1)
    assert words_of(difficult, "coco", [0.5]) == ["riw"]
    assert words_of(difficult, "dota", [0.5]) == ["iiw"]
    assert outcomes_of([difficult]).num_objects.tolist() == [1, 0, 0]


def test_inside_a_crowd_coco_takes_the_share_and_dota_the_iou() -> None:
    overlaps = overlaps_of([image([[0.1]], [0.9], crowd=1)])._replace(shares=np.array([1.0]))
    settings: Any = {"iou_thresholds": [0.5], "num_classes": 1}
    assert not match(overlaps, matching="coco", **settings).is_counted.any()
    assert match(overlaps, matching="dota", **settings).is_counted.all()


def test_the_iou_of_a_right_detection_is_kept() -> None:
    outcomes = outcomes_of([image(FOUND, SWAPPED)], thresholds=[0.5, 0.6])
    assert outcomes.rows.tolist() == [2, 1, 0]
    assert outcomes.ious.tolist() == [[0.0, 0.9, 0.55], [0.0, 0.9, 0.0]]


@pytest.mark.parametrize(
    ("area", "expected"),
    [("continuous", 0.664286), ("11_point", 0.694805), ("101_point", 0.667610)],
)
def test_the_three_areas_of_one_curve(area: Area, expected: float) -> None:
    ious = np.zeros((7, 5))
    ious[[0, 1, 3, 6], [0, 1, 2, 3]] = 0.9
    found = [image(ious.tolist(), [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])]
    assert precision_of(found, area=area)[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("area", ["continuous", "11_point", "101_point"])
def test_areas_at_the_ends(area: Area) -> None:
    assert precision_of([image(np.eye(3).tolist(), FALLING)], area=area) == [1.0, 1.0]
    assert precision_of([image(np.zeros((3, 3)).tolist(), FALLING)], area=area) == [0.0, 0.0]
    assert precision_of([undetected(3, label=0)], area=area) == [0.0, 0.0]


@given(images=CASES, data=st.data())
@pytest.mark.parametrize("matching", ["coco", "dota", "legacy"])
def test_the_order_of_detections_and_images_changes_nothing(
    images: list[Image], matching: Matching, data: st.DataObject
) -> None:
    scores = np.concatenate([each[1] for each in images])
    distinct = np.random.default_rng(0).permutation(len(scores)).astype(np.float32) / 256
    starts = np.cumsum([0, *[len(each[1]) for each in images]])
    images = [
        (each[0], distinct[start : start + len(each[1])], *each[2:])
        for each, start in zip(images, starts.tolist(), strict=False)
    ]
    moved = []
    for ious, of_image, labels, *rest in data.draw(st.permutations(images)):
        order = data.draw(st.permutations(range(len(labels))))
        moved.append((ious[order], of_image[order], labels[order], *rest))
    one, other = (
        class_average_precision(outcomes_of(each, matching=matching), area="continuous")
        for each in (images, moved)
    )
    np.testing.assert_array_equal(one, other)


def random_boxes(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    low = generator.integers(0, 40, (count, 2))
    return np.concatenate([low, low + generator.integers(1, 40, (count, 2))], axis=1).astype(float)


@given(seed=st.integers(0, 9999), num_images=st.integers(1, 4))
def test_matches_are_those_of_pycocotools(seed: int, num_images: int) -> None:
    generator = np.random.default_rng(seed)
    truth: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    images: list[Image] = []
    for number in range(num_images):
        objects = random_boxes(generator, int(generator.integers(0, 6)))
        boxes = random_boxes(generator, int(generator.integers(1, 9)))
        if len(objects):
            boxes[::2] = objects[generator.integers(0, len(objects), len(boxes[::2]))]
            boxes[::2, 2:] += generator.integers(0, 3, (len(boxes[::2]), 2))
        scores = np.round(generator.random(len(boxes)), 1).astype(np.float32)  # with ties
        is_crowd = generator.random(len(objects)) < 0.2
        for box, crowd in zip(objects.tolist(), is_crowd.tolist(), strict=True):
            bbox = [*box[:2], box[2] - box[0], box[3] - box[1]]
            common = {"image_id": number, "category_id": 1, "area": bbox[2] * bbox[3]}
            truth.append({"id": len(truth) + 1, "bbox": bbox, "iscrowd": int(crowd), **common})
        for box, score in zip(boxes.tolist(), scores.tolist(), strict=True):
            bbox = [*box[:2], box[2] - box[0], box[3] - box[1]]
            results.append({"image_id": number, "category_id": 1, "bbox": bbox, "score": score})
        ious = box_iou(torch.from_numpy(boxes), torch.from_numpy(objects)).numpy()
        sizes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        low = np.maximum(boxes[:, None, :2], objects[:, :2])
        high = np.minimum(boxes[:, None, 2:], objects[:, 2:])
        shares = np.maximum(high - low, 0).prod(axis=2) / sizes[:, None]
        labels = (np.zeros(len(boxes), np.int64), np.zeros(len(objects), np.int64))
        images.append((np.where(is_crowd, shares, ious), scores, *labels, is_crowd))
    with contextlib.redirect_stdout(None):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": number} for number in range(num_images)],
            "categories": [{"id": 1, "name": "a"}],
            "annotations": truth,
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
    for number, each in enumerate(images):
        expected = next(
            found
            for found in evaluation.evalImgs
            if found and found["image_id"] == number and found["aRng"][1] > 1e9
        )
        outcomes = outcomes_of([each])
        is_counted = ~expected["dtIgnore"].astype(bool)
        np.testing.assert_array_equal(outcomes.is_counted, is_counted)
        is_right = (expected["dtMatches"] > 0) & is_counted
        np.testing.assert_array_equal(outcomes.is_right, is_right)
