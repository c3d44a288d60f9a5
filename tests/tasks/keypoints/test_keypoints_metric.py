import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from visionlab.core import geometry
from visionlab.task import Batch
from visionlab.tasks.keypoints.metric import PointErrors, original_points
from visionlab.tasks.keypoints.records import PointTargets

NAN = math.nan
NAMES = ["a", "b", "c", "d"]
EYES = [[0, 1], [2]]
THRESHOLDS = [0.05, 0.1, 0.5]
Problem = tuple[Tensor, Tensor]  # predicted and true points, (N, 4, 2)


def targets_of(original: Tensor) -> PointTargets:
    is_known = original.isfinite().all(dim=2)
    # what the metric has to look at is `original`
    return PointTargets(torch.full_like(original, 1e9), is_known, original, None)


def metric(eyes: Any = None, thresholds: Sequence[float] = THRESHOLDS) -> PointErrors:
    return PointErrors(class_names=NAMES, eyes=eyes, pck_thresholds=thresholds)


def filled(problem: Problem, *, batch_size: int = 2, **settings: Any) -> PointErrors:
    made = metric(**settings)
    points, original = problem
    for start in range(0, len(points), batch_size):
        rows = slice(start, start + batch_size)
        made.update(points[rows], targets_of(original[rows]))
    return made


def problem(count: int, seed: int, missing: float = 0.3) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    truth = 200 * torch.rand(count, 4, 2, generator=generator)
    found = truth + 30 * torch.randn(count, 4, 2, generator=generator)
    is_missing = torch.rand(count, 4, 1, generator=generator) < missing
    return found, torch.where(is_missing, NAN, truth)


PROBLEMS = st.builds(
    problem, st.integers(1, 6), st.integers(0, 9999), st.sampled_from([0.0, 0.3, 0.7, 1.0])
)


def naive(problem: Problem, eyes: Sequence[Sequence[int]] | None) -> dict[str, float]:
    """Return the numbers by their definitions, point by point."""
    squares, distances, means, relative = [], [], [], []
    for found, truth in zip(*(each.double().tolist() for each in problem), strict=True):
        known = [point for point in range(4) if not math.isnan(truth[point][0])]
        errors = [math.dist(found[point], truth[point]) for point in known]
        distances += errors
        for point in known:
            squares += [(a - b) ** 2 for a, b in zip(found[point], truth[point], strict=True)]
        normaliser = NAN
        if eyes is not None and all(point in known for eye in eyes for point in eye):
            centres = [
                [sum(truth[point][axis] for point in eye) / len(eye) for axis in (0, 1)]
                for eye in eyes
            ]
            normaliser = math.dist(*centres)
        if eyes is None and len(known) > 1:
            xs, ys = ([truth[point][axis] for point in known] for axis in (0, 1))
            normaliser = math.hypot(max(xs) - min(xs), max(ys) - min(ys))
        if errors and not math.isnan(normaliser):
            means.append(sum(errors) / len(errors) / normaliser)
            relative += [error / normaliser for error in errors]
    shares = {
        f"pck/{limit:g}": mean([float(each < limit) for each in relative]) for limit in THRESHOLDS
    }
    # the mean of the share over ten thousand thresholds
    steps = [THRESHOLDS[-1] * (step + 0.5) / 10_000 for step in range(10_000)]
    area = mean([sum(each < limit for limit in steps) / 10_000 for each in relative])
    numbers = {"mse": mean(squares), "error_px": mean(distances), "nme": mean(means)}
    return {**numbers, **shares, "pck_area": area}


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else NAN


def test_numbers_by_hand() -> None:
    truth = torch.tensor(
        [
            [[0.0, 0.0], [0.0, 20.0], [100.0, 10.0], [50.0, 50.0]],
            [[0.0, 0.0], [0.0, 20.0], [40.0, 10.0], [NAN, NAN]],
        ]
    )
    found = truth.clone()
    found[0, 0] += torch.tensor([3.0, 4.0])  # 5 px, 0.05 of the distance of the eyes
    found[0, 3] += torch.tensor([0.0, -30.0])
    found[1, 2] += torch.tensor([8.0, 0.0])  # 8 px, 0.2
    found[1, 3] = 77.0
    numbers = filled((found, truth), eyes=EYES).compute()
    assert list(numbers) == ["mse", "error_px", "nme", "pck/0.05", "pck/0.1", "pck/0.5", "pck_area"]
    assert numbers["mse"] == pytest.approx((9 + 16 + 900 + 64) / 14)
    assert numbers["error_px"] == pytest.approx((5 + 30 + 8) / 7)
    assert numbers["nme"] == pytest.approx(((0.05 + 0.3) / 4 + 0.2 / 3) / 2)
    assert numbers["pck/0.05"] == pytest.approx(4 / 7)  # nearer than, not as near as
    assert numbers["pck/0.1"] == pytest.approx(5 / 7)
    assert numbers["pck/0.5"] == 1.0
    assert numbers["pck_area"] == pytest.approx((4 + 0.9 + 0.4 + 0.6) / 7)
    samples = filled((found, truth), eyes=EYES).samples()
    assert samples["normaliser_px"].tolist() == [100.0, 40.0]
    boxes = filled((found, truth)).samples()["normaliser_px"]
    assert boxes.tolist() == pytest.approx([math.hypot(100, 50), math.hypot(40, 20)])


@given(problem=PROBLEMS, eyes=st.sampled_from([None, EYES]))
def test_numbers_equal_a_loop_over_points(
    problem: Problem, eyes: Sequence[Sequence[int]] | None
) -> None:
    numbers = filled(problem, eyes=eyes).compute()
    expected = naive(problem, eyes)
    assert numbers.keys() == expected.keys()
    for name, number in numbers.items():
        assert number == pytest.approx(expected[name], rel=1e-4, abs=2e-4, nan_ok=True), name
        assert isinstance(number, float)


@given(problem=PROBLEMS, batch_size=st.integers(1, 6), seed=st.integers(0, 99))
def test_neither_order_nor_batches_matter(problem: Problem, batch_size: int, seed: int) -> None:
    order = torch.randperm(len(problem[0]), generator=torch.Generator().manual_seed(seed))
    turned = (problem[0][order], problem[1][order])
    ours = filled(problem, eyes=EYES, batch_size=len(order)).compute()
    theirs = filled(turned, eyes=EYES, batch_size=batch_size).compute()
    assert theirs == pytest.approx(ours, rel=1e-12, nan_ok=True)


@given(problem=PROBLEMS, factor=st.floats(0.1, 10.0))
def test_relative_numbers_do_not_depend_on_the_size_of_images(
    problem: Problem, factor: float
) -> None:
    ours = filled(problem).compute()
    theirs = filled((problem[0] * factor, problem[1] * factor)).compute()
    assert theirs["nme"] == pytest.approx(ours["nme"], rel=1e-4, nan_ok=True)
    assert theirs["pck_area"] == pytest.approx(ours["pck_area"], abs=1e-4, nan_ok=True)
    assert theirs["error_px"] == pytest.approx(ours["error_px"] * factor, rel=1e-4, nan_ok=True)


def test_perfect_points() -> None:
    truth = problem(3, seed=1, missing=0.0)[1]
    expected = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    assert list(filled((truth, truth), eyes=EYES).compute().values()) == expected


@pytest.mark.parametrize("eyes", [None, EYES])
def test_without_any_truth_there_are_no_numbers_and_no_error(eyes: Any) -> None:
    nothing = (torch.rand(3, 4, 2), torch.full((3, 4, 2), NAN))
    made = filled(nothing, eyes=eyes)
    assert all(math.isnan(number) for number in made.compute().values())
    samples = made.samples()
    assert samples["errors_px"].isnan().all()
    assert samples["normaliser_px"].isnan().all()
    assert torch.equal(samples["points"], nothing[0])


def test_an_image_without_normaliser_counts_in_pixels_alone() -> None:
    """One known point has a box without a diagonal; a lost eye has no centre."""
    truth = torch.full((2, 4, 2), NAN)
    truth[0] = torch.tensor([[0.0, 0.0], [0.0, 20.0], [100.0, 10.0], [50.0, 50.0]])
    truth[1, 3] = 7.0
    found = truth.nan_to_num(nan=3.0) + torch.tensor([0.0, 10.0])
    for eyes in (None, EYES):
        made = filled((found, truth), eyes=eyes)
        alone = filled((found[:1], truth[:1]), eyes=eyes)
        assert made.compute()["error_px"] == pytest.approx(10.0)
        assert made.compute()["nme"] == alone.compute()["nme"]
        assert made.compute()["pck_area"] == alone.compute()["pck_area"]
        assert made.samples()["normaliser_px"].isnan().tolist() == [False, True]


@pytest.mark.parametrize("wrong", [NAN, math.inf, -math.inf])
def test_a_prediction_that_is_no_number_is_not_passed_over(wrong: float) -> None:
    found, truth = problem(4, seed=2, missing=0.0)
    truth[0, 1] = NAN
    found = truth.nan_to_num(nan=0.0)
    found[1, 3] = wrong
    numbers = filled((found, truth), eyes=EYES).compute()
    for name in ("mse", "error_px", "nme"):
        assert numbers[name] == math.inf
    assert numbers["pck/0.5"] == numbers["pck_area"] == pytest.approx(11 / 12)
    errors = filled((found, truth), eyes=EYES).samples()["errors_px"]
    assert errors[1, 3] == math.inf
    assert torch.equal(errors.isnan(), truth.isnan().any(dim=2))


def test_samples() -> None:
    found, truth = problem(5, seed=3)
    samples = filled((found, truth), eyes=EYES).samples()
    assert {name: (tuple(each.shape), each.dtype) for name, each in samples.items()} == {
        "points": ((5, 4, 2), torch.float32),
        "errors_px": ((5, 4), torch.float32),
        "normaliser_px": ((5,), torch.float32),
    }
    assert torch.equal(samples["points"], found)
    for row in range(5):
        for point in range(4):
            expected = math.dist(found[row, point].tolist(), truth[row, point].tolist())
            error = float(samples["errors_px"][row, point])
            assert error == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_reset_forgets_and_nothing_has_no_numbers() -> None:
    made = filled(problem(3, seed=4))
    made.reset()
    with pytest.raises(ValueError, match="point errors need at least one sample, got 0"):
        made.compute()
    found, truth = problem(2, seed=5)
    made.update(found, targets_of(truth))
    assert made.compute() == pytest.approx(filled((found, truth)).compute())
    assert metric().names == list(made.compute())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"thresholds": []}, r"pck_thresholds must be rising numbers > 0, got \[\]"),
        ({"thresholds": [0.1, 0.05]}, r"pck_thresholds must be .* got \[0.1, 0.05\]"),
        ({"thresholds": [0.1, 0.1]}, r"pck_thresholds must be .* got \[0.1, 0.1\]"),
        ({"thresholds": [0.0, 0.1]}, r"pck_thresholds must be .* got \[0.0, 0.1\]"),
        ({"thresholds": [0.1, NAN]}, r"pck_thresholds must be .* got \[0.1, nan\]"),
        ({"thresholds": [0.1, math.inf]}, r"pck_thresholds must be .* got \[0.1, inf\]"),
        ({"eyes": [[0]]}, r"eyes must be two lists of points, got \[\[0\]\]"),
        ({"eyes": [[0], []]}, r"eyes must be two lists of points, got \[\[0\], \[\]\]"),
        ({"eyes": [[0], [4]]}, r"eyes must be points in \[0, 4\), got 4"),
        ({"eyes": [[-1], [1]]}, r"eyes must be points in \[0, 4\), got -1"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric(**settings)


def batch_of(matrices: Tensor, mirror: Tensor | None) -> Batch:
    nothing = torch.full((len(matrices), 3, 2), NAN)
    targets = PointTargets(nothing, nothing[..., 0] > 0, nothing, mirror)
    return Batch(None, targets, torch.arange(len(matrices)), matrices.float())


def test_original_points_by_hand() -> None:
    """Of two pictures at twice their size, the second is mirrored at 100 px."""
    double = geometry.scalings(torch.full((2, 2), 2.0))
    flip = geometry.flips(torch.tensor([False, True]), torch.full((2,), 100.0), axis=0)
    outputs = torch.tensor([[[10.0, 20.0], [30.0, 40.0], [50.0, 60.0]]] * 2)
    batch = batch_of(flip @ double, torch.tensor([1, 0, 2]))
    found = original_points(outputs, batch)
    assert found.dtype == torch.float32
    expected = [[[5, 10], [15, 20], [25, 30]], [[35, 20], [45, 10], [25, 30]]]
    torch.testing.assert_close(found, torch.tensor(expected).float())
    batch = batch_of(flip @ double, None)
    expected = [[[5, 10], [15, 20], [25, 30]], [[45, 10], [35, 20], [25, 30]]]
    torch.testing.assert_close(original_points(outputs, batch), torch.tensor(expected).float())


def test_original_points_of_bfloat16_outputs_are_computed_in_float64() -> None:
    matrices = geometry.translations(torch.tensor([[-1000.0, -999.0]]))
    outputs = torch.tensor([[[1.5, 2.25], [3.0, 4.0], [0.0, 0.0]]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = original_points(outputs.bfloat16(), batch_of(matrices, torch.tensor([1, 0, 2])))
    assert found.tolist() == [[[1001.5, 1001.25], [1003.0, 1003.0], [1000.0, 999.0]]]
