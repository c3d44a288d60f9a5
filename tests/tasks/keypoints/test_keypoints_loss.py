import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from visionlab.tasks.keypoints.loss import Enme, Mse, SmoothL1, Wing, error_px
from visionlab.tasks.keypoints.records import PointTargets

Loss = Callable[[Tensor, PointTargets], dict[str, Tensor]]
LOSSES: dict[str, Loss] = {
    "mse": Mse(),
    "smooth_l1": SmoothL1(beta=1.5),
    "wing": Wing(width=10.0, curvature=2.0),
    "enme": Enme(alpha=2.0),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def targets_of(points: Tensor, is_known: Tensor | None = None) -> PointTargets:
    known = torch.ones(points.shape[:2], dtype=torch.bool) if is_known is None else is_known
    seen = torch.where(known[:, :, None], points, 0.0)
    original = torch.where(known[:, :, None], points, math.nan)
    return PointTargets(points=seen, is_known=known, original=original, mirror=None)


def problem(count: int, num_points: int, seed: int) -> tuple[Tensor, PointTargets]:
    """Return outputs and targets; of the points of an image some, or all, may be unknown."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, num_points, 2)
    points = 96 * torch.rand(shape, generator=generator)
    outputs = points + 10 ** (4 * torch.rand(count, 1, 1, generator=generator) - 2) * torch.randn(
        shape, generator=generator
    )
    is_known = torch.rand(shape[:2], generator=generator) < 0.7
    return outputs, targets_of(points, is_known)


PROBLEMS = st.builds(problem, st.integers(1, 4), st.integers(1, 5), st.integers(0, 9999))


def naive(name: str, outputs: Tensor, targets: PointTargets) -> list[float]:
    """Return the loss of each sample by its definition, number by number."""
    losses = []
    for found, truth, known in zip(
        outputs.tolist(), targets.points.tolist(), targets.is_known.tolist(), strict=True
    ):
        pairs = [
            pair
            for pair, is_known in zip(zip(found, truth, strict=True), known, strict=True)
            if is_known
        ]
        if not pairs:
            losses.append(0.0)
            continue
        if name == "enme":
            d = sum(math.dist(*pair) for pair in pairs) / len(pairs)
            log_cosh = d + math.log((1 + math.exp(-2 * d)) / 2)
            losses.append(3 * d - 2 * log_cosh)
            continue
        terms = [abs(a - b) for pair in pairs for a, b in zip(*pair, strict=True)]
        if name == "mse":
            terms = [x * x for x in terms]
        elif name == "smooth_l1":
            terms = [x * x / 3 if x < 1.5 else x - 0.75 for x in terms]
        else:
            constant = 10 - 10 * math.log(1 + 10 / 2)
            terms = [10 * math.log(1 + x / 2) if x < 10 else x - constant for x in terms]
        losses.append(sum(terms) / len(terms))
    return losses


def value(name: str, outputs: Tensor, targets: PointTargets) -> Tensor:
    named = LOSSES[name](outputs, targets)
    assert list(named) == [name]
    return named[name]


def gradient(name: str, outputs: Tensor, targets: PointTargets) -> Tensor:
    leaf = outputs.clone().requires_grad_()
    value(name, leaf, targets).sum().backward()
    assert leaf.grad is not None
    return leaf.grad


def at_distance(d: float, dtype: torch.dtype = torch.float32) -> tuple[Tensor, PointTargets]:
    """Return one sample of two points that are both found at a distance."""
    points = torch.tensor([[[10.0, 20.0], [30.0, 5.0]]], dtype=dtype)
    return points + torch.tensor([0.6 * d, -0.8 * d], dtype=dtype), targets_of(points)


def test_losses_by_hand() -> None:
    points = torch.tensor([[[1.0, 2.0], [5.0, 5.0]], [[0.0, 0.0], [7.0, 8.0]]])
    is_known = torch.tensor([[True, True], [True, False]])
    targets = targets_of(points, is_known)
    outputs = torch.tensor([[[4.0, 6.0], [5.0, 5.0]], [[0.0, 20.0], [99.0, 99.0]]])
    # differences 3, 4, 0, 0 and 0, 20; distances 5, 0 and 20
    assert value("mse", outputs, targets).tolist() == [25 / 4, 200.0]
    assert value("smooth_l1", outputs, targets).tolist() == [(2.25 + 3.25) / 4, 19.25 / 2]
    log = math.log
    wing = [(10 * log(2.5) + 10 * log(3)) / 4, (10 + 10 * log(6)) / 2]
    assert value("wing", outputs, targets).tolist() == pytest.approx(wing)
    enme = [3 * 2.5 - 2 * log(math.cosh(2.5)), 20 + 2 * log(2)]
    assert value("enme", outputs, targets).tolist() == pytest.approx(enme)
    assert error_px(outputs, targets) == {"error_px": pytest.approx((5 + 0 + 20) / 3)}


@every_loss
@given(problem=PROBLEMS)
def test_losses_equal_their_definitions(name: str, problem: tuple[Tensor, PointTargets]) -> None:
    outputs, targets = problem
    found = value(name, outputs, targets)
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx(naive(name, outputs, targets), rel=1e-4, abs=1e-4)


@every_loss
@given(problem=PROBLEMS)
def test_unknown_points_have_no_influence(name: str, problem: tuple[Tensor, PointTargets]) -> None:
    outputs, targets = problem
    known = targets.is_known[:, :, None]
    other = torch.where(known, outputs, 1e6 - outputs)
    assert torch.equal(value(name, other, targets), value(name, outputs, targets))
    assert torch.equal(error_px(other, targets)["error_px"], error_px(outputs, targets)["error_px"])
    found = gradient(name, other, targets)
    assert found.isfinite().all()
    assert not torch.where(known, 0.0, found).any()
    # wherever the truth of an unknown point is said to be
    moved = targets._replace(points=torch.where(known, targets.points, 50.0))
    assert torch.equal(value(name, outputs, moved), value(name, outputs, targets))


@every_loss
def test_a_sample_without_known_points_costs_nothing(name: str) -> None:
    outputs = torch.rand(2, 3, 2) * 100
    targets = targets_of(torch.rand(2, 3, 2), torch.tensor([[False] * 3, [True] * 3]))
    assert value(name, outputs, targets)[0] == 0
    found = gradient(name, outputs, targets)
    assert not found[0].any()
    assert found[1].all()
    nothing = targets_of(torch.rand(2, 3, 2), torch.zeros(2, 3, dtype=torch.bool))
    assert error_px(outputs, nothing)["error_px"] == 0


@every_loss
@given(problem=PROBLEMS, seed=st.integers(0, 99))
def test_a_loss_is_its_samples_own(
    name: str, problem: tuple[Tensor, PointTargets], seed: int
) -> None:
    outputs, targets = problem
    whole = value(name, outputs, targets)
    order = torch.randperm(len(outputs), generator=torch.Generator().manual_seed(seed))
    turned = PointTargets(*(each[order] for each in targets[:3]), mirror=None)
    torch.testing.assert_close(value(name, outputs[order], turned), whole[order])
    points = torch.randperm(outputs.shape[1], generator=torch.Generator().manual_seed(seed))
    turned = PointTargets(*(each[:, points] for each in targets[:3]), mirror=None)
    torch.testing.assert_close(value(name, outputs[:, points], turned), whole)


@every_loss
@pytest.mark.parametrize("distance", [0.0, 1e-3, 1.0, 88.0, 100.0, 1e4, 1e6])
def test_losses_and_gradients_are_finite_at_any_distance(name: str, distance: float) -> None:
    outputs, targets = at_distance(distance)
    assert value(name, outputs, targets).isfinite().all()
    found = gradient(name, outputs, targets)
    assert found.isfinite().all()
    assert found.any() == (distance > 0)


@every_loss
def test_bfloat16_outputs_are_compared_in_float32(name: str) -> None:
    outputs, targets = problem(3, 4, seed=1)
    half = outputs.bfloat16()
    found = value(name, half, targets)
    assert found.dtype == torch.float32
    assert torch.equal(found, value(name, half.float(), targets))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(value(name, half, targets), found)


@every_loss
def test_gradients_are_those_of_differences(name: str) -> None:
    outputs, targets = problem(3, 4, seed=2)
    doubles = outputs.double().requires_grad_()
    assert value(name, doubles, targets).dtype == torch.float64
    assert torch.autograd.gradcheck(lambda given: value(name, given, targets), doubles)


@given(problem=PROBLEMS, beta=st.sampled_from([0.0, 0.5, 1.0, 3.0]))
def test_smooth_l1_is_that_of_torch(problem: tuple[Tensor, PointTargets], beta: float) -> None:
    outputs, targets = problem
    targets = targets._replace(is_known=torch.ones_like(targets.is_known))
    found = SmoothL1(beta=beta)(outputs, targets)["smooth_l1"]
    expected = F.smooth_l1_loss(outputs, targets.points, beta=beta, reduction="none")
    torch.testing.assert_close(found, expected.mean(dim=(1, 2)))


@pytest.mark.parametrize(("width", "curvature"), [(10.0, 2.0), (5.0, 0.5), (1.0, 3.0)])
def test_wing_has_no_step_at_its_width(width: float, curvature: float) -> None:
    wing = Wing(width=width, curvature=curvature)

    def at(x: float) -> float:
        outputs = torch.tensor([[[x, x]]], dtype=torch.float64)
        return float(wing(outputs, targets_of(torch.zeros(1, 1, 2)))["wing"])

    at_width = width * math.log(1 + width / curvature)
    assert at(width - 1e-9) == pytest.approx(at_width, abs=1e-7)
    assert at(width + 1e-9) == pytest.approx(at_width, abs=1e-7)
    assert at(width + 7) == pytest.approx(at_width + 7)
    assert at(-width - 7) == pytest.approx(at_width + 7)
    assert at(0) == 0


@given(d=st.floats(1e-4, 80), alpha=st.sampled_from([0.0, 1.0, 2.0, 5.0]))
def test_enme_is_the_definition_of_the_source(d: float, alpha: float) -> None:
    outputs, targets = at_distance(d, torch.float64)
    expected = (alpha + 1) * d - alpha * math.log(math.cosh(d))
    found = Enme(alpha=alpha)(outputs, targets)["enme"]
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    single = Enme(alpha=alpha)(*at_distance(d))["enme"]
    assert single.item() == pytest.approx(expected, rel=1e-4, abs=2e-5)


@pytest.mark.parametrize("alpha", [0.0, 2.0, 3.5])
def test_the_slope_of_enme_falls_from_alpha_and_1_to_1(alpha: float) -> None:
    def slope(d: float) -> float:
        outputs, targets = at_distance(d, torch.float64)
        outputs.requires_grad_()
        Enme(alpha=alpha)(outputs, targets)["enme"].sum().backward()
        assert outputs.grad is not None
        return float((outputs.grad[0] @ torch.tensor([0.6, -0.8], dtype=torch.float64)).sum())

    slopes = [slope(d) for d in (1e-7, 0.1, 0.5, 1.0, 3.0, 50.0, 1e4)]
    assert slopes[0] == pytest.approx(alpha + 1, abs=1e-5)
    assert slopes[-1] == pytest.approx(1)
    assert slopes == sorted(slopes, reverse=True)
    assert slope(1.0) == pytest.approx(alpha + 1 - alpha * math.tanh(1.0))


def test_enme_sees_the_mean_distance_of_the_points() -> None:
    points = torch.zeros(1, 3, 2)
    outputs = torch.tensor([[[3.0, 4.0], [0.0, 1.0], [77.0, 77.0]]])
    targets = targets_of(points, torch.tensor([[True, True, False]]))
    found = value("enme", outputs, targets)
    assert found.item() == pytest.approx(3 * 3 - 2 * math.log(math.cosh(3)))


def test_the_drawn_error_has_no_gradient_and_counts_points() -> None:
    outputs = torch.tensor([[[3.0, 4.0], [0.0, 0.0]], [[0.0, 1.0], [9.0, 9.0]]])
    known = torch.tensor([[True, True], [True, False]])
    found = error_px(outputs.requires_grad_(), targets_of(torch.zeros(2, 2, 2), known))
    assert found["error_px"].item() == pytest.approx((5 + 0 + 1) / 3)
    assert not found["error_px"].requires_grad


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SmoothL1(beta=-1.0), "beta must be >= 0, got -1.0"),
        (lambda: SmoothL1(beta=math.nan), "beta must be >= 0, got nan"),
        (lambda: Wing(width=0.0, curvature=1.0), "width must be > 0, got 0.0"),
        (lambda: Wing(width=1.0, curvature=math.inf), r"curvature must be <= 1e\+09, got inf"),
        (lambda: Enme(alpha=-0.5), "alpha must be >= 0, got -0.5"),
    ],
)
def test_wrong_settings_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_every_loss_is_one_of_samples() -> None:
    for loss in (Mse, SmoothL1, Wing, Enme):
        assert loss.is_per_sample
