import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from visionlab.tasks.classification import Accuracy, MeanLogit, MeanProbability, Vote

FUSIONS = [MeanProbability(), MeanLogit(), Vote()]
# class 0 is right
THREE = [torch.tensor([row]) for row in ([0.8, 0.15, 0.05], [0.5, 0.4, 0.1], [0.6, 0.1, 0.3])]
PROBS = st.integers(0, 999).map(
    lambda seed: (4 * torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))).softmax(1)
)


def nll(probs: Tensor) -> float:
    return -math.log(float(probs[0, 0]))


def test_the_worked_example() -> None:
    assert nll(MeanLogit()(THREE, [1, 1, 1])) == pytest.approx(0.389744, abs=1e-6)
    assert nll(MeanProbability()(THREE, [1, 1, 1])) == pytest.approx(0.456758, abs=1e-6)
    assert sum(map(nll, THREE)) / 3 == pytest.approx(0.475705, abs=1e-6)


def test_weights() -> None:
    weighted = MeanProbability()(THREE, [2, 0, 6])
    torch.testing.assert_close(weighted, 0.25 * THREE[0] + 0.75 * THREE[2])
    powers = THREE[0] ** 0.25 * THREE[2] ** 0.75
    torch.testing.assert_close(MeanLogit()(THREE, [2, 0, 6]), powers / powers.sum())
    # one vote for class 1, with most of the weight
    members = [THREE[0], THREE[1], torch.tensor([[0.3, 0.4, 0.3]])]
    assert Vote()(members, [1, 1, 3])[0].tolist() == pytest.approx([0.4, 0.6, 0.0], abs=1e-3)
    assert Vote()(members, [1, 1, 1])[0].argmax() == 0


def test_a_tie_of_votes_goes_to_the_more_probable_class() -> None:
    members = [torch.tensor([[0.5, 0.45, 0.05]]), torch.tensor([[0.1, 0.8, 0.1]])]
    fused = Vote()(members, [1, 1])
    assert fused.argmax() == 1
    assert fused[0].tolist() == pytest.approx([0.5, 0.5, 0.0], abs=1e-3)
    # few votes of weight still beat probability
    assert Vote()(members, [1.01, 1]).argmax() == 0


def test_the_mean_of_logits_is_a_mean_of_logits() -> None:
    logits = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0))
    fused = MeanLogit()([each.softmax(1) for each in logits], [1, 2, 5])
    mean = (logits * torch.tensor([1, 2, 5])[:, None, None]).sum(0) / 8
    torch.testing.assert_close(fused, mean.softmax(1))


def test_classes_of_probability_0() -> None:
    apart = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])]
    assert MeanLogit()(apart, [1, 1]).tolist() == [[0.5, 0.5]]
    certain = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]])]
    assert MeanLogit()(certain, [1, 1])[0].tolist() == pytest.approx([1.0, 0.0])


@given(probs=PROBS, weights=st.lists(st.floats(0.01, 10), min_size=1, max_size=5))
def test_equal_members_fuse_to_themselves(probs: Tensor, weights: list[float]) -> None:
    members = [probs] * len(weights)
    for fusion in (MeanProbability(), MeanLogit()):
        fused = fusion(members, weights)
        assert fused.dtype == torch.float32
        assert torch.equal(fused, probs)
    assert torch.equal(Vote()(members, weights).argmax(1), probs.argmax(1))


@given(probs=st.lists(PROBS, min_size=3, max_size=3), order=st.permutations(range(3)))
def test_neither_order_nor_scale_of_weights_counts(probs: list[Tensor], order: list[int]) -> None:
    weights = [0.2, 1.0, 0.7]
    for fusion in FUSIONS:
        fused = fusion(probs, weights)
        other = fusion([probs[n] for n in order], [0.1 * weights[n] for n in order])
        torch.testing.assert_close(fused, other)
        torch.testing.assert_close(fused.sum(1), torch.ones(5))


def test_the_metric_takes_what_is_fused() -> None:
    metric = Accuracy(class_names=["a", "b", "c"], top_k=[1, 2])
    for fusion in FUSIONS:
        metric.update(fusion(THREE, [1, 1, 1]), torch.tensor([0]))
    assert metric.compute() == {"top1": 1.0, "top2": 1.0}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_wrong_members_are_refused(fusion: Vote) -> None:
    with pytest.raises(ValueError, match=r"^members must .*, got \(1, 2\) for member 1$"):
        fusion([THREE[0], torch.zeros(1, 2)], [1, 1])
    with pytest.raises(ValueError, match=r"^weights must be 3 .*, got \[1, 1\]$"):
        fusion(THREE, [1, 1])
