import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from visionlab.tasks.detection.loss import focal
from visionlab.tasks.detection.loss.focal import focal_loss

Problem = tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]


def problem(num_images: int, num_anchors: int, num_classes: int, seed: int) -> Problem:
    """Return logits, weights and positives; no positive is ignored."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_images, num_anchors)
    logits = 4 * torch.randn(*shape, num_classes, generator=generator)
    kinds = torch.randint(0, 4, shape, generator=generator)  # 0 is positive, 1 ignored
    labels = torch.randint(0, num_classes, shape, generator=generator)
    image, anchor = (kinds == 0).nonzero(as_tuple=True)
    return logits, (kinds != 1).float(), (image, anchor, labels[image, anchor])


def naive_focal_loss(problem: Problem, alpha: float, gamma: float) -> Tensor:
    """Return equation 5 of the paper in double precision, number by number."""
    logits, weights, positives = problem
    chosen = set(zip(*(each.tolist() for each in positives), strict=True))
    total = torch.zeros((), dtype=torch.float64)
    for image, rows in enumerate(logits.double()):
        for anchor, row in enumerate(rows):
            for label, logit in enumerate(row):
                probability = 1 / (1 + torch.exp(-logit))
                is_true = (image, anchor, label) in chosen
                p_t = probability if is_true else 1 - probability
                alpha_t = alpha if is_true else 1 - alpha
                term = -alpha_t * (1 - p_t) ** gamma * torch.log(p_t)
                total = total + weights[image, anchor] * term
    return total


PROBLEMS = st.builds(
    problem, st.integers(1, 3), st.integers(1, 6), st.integers(1, 4), st.integers(0, 9999)
)
ALPHAS = st.sampled_from([0.0, 0.25, 0.5, 1.0])
GAMMAS = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 5.0])


def one_logit(value: float, *, is_true: bool, dtype: torch.dtype = torch.float32) -> Problem:
    places = torch.zeros(1 if is_true else 0, dtype=torch.int64)
    logits = torch.full((1, 1, 1), value, dtype=dtype, requires_grad=True)
    return logits, torch.ones(1, 1), (places, places, places)


def gradient(problem: Problem, alpha: float, gamma: float) -> Tensor:
    logits = problem[0].detach().clone().requires_grad_()
    focal_loss(logits, *problem[1:], alpha=alpha, gamma=gamma).backward()
    assert logits.grad is not None
    return logits.grad


def test_the_loss_of_single_numbers_is_that_checked_by_hand() -> None:
    half = one_logit(0.0, is_true=True)  # p = 1/2: 0.25 * (1/2)^2 * log 2
    assert focal_loss(*half, alpha=0.25, gamma=2.0).item() == pytest.approx(math.log(2) / 16)
    background = one_logit(0.0, is_true=False)
    expected = 0.75 * math.log(2) / 4
    assert focal_loss(*background, alpha=0.25, gamma=2.0).item() == pytest.approx(expected)
    sure = one_logit(math.log(9.0), is_true=True)  # p = 0.9: a hundred times less than at gamma 0
    plain = focal_loss(*sure, alpha=0.25, gamma=0.0).item()
    assert focal_loss(*sure, alpha=0.25, gamma=2.0).item() == pytest.approx(plain / 100, rel=1e-3)


@given(problem=PROBLEMS, alpha=ALPHAS, gamma=GAMMAS)
def test_the_loss_and_its_gradient_equal_the_naive_formula(
    problem: Problem, alpha: float, gamma: float
) -> None:
    loss = focal_loss(*problem, alpha=alpha, gamma=gamma)
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    logits = problem[0].double().requires_grad_()
    expected = naive_focal_loss((logits, *problem[1:]), alpha, gamma)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-4)
    expected.backward()
    assert logits.grad is not None
    found = gradient(problem, alpha, gamma).double()
    torch.testing.assert_close(found, logits.grad, rtol=1e-4, atol=1e-5)


@given(problem=PROBLEMS, alpha=ALPHAS, gamma=GAMMAS)
def test_the_loss_is_that_of_torchvision(problem: Problem, alpha: float, gamma: float) -> None:
    logits, weights, positives = problem
    targets = torch.zeros_like(logits)
    targets[positives] = 1.0
    each = sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma)
    expected = (each * weights[..., None]).sum()
    found = focal_loss(*problem, alpha=alpha, gamma=gamma)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@given(problem=PROBLEMS, alpha=ALPHAS)
def test_gamma_zero_is_weighted_cross_entropy(problem: Problem, alpha: float) -> None:
    logits, weights, positives = problem
    targets = torch.zeros_like(logits)
    targets[positives] = 1.0
    alphas = torch.where(targets > 0, alpha, 1 - alpha)
    cost = F.binary_cross_entropy_with_logits(
        logits, targets, weight=alphas * weights[..., None], reduction="sum"
    )
    found = focal_loss(*problem, alpha=alpha, gamma=0.0)
    torch.testing.assert_close(found, cost, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 1.7, 2.0, 3.0])
def test_gradients_in_double_precision_are_those_of_differences(gamma: float) -> None:
    logits, weights, positives = problem(2, 4, 3, seed=1)
    doubles = logits.double().requires_grad_()
    assert focal_loss(doubles, weights, positives, alpha=0.3, gamma=gamma).dtype == torch.float64
    assert torch.autograd.gradcheck(
        lambda given: focal_loss(given, weights, positives, alpha=0.3, gamma=gamma), doubles
    )


@pytest.mark.parametrize("chunk", [1, 7, 30, 10**9])
def test_the_size_of_chunks_does_not_matter(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    case = problem(3, 40, 5, seed=2)
    expected = focal_loss(*case, alpha=0.25, gamma=2.0)
    expected_gradient = gradient(case, 0.25, 2.0)
    monkeypatch.setattr(focal, "_CHUNK", chunk)
    torch.testing.assert_close(focal_loss(*case, alpha=0.25, gamma=2.0), expected)
    torch.testing.assert_close(gradient(case, 0.25, 2.0), expected_gradient)


def test_bfloat16_logits_are_computed_with_in_float32() -> None:
    logits, weights, positives = problem(3, 50, 4, seed=3)
    half = (logits.bfloat16(), weights, positives)
    same = (logits.bfloat16().float(), weights, positives)
    loss = focal_loss(*half, alpha=0.25, gamma=2.0)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, focal_loss(*same, alpha=0.25, gamma=2.0), rtol=0, atol=0)
    found = gradient(half, 0.25, 2.0)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), gradient(same, 0.25, 2.0), rtol=0.02, atol=1e-7)


def test_a_confident_positive_in_bfloat16_is_not_pushed_by_rounding() -> None:
    """Its gradient as background, nearly 0.75, must not be added and subtracted again."""
    for value in (4.0, 5.5, 7.75, 9.0):
        found = gradient(one_logit(value, is_true=True, dtype=torch.bfloat16), 0.25, 2.0)
        logit = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        (-0.25 * (-logit).sigmoid() ** 2 * F.logsigmoid(logit)).backward()
        assert logit.grad is not None
        assert found.item() == pytest.approx(logit.grad.item(), rel=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 2.5])
@pytest.mark.parametrize("size", [20.0, 100.0, 1000.0])
def test_extreme_logits_have_a_finite_loss_and_a_gradient_where_they_are_wrong(
    size: float, gamma: float, dtype: torch.dtype
) -> None:
    """The source clamped probabilities to [1e-4, 1 - 1e-4], where no gradient is left."""
    for is_true, alpha in ((True, 0.25), (False, 0.75)):
        sign = 1.0 if is_true else -1.0
        right = one_logit(sign * size, is_true=is_true, dtype=dtype)
        wrong = one_logit(-sign * size, is_true=is_true, dtype=dtype)
        assert focal_loss(*right, alpha=0.25, gamma=gamma).item() == pytest.approx(0, abs=1e-8)
        assert gradient(right, 0.25, gamma).item() == pytest.approx(0, abs=1e-8)
        cost = focal_loss(*wrong, alpha=0.25, gamma=gamma).item()
        assert cost == pytest.approx(alpha * wrong[0].abs().item(), rel=1e-4)
        found = gradient(wrong, 0.25, gamma).item()
        assert found == pytest.approx(-sign * alpha, rel=1e-4)


@given(problem=PROBLEMS, gamma=GAMMAS)
def test_ignored_anchors_have_no_gradient_and_no_cost(problem: Problem, gamma: float) -> None:
    logits, weights, positives = problem
    found = gradient(problem, 0.25, gamma)
    assert not found[weights == 0].any()
    other = torch.where(weights[..., None] == 0, logits + 7.0, logits)
    ours = focal_loss(*problem, alpha=0.25, gamma=gamma)
    theirs = focal_loss(other, weights, positives, alpha=0.25, gamma=gamma)
    torch.testing.assert_close(ours, theirs)


def test_logits_in_any_layout_give_the_same() -> None:
    logits, weights, positives = problem(2, 6, 3, seed=4)
    turned = logits.mT.contiguous().mT
    assert not turned.is_contiguous()
    ours = focal_loss(logits, weights, positives, alpha=0.25, gamma=2.0)
    theirs = focal_loss(turned, weights, positives, alpha=0.25, gamma=2.0)
    torch.testing.assert_close(ours, theirs)
    sliced = gradient((turned[:1], weights[:1], tuple(each[:0] for each in positives)), 0.2, 2.0)  # type: ignore[arg-type]
    plain = gradient((logits[:1], weights[:1], tuple(each[:0] for each in positives)), 0.2, 2.0)  # type: ignore[arg-type]
    torch.testing.assert_close(sliced, plain)


def test_the_gradient_grows_with_what_the_loss_is_multiplied_by() -> None:
    case = problem(2, 6, 3, seed=5)
    logits = case[0].clone().requires_grad_()
    (7 * focal_loss(logits, *case[1:], alpha=0.25, gamma=2.0)).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, 7 * gradient(case, 0.25, 2.0))


def test_without_anchors_the_loss_is_zero() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    logits = torch.zeros(2, 0, 3, requires_grad=True)
    loss = focal_loss(logits, torch.zeros(2, 0), (none, none, none), alpha=0.25, gamma=2.0)
    assert loss.item() == 0.0
    loss.backward()
