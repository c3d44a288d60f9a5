import contextlib
import io
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from visionlab.analysis.figures.detection import precision_at_recalls
from visionlab.tasks.detection.metric import (
    IGNORED,
    NAMES,
    RIGHT,
    WRONG,
    AveragePrecision,
    Backend,
)
from visionlab.tasks.detection.pictures import count_errors
from visionlab.tasks.detection.records import Annotated, BoxTargets, Detections

BACKENDS = pytest.mark.parametrize("backend", get_args(Backend))
CLASSES = ["ant", "bee", "cat"]
Image = tuple[Annotated, Detections]


def annotated(
    boxes: Sequence[Sequence[float]] = (),
    labels: Sequence[int] = (),
    crowd: Sequence[bool] | None = None,
    *,
    key: int = 0,
    areas: Sequence[float] | None = None,
) -> Annotated:
    corners = torch.tensor([list(box) for box in boxes], dtype=torch.float64).view(-1, 4)
    sides = corners[:, 2:] - corners[:, :2]
    return Annotated(
        name="a.jpg",
        key=key,
        image=torch.zeros(3, 1, 1, dtype=torch.uint8),
        width_px=300,
        height_px=200,
        boxes=corners,
        labels=torch.tensor(labels, dtype=torch.int64),
        crowd=torch.tensor(crowd or [False] * len(boxes), dtype=torch.bool),
        areas=sides.prod(dim=1) if areas is None else torch.tensor(areas, dtype=torch.float64),
    )


def detections(
    boxes: Sequence[Sequence[float]] = (),
    labels: Sequence[int] = (),
    scores: Sequence[float] | None = None,
) -> Detections:
    certain = [0.99 - 0.01 * number for number in range(len(boxes))] if scores is None else scores
    return Detections(
        torch.tensor([list(box) for box in boxes], dtype=torch.float32).view(-1, 4),
        torch.tensor(certain, dtype=torch.float32),
        torch.tensor(labels, dtype=torch.int64),
    )


def filled(
    images: Sequence[Image],
    *,
    batch_size: int = 3,
    class_names: Sequence[str] = CLASSES,
    backend: Backend = "faster_coco_eval",
) -> AveragePrecision:
    metric = AveragePrecision(class_names=class_names, backend=backend)
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        empty = torch.zeros(len(batch), 0)
        targets = BoxTargets(
            empty[..., None], empty.long(), [sample for sample, _ in batch], torch.zeros(0, 2)
        )
        metric.update([found for _, found in batch], targets)
    return metric


def errors(sample: Annotated, found: Detections, min_score: float = 0.5) -> tuple[int, int]:
    missed, false = count_errors(filled([(sample, found)]).samples(), min_score=min_score)
    return int(missed), int(false)


def pycoco(images: Sequence[Image], num_classes: int) -> list[float]:
    """Return the twelve numbers and those of each class, as pycocotools has them."""
    evaluation = pycoco_evaluation(images, num_classes)
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    per_class = []
    for number in range(num_classes):
        column = precision[:, :, number]
        per_class.append(float(column[column > -1].mean()) if (column > -1).any() else -1.0)
    return [float(value) for value in evaluation.stats] + per_class


def pycoco_evaluation(images: Sequence[Image], num_classes: int) -> COCOeval:
    truth, results = [], []
    for number, (sample, found) in enumerate(images):
        for box, label, is_crowd, area in zip(
            sample.boxes.tolist(),
            sample.labels.tolist(),
            sample.crowd.tolist(),
            sample.areas.tolist(),
            strict=True,
        ):
            truth.append(
                {
                    "id": len(truth) + 1,
                    "image_id": number,
                    "category_id": label,
                    "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                    "area": area,
                    "iscrowd": int(is_crowd),
                }
            )
        for box, score, label in zip(*(each.tolist() for each in found), strict=True):
            bbox = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            results.append({"image_id": number, "category_id": label, "bbox": bbox, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": number} for number in range(len(images))],
            "categories": [{"id": number, "name": str(number)} for number in range(num_classes)],
            "annotations": truth,
        }
        coco.createIndex()
        other = coco.loadRes(results) if results else COCO()
        evaluation = COCOeval(coco, other, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def random_images(seed: int, num_images: int, most: int, *, ties: bool) -> list[Image]:
    """Return images with boxes of all sizes, some crowds, and detections near and far from them."""
    generator = np.random.default_rng(seed)
    images = []
    for key in range(num_images):
        count = 0 if generator.random() < 0.2 else int(generator.integers(1, 9))
        low = generator.uniform(0, 150, (count, 2))
        boxes = np.concatenate([low, low + 2 ** generator.uniform(2, 7.5, (count, 2))], axis=1)
        labels = generator.integers(0, 2, count)  # class 2 is nowhere
        crowd = generator.random(count) < 0.2
        shares = generator.uniform(0.3, 1.0, count)
        areas = shares * (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        num_found = 0 if generator.random() < 0.2 else int(generator.integers(1, most))
        if count:
            near = boxes[generator.integers(0, count, num_found)]
            found = near + generator.normal(0, 3, near.shape)
        else:
            found = np.tile([10.0, 10.0, 60.0, 60.0], (num_found, 1))
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        scores = np.sort(generator.random(num_found))[::-1].astype(np.float32)
        if ties:
            scores = np.round(scores * 4) / 4
        sample = annotated(
            boxes.tolist(), labels.tolist(), crowd.tolist(), key=key, areas=areas.tolist()
        )
        classes = generator.choice(3, num_found, p=[0.45, 0.45, 0.1])
        images.append((sample, detections(found.tolist(), classes.tolist(), scores.tolist())))
    return images


CASES = st.builds(
    random_images,
    st.integers(0, 9999),
    st.integers(1, 12),
    st.sampled_from([4, 20, 250]),
    ties=st.booleans(),
)


@given(images=CASES)
def test_all_numbers_are_those_of_pycocotools(images: list[Image]) -> None:
    expected = pycoco(images, 3)
    for backend in get_args(Backend):
        found = filled(images, backend=backend).compute()
        assert list(found) == [*NAMES, "AP/ant", "AP/bee", "AP/cat"]
        assert list(found.values()) == pytest.approx(expected, rel=0, abs=1e-12)


def test_only_the_hundred_most_certain_detections_of_an_image_and_class_count() -> None:
    right, wrong = [10.0, 10.0, 60.0, 60.0], [100.0, 100.0, 150.0, 150.0]
    sample = annotated([right], [0])
    scores = np.linspace(1.0, 0.5, 101).tolist()
    for position, expected in ((99, 0.01), (100, 0.0)):
        boxes = [wrong] * 101
        boxes[position] = right
        images = [(sample, detections(boxes, [0] * 101, scores))]
        for backend in get_args(Backend):
            assert filled(images, backend=backend).compute()["AP"] == pytest.approx(expected)
        assert pycoco(images, 3)[0] == pytest.approx(expected)


def test_numbers_checked_by_eye() -> None:
    """One class found exactly, one with a false detection before the right one, one missed."""
    boxes = [[0.0, 0.0, 20.0, 20.0], [0.0, 0.0, 50.0, 50.0], [0.0, 0.0, 100.0, 100.0]]
    sample = annotated(boxes, [0, 1, 2])
    wrong = [200.0, 100.0, 250.0, 150.0]
    found = detections([boxes[0], wrong, boxes[1]], [0, 1, 1])
    numbers = filled([(sample, found)]).compute()
    assert numbers == pytest.approx(
        {
            "AP": 0.5,
            "AP50": 0.5,
            "AP75": 0.5,
            "AP_small": 1.0,
            "AP_medium": 0.5,
            "AP_large": 0.0,
            "AR1": 1 / 3,
            "AR10": 2 / 3,
            "AR100": 2 / 3,
            "AR_small": 1.0,
            "AR_medium": 1.0,
            "AR_large": 0.0,
            "AP/ant": 1.0,
            "AP/bee": 0.5,
            "AP/cat": 0.0,
        }
    )


def test_sizes_follow_the_annotated_areas_and_not_the_boxes() -> None:
    box = [0.0, 0.0, 100.0, 100.0]
    for area, name in ((1023.0, "small"), (1025.0, "medium"), (9217.0, "large")):
        sample = annotated([box], [0], areas=[area])
        numbers = filled([(sample, detections([box], [0]))]).compute()
        sizes = {size: numbers[f"AP_{size}"] for size in ("small", "medium", "large")}
        assert sizes == pytest.approx({"small": -1, "medium": -1, "large": -1} | {name: 1.0})


@BACKENDS
def test_with_nothing_found_everything_that_is_there_counts_as_missed(backend: Backend) -> None:
    images = [(annotated([[0, 0, 20, 20]], [0]), detections()), (annotated(), detections())]
    numbers = filled(images, backend=backend).compute()
    assert list(numbers.values()) == pytest.approx(pycoco(images, 3))
    assert numbers["AP"] == numbers["AR100"] == numbers["AP/ant"] == 0.0
    assert numbers["AP_large"] == numbers["AP/bee"] == -1.0


@BACKENDS
@pytest.mark.parametrize("found", [detections(), detections([[0, 0, 20, 20]], [0])])
def test_with_nothing_to_find_every_number_is_minus_one(
    found: Detections, backend: Backend
) -> None:
    numbers = filled([(annotated(), found)], backend=backend).compute()
    assert set(numbers.values()) == {-1.0}
    assert len(numbers) == 15


@BACKENDS
def test_with_crowds_alone_there_is_nothing_to_find(backend: Backend) -> None:
    box = [0.0, 0.0, 50.0, 50.0]
    images = [(annotated([box], [1], [True]), detections([box], [1]))]
    assert set(filled(images, backend=backend).compute().values()) == {-1.0}


@given(seed=st.integers(0, 9999), batch_size=st.integers(1, 9), data=st.data())
def test_neither_batching_nor_order_changes_a_number(
    seed: int, batch_size: int, data: st.DataObject
) -> None:
    images = random_images(seed, 8, 20, ties=False)
    order = data.draw(st.permutations(range(8)))
    numbers = filled([images[row] for row in order], batch_size=batch_size).compute()
    assert numbers == pytest.approx(filled(images).compute(), abs=1e-12)


def test_images_of_one_key_stay_apart() -> None:
    box = [0.0, 0.0, 50.0, 50.0]
    images = [
        (annotated([box], [0]), detections([box], [0])),
        (annotated([box], [0]), detections()),
    ]
    assert filled(images).compute()["AR100"] == pytest.approx(0.5)


def test_reset_forgets_everything_and_computing_does_not() -> None:
    box = [0.0, 0.0, 50.0, 50.0]
    metric = filled([(annotated([box], [0]), detections())])
    assert metric.compute()["AP"] == metric.compute()["AP"] == 0.0
    metric.reset()
    with pytest.raises(ValueError, match="an average precision needs at least one image, got 0"):
        metric.compute()
    targets = BoxTargets(
        torch.zeros(1, 0, 4), torch.zeros(1, 0), [annotated([box], [0])], torch.zeros(0, 2)
    )
    metric.update([detections([box], [0])], targets)
    assert metric.compute()["AP"] == pytest.approx(1.0)
    assert metric.samples()["num_detections"].tolist() == [1]


def test_names_are_those_of_the_numbers_and_a_class_may_be_called_small() -> None:
    names = ["small", "AP", "50"]
    box = [0.0, 0.0, 50.0, 50.0]
    metric = filled([(annotated([box], [0]), detections([box], [0]))], class_names=names)
    numbers = metric.compute()
    assert list(metric.names) == list(numbers)
    assert len(numbers) == 15
    assert numbers["AP_small"] == -1.0
    assert numbers["AP/small"] == pytest.approx(1.0)
    assert numbers["AP/AP"] == -1.0


@BACKENDS
def test_nothing_is_printed(backend: Backend, capfd: pytest.CaptureFixture[str]) -> None:
    filled(random_images(3, 5, 20, ties=False), backend=backend).compute()
    filled([(annotated(), detections())], backend=backend).compute()
    assert capfd.readouterr() == ("", "")


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^backend must be one of .*pycocotools, got 'coco'$"):
        filled([], backend="coco")  # type: ignore[arg-type]


A, B = [0.0, 0.0, 50.0, 50.0], [100.0, 100.0, 150.0, 150.0]
NEAR_A, HALF_A = [0.0, 0.0, 50.0, 45.0], [0.0, 0.0, 50.0, 25.0]
LESS_A = [0.0, 0.0, 50.0, 24.0]
CROWD = [80.0, 80.0, 250.0, 190.0]


@pytest.mark.parametrize(
    ("sample", "found", "missed", "false"),
    [
        (annotated(), detections(), 0, 0),
        (annotated([A, B], [0, 1]), detections(), 2, 0),
        (annotated(), detections([A, B], [0, 1]), 0, 2),
        (annotated([A, B], [0, 1]), detections([B, A], [1, 0]), 0, 0),
        (annotated([A], [0]), detections([A], [1]), 1, 1),  # the wrong class
        (annotated([A], [0]), detections([A, NEAR_A], [0, 0]), 0, 1),  # twice
        (annotated([A], [0]), detections([HALF_A], [0]), 0, 0),  # an IoU of just 0.5
        (annotated([A], [0]), detections([LESS_A], [0]), 1, 1),
        (annotated([A, A], [0, 0]), detections([A, A], [0, 0]), 0, 0),
        (annotated([A, NEAR_A], [0, 0]), detections([NEAR_A, NEAR_A], [0, 0]), 0, 0),
        (annotated([A], [0]), detections([A], [0], [0.5]), 0, 0),
        (annotated([A], [0]), detections([A], [0], [0.49]), 1, 0),  # too uncertain to count
        (annotated([CROWD], [0], [True]), detections(), 0, 0),
        (annotated([CROWD], [0], [True]), detections([B, B], [0, 0]), 0, 0),
        (annotated([CROWD], [0], [True]), detections([A], [0]), 0, 1),
        (annotated([CROWD, B], [0, 0], [True, False]), detections([B, B, A], [0, 0, 0]), 0, 1),
    ],
)
def test_errors_of_an_image_are_those_counted_by_hand(
    sample: Annotated, found: Detections, missed: int, false: int
) -> None:
    assert errors(sample, found) == (missed, false)


def test_every_detection_counts_from_a_score_of_zero_on() -> None:
    found = detections([A, B], [0, 0], [0.1, 0.0])
    assert errors(annotated([A], [0]), found, min_score=0.0) == (0, 1)


def naive_errors(sample: Annotated, found: Detections) -> tuple[int, int]:
    """Count without crowds, pair by pair."""

    def iou(one: Sequence[float], two: Sequence[float]) -> float:
        width = min(one[2], two[2]) - max(one[0], two[0])
        height = min(one[3], two[3]) - max(one[1], two[1])
        common = max(width, 0.0) * max(height, 0.0)
        sizes = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, two)]
        return common / (sum(sizes) - common)

    free = list(zip(sample.boxes.tolist(), sample.labels.tolist(), strict=True))
    num_false = 0
    for box, score, label in zip(*(each.tolist() for each in found), strict=True):
        if score < 0.5:
            continue
        wanted = [
            (iou(box, other), place) for place, (other, kind) in enumerate(free) if kind == label
        ]
        overlap, place = max(wanted, default=(0.0, -1), key=lambda each: each[0])
        if overlap >= 0.5:
            del free[place]
        else:
            num_false += 1
    return len(free), num_false


@given(seed=st.integers(0, 9999))
def test_errors_equal_those_of_a_loop(seed: int) -> None:
    for sample, found in random_images(seed, 3, 12, ties=False):
        single = ~sample.crowd
        plain = annotated(sample.boxes[single].tolist(), sample.labels[single].tolist())
        assert errors(plain, found) == naive_errors(plain, found)


def test_samples_hold_every_detection_in_the_order_of_the_updates() -> None:
    images = [
        (annotated([A], [0]), detections([A, B], [0, 2], [0.75, 0.25])),
        (annotated(), detections()),
        (annotated([A], [1]), detections([B], [1], [0.5])),
    ]
    samples = filled(images, batch_size=2).samples()
    expected: dict[str, Any] = {
        "num_detections": [2, 0, 1],
        "num_objects": [[1, 0, 0], [0, 0, 0], [0, 1, 0]],
        "boxes": [A, B, B],
        "scores": [0.75, 0.25, 0.5],
        "labels": [0, 2, 1],
        "outcomes": [RIGHT, WRONG, WRONG],
        "ious": [1.0, 0.0, 0.0],
    }
    assert {name: value.tolist() for name, value in samples.items()} == expected
    types = {name: value.dtype for name, value in samples.items()}
    assert types == {
        "num_detections": torch.int32,
        "num_objects": torch.int16,
        "boxes": torch.float32,
        "scores": torch.float32,
        "labels": torch.int16,
        "outcomes": torch.int8,
        "ious": torch.float32,
    }


def test_samples_of_images_without_detections_have_the_same_shape_and_type() -> None:
    samples = filled([(annotated(), detections())]).samples()
    assert samples["boxes"].shape == (0, 4)
    assert samples["boxes"].dtype == samples["scores"].dtype == torch.float32
    assert samples["labels"].dtype == torch.int16
    assert samples["outcomes"].shape == (0,)
    assert samples["outcomes"].dtype == torch.int8
    assert samples["ious"].shape == (0,)
    assert samples["num_objects"].tolist() == [[0, 0, 0]]


@given(images=CASES)
def test_outcomes_are_those_of_pycocotools(images: list[Image]) -> None:
    samples = filled(images).samples()
    expected = torch.full_like(samples["outcomes"], IGNORED)  # beyond the 100 most certain
    objects = torch.zeros_like(samples["num_objects"])
    for part in pycoco_evaluation(images, 3).evalImgs:
        if part is None or part["aRng"] != [0, 1e10]:
            continue
        rows = [number - 1 for number in part["dtIds"]]
        right, ignored = part["dtMatches"][0] > 0, part["dtIgnore"][0].astype(bool)
        found = np.where(ignored, IGNORED, np.where(right, RIGHT, WRONG))
        expected[rows] = torch.from_numpy(found).to(expected.dtype)
        num_single = int((np.asarray(part["gtIgnore"]) == 0).sum())
        objects[part["image_id"], part["category_id"]] = num_single
    assert samples["outcomes"].tolist() == expected.tolist()
    assert samples["num_objects"].tolist() == objects.tolist()


@given(images=CASES)
def test_the_curves_that_outcomes_give_are_those_of_pycocotools(images: list[Image]) -> None:
    samples = {name: value.numpy() for name, value in filled(images).samples().items()}
    curves = pycoco_evaluation(images, 3).eval["precision"][0, :, :, 0, -1]
    for label, num_objects in enumerate(samples["num_objects"].sum(axis=0).tolist()):
        is_label = samples["labels"] == label
        scores, outcomes = samples["scores"][is_label], samples["outcomes"][is_label]
        if num_objects == 0:
            assert set(curves[:, label]) == {-1.0}
            continue
        curve = precision_at_recalls(scores, outcomes, num_objects=num_objects)
        assert curve == pytest.approx(curves[:, label], abs=1e-9)


def test_a_detection_without_extent_finds_nothing() -> None:
    point = [10.0, 10.0, 10.0, 10.0]
    samples = filled([(annotated([A], [0]), detections([point], [0]))]).samples()
    assert samples["outcomes"].tolist() == [WRONG]
    samples = filled([(annotated([point], [0]), detections([point], [0]))]).samples()
    assert samples["outcomes"].tolist() == [WRONG]


def test_counting_leaves_detections_and_annotations_as_they_are() -> None:
    ((sample, found),) = random_images(5, 1, 12, ties=False)
    kept: list[Tensor] = [each.clone() for each in (*found, sample.boxes, sample.labels)]
    metric = filled([(sample, found)])
    metric.samples()
    metric.compute()
    now = (*found, sample.boxes, sample.labels)
    assert all(torch.equal(one, two) for one, two in zip(kept, now, strict=True))
