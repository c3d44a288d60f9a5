from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from visionlab.tasks.classification.loss import CrossEntropy


def naive_cross_entropy(
    logits: Tensor, labels: Tensor, smoothing: float, weights: Sequence[float] | None
) -> Tensor:
    """Return the loss in double precision, sample by sample and class by class."""
    num_classes = logits.shape[1]
    weights = [1.0] * num_classes if weights is None else weights
    total, total_weight = torch.zeros((), dtype=torch.float64), 0.0
    for row, label in zip(logits.double(), labels.tolist(), strict=True):
        log_total = row.exp().sum().log()
        for index in range(num_classes):
            target = smoothing / num_classes + (1 - smoothing) * (index == label)
            total = total + weights[index] * target * (log_total - row[index])
        total_weight += weights[label]
    return total / total_weight


def problem(num_samples: int, num_classes: int, seed: int) -> tuple[Tensor, Tensor, list[float]]:
    generator = np.random.default_rng(seed)
    logits = torch.from_numpy(generator.normal(0, 3, (num_samples, num_classes))).float()
    labels = torch.from_numpy(generator.integers(0, num_classes, num_samples))
    return logits, labels, generator.uniform(0.1, 2, num_classes).tolist()


def losses_of(
    logits: Tensor, labels: Tensor, smoothing: float = 0.0, weights: Sequence[float] | None = None
) -> Tensor:
    losses = CrossEntropy(label_smoothing=smoothing, class_weights=weights)(logits, labels)
    assert list(losses) == ["cross_entropy"]
    assert losses["cross_entropy"].shape == labels.shape
    return losses["cross_entropy"]


def loss_of(
    logits: Tensor, labels: Tensor, smoothing: float = 0.0, weights: Sequence[float] | None = None
) -> Tensor:
    return losses_of(logits, labels, smoothing, weights).mean()


PROBLEMS = st.builds(problem, st.integers(1, 6), st.integers(1, 7), st.integers(0, 9999))
SMOOTHINGS = st.just(0.0) | st.floats(0, 0.99)


def test_cross_entropy_of_even_logits_is_the_logarithm_of_the_number_of_classes() -> None:
    loss = loss_of(torch.zeros(2, 4), torch.tensor([0, 3]))
    assert loss.item() == pytest.approx(np.log(4))


def test_cross_entropy_at_numbers_checked_by_hand() -> None:
    logits = torch.tensor([[np.log(3.0), 0.0], [0.0, 0.0]])  # probabilities 3/4, 1/4 and 1/2, 1/2
    labels = torch.tensor([0, 1])
    quarter, half, three_quarters = -np.log(0.25), -np.log(0.5), -np.log(0.75)
    assert loss_of(logits, labels).item() == pytest.approx((three_quarters + half) / 2)
    smoothed = (0.9 * three_quarters + 0.1 * quarter + half) / 2
    assert loss_of(logits, labels, smoothing=0.2).item() == pytest.approx(smoothed)
    weighted = (three_quarters + 3 * half) / 4
    assert loss_of(logits, labels, weights=[1.0, 3.0]).item() == pytest.approx(weighted)


@given(problem=PROBLEMS, smoothing=SMOOTHINGS, weighted=st.booleans())
def test_cross_entropy_equals_the_naive_formula(
    problem: tuple[Tensor, Tensor, list[float]], smoothing: float, weighted: bool
) -> None:
    logits, labels, weights = problem
    chosen = weights if weighted else None
    loss = loss_of(logits, labels, smoothing, chosen)
    expected = naive_cross_entropy(logits, labels, smoothing, chosen)
    assert loss >= 0
    assert loss.item() == pytest.approx(expected.item(), rel=2e-5, abs=2e-6)


@given(problem=PROBLEMS, smoothing=SMOOTHINGS, weighted=st.booleans())
def test_the_mean_is_that_of_torch(
    problem: tuple[Tensor, Tensor, list[float]], smoothing: float, weighted: bool
) -> None:
    logits, labels, weights = problem
    expected = F.cross_entropy(
        logits,
        labels,
        weight=torch.tensor(weights) if weighted else None,
        label_smoothing=smoothing,
    )
    loss = loss_of(logits, labels, smoothing, weights if weighted else None)
    torch.testing.assert_close(loss, expected)


def test_each_sample_has_its_own_loss() -> None:
    logits, labels, weights = problem(6, 3, seed=2)
    alone = [loss_of(logits[row : row + 1], labels[row : row + 1]) for row in range(6)]
    torch.testing.assert_close(losses_of(logits, labels), torch.stack(alone))
    # weighted ones are those alone times their weight, all with one factor
    ratios = losses_of(logits, labels, weights=weights) / torch.stack(alone)
    shares = torch.tensor(weights)[labels]
    torch.testing.assert_close(ratios, 6 * shares / shares.sum())


@given(problem=PROBLEMS, smoothing=SMOOTHINGS, weighted=st.booleans())
def test_the_gradient_is_that_of_the_naive_formula(
    problem: tuple[Tensor, Tensor, list[float]], smoothing: float, weighted: bool
) -> None:
    logits, labels, weights = problem
    chosen = weights if weighted else None
    ours, theirs = logits.clone().requires_grad_(), logits.double().requires_grad_()
    loss_of(ours, labels, smoothing, chosen).backward()
    naive_cross_entropy(theirs, labels, smoothing, chosen).backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-4, atol=1e-6)


@given(problem=PROBLEMS, smoothing=SMOOTHINGS)
def test_weights_of_one_and_scaled_weights_change_nothing(
    problem: tuple[Tensor, Tensor, list[float]], smoothing: float
) -> None:
    logits, labels, weights = problem
    plain = loss_of(logits, labels, smoothing)
    ones = loss_of(logits, labels, smoothing, [1.0] * logits.shape[1])
    torch.testing.assert_close(ones, plain)
    weighted = loss_of(logits, labels, smoothing, weights)
    scaled = loss_of(logits, labels, smoothing, [8 * weight for weight in weights])
    torch.testing.assert_close(scaled, weighted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("weights", [None, [0.1, 0.3, 0.7]])
def test_half_precision_logits_are_computed_with_in_float32(
    dtype: torch.dtype, weights: list[float] | None
) -> None:
    logits, labels, _ = problem(50, 3, seed=0)
    logits = logits.to(dtype)
    loss = loss_of(logits, labels, 0.1, weights)
    assert loss.dtype == torch.float32
    assert loss.item() == loss_of(logits.float(), labels, 0.1, weights).item()


def test_a_class_of_weight_zero_does_not_count() -> None:
    logits, _, _ = problem(4, 3, seed=1)
    labels = torch.tensor([0, 2, 1, 2])
    kept = labels != 2
    loss = loss_of(logits, labels, weights=[1.0, 1.0, 0.0])
    torch.testing.assert_close(loss, loss_of(logits[kept], labels[kept]))


@pytest.mark.parametrize("smoothing", [1.0, -0.1, 1.5, float("nan")])
def test_a_smoothing_outside_its_range_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match=rf"label_smoothing must be in \[0, 1\), got {smoothing}"):
        CrossEntropy(label_smoothing=smoothing, class_weights=None)


@pytest.mark.parametrize("weights", [[1.0, -0.5], [0.0, 0.0], []])
def test_weights_below_or_all_zero_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match=r"class_weights must be in .* and not all 0, got"):
        CrossEntropy(label_smoothing=0.0, class_weights=weights)


def test_a_wrong_number_of_weights_is_refused() -> None:
    message = r"loss\.class_weights must have one weight .*3.*, got 2"
    with pytest.raises(ValueError, match=message):
        loss_of(torch.zeros(1, 3), torch.tensor([0]), weights=[1.0, 2.0])


@pytest.mark.parametrize(
    ("outputs", "got"),
    [
        (torch.zeros(4, 2), "num_classes logits, got 2"),
        (torch.zeros(4, 3, 8, 8), r"got \(4, 3, 8, 8\)"),
        ((torch.zeros(4, 3),), "got tuple"),
    ],
)
def test_outputs_that_are_no_logits_of_the_classes_are_refused(outputs: Tensor, got: str) -> None:
    with pytest.raises(ValueError, match=f"model must return .*{got}"):
        losses_of(outputs, torch.tensor([0, 1, 2, 0]))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_batch_of_samples_without_weight_costs_nothing(smoothing: float) -> None:
    logits = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = CrossEntropy(label_smoothing=smoothing, class_weights=[0, 1])
    losses = loss(logits, torch.zeros(4, dtype=torch.int64))["cross_entropy"]
    losses.mean().backward()
    assert torch.equal(losses, torch.zeros(4))
    assert torch.equal(logits.grad, torch.zeros(4, 2))
    some = loss(logits.detach(), torch.tensor([0, 0, 0, 1]))["cross_entropy"]
    assert some.isfinite().all()
    assert some.sum() > 0
