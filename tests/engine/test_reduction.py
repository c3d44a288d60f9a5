"""Losses per sample, and the band of hard examples."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from siblings import boxes, classification, two_views
from torch import Tensor, nn

from visionlab.engine.evaluation import Result, evaluate
from visionlab.engine.reduction import kept_ranks, loss_per_sample, reduce_losses
from visionlab.task import Task
from visionlab.tasks.classification.loss import CrossEntropy
from visionlab.testing.training import NO_STOP, PLAN, assert_same, train

SHARES = st.floats(0, 1) | st.integers(0, 100).map(lambda percent: percent / 100)
BANDS = st.tuples(SHARES, SHARES).map(sorted).filter(lambda band: band[0] < band[1])
LOSSES = st.lists(st.integers(0, 9), min_size=1, max_size=40)  # few values: many ties


def naive_band(losses: Sequence[float], band: Sequence[float]) -> list[int]:
    """Return the places that are kept, found by walking down the ranks one at a time."""
    left = list(range(len(losses)))
    kept = []
    for rank in range(len(losses)):
        hardest = left[0]
        for place in left:
            if losses[place] > losses[hardest]:
                hardest = place
        left.remove(hardest)
        low, high = (Fraction(repr(share)) * len(losses) for share in band)
        if rank + 1 > low and rank <= high:  # rank >= floor(low) is rank + 1 > low
            kept.append(hardest)
    return sorted(kept)


def evaluated(task: Task, *, batch_size: int = 5) -> Result:
    return evaluate(
        task,
        task.model,
        task.splits["val"],
        batch_size=batch_size,
        autocast=partial(torch.autocast, "cpu", enabled=False),
        check=lambda: None,
    )


def test_the_band_of_the_source_keeps_80_of_160_samples() -> None:
    assert list(range(160))[kept_ranks([0.01, 0.5], 160)] == list(range(1, 81))
    assert list(range(160))[kept_ranks([0.0, 1.0], 160)] == list(range(160))


def test_shares_are_taken_as_they_are_written() -> None:
    assert 0.29 * 100 < 29
    assert kept_ranks([0.29, 0.57], 100) == slice(29, 58)
    assert kept_ranks([0.01, 0.07], 700) == slice(7, 50)


@given(band=BANDS, num_samples=st.integers(1, 10**6))
def test_a_band_keeps_at_least_one_sample_and_no_more_than_its_share(
    band: list[float], num_samples: int
) -> None:
    kept = len(range(num_samples)[kept_ranks(band, num_samples)])
    assert 1 <= kept <= math.ceil((band[1] - band[0]) * num_samples) + 1


def test_the_narrowest_and_the_last_band_keep_a_sample() -> None:
    below_one = math.nextafter(1.0, 0.0)
    for num_samples in (1, 2, 3, 16, 10**6):
        assert range(num_samples)[kept_ranks([below_one, 1.0], num_samples)]
        assert range(num_samples)[kept_ranks([0.0, math.nextafter(0.0, 1.0)], num_samples)]


@given(losses=LOSSES, band=BANDS)
def test_the_mean_over_a_band_equals_the_naive_one(losses: list[int], band: list[float]) -> None:
    values = torch.tensor(losses, dtype=torch.float32)
    kept = naive_band(losses, band)
    scalars = reduce_losses({"a": 0.25 * values, "b": 0.75 * values}, band=band)
    mean = sum(losses[place] for place in kept) / len(kept)
    expected = {"loss": mean, "a": 0.25 * mean, "b": 0.75 * mean}
    expected["loss_of_all"] = sum(losses) / len(losses)
    assert list(scalars) == list(expected)
    assert {name: value.item() for name, value in scalars.items()} == pytest.approx(expected)


@given(losses=LOSSES, band=BANDS)
def test_only_kept_samples_get_a_gradient_all_the_same(
    losses: list[int], band: list[float]
) -> None:
    values = torch.tensor(losses, dtype=torch.float32, requires_grad=True)
    reduce_losses({"a": values}, band=band)["loss"].backward()
    assert values.grad is not None
    kept = naive_band(losses, band)  # of equal losses the first ones
    expected = [1 / len(kept) if place in kept else 0.0 for place in range(len(losses))]
    assert values.grad.tolist() == pytest.approx(expected)


def test_a_loss_that_is_not_finite_shows_though_its_sample_is_left_out() -> None:
    values = torch.tensor([1.0, math.nan, 2.0, 3.0])
    scalars = reduce_losses({"a": values}, band=[0.25, 0.5])
    assert scalars["loss"].item() == 2.5
    assert math.isnan(scalars["loss_of_all"].item())


def test_scalars_and_samples_can_stand_side_by_side() -> None:
    losses = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor(0.5)}
    assert {name: value.item() for name, value in reduce_losses(losses).items()} == {
        "loss": 2.5,
        "a": 2.0,
        "b": 0.5,
    }
    assert loss_per_sample(losses) is None
    per_sample = loss_per_sample({"a": torch.tensor([1.0, 3.0]), "c": torch.tensor([0.5, 1.0])})
    assert per_sample is not None
    assert per_sample.tolist() == [1.5, 4.0]


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_an_evaluation_keeps_the_loss_of_each_sample(batch_size: int) -> None:
    task = classification()
    result = evaluated(task, batch_size=batch_size)
    losses = result.samples["loss"]
    assert losses.dtype == torch.float32
    assert losses.shape == result.samples["keys"].shape
    assert result.metrics["loss"] == pytest.approx(losses.double().mean().item(), rel=1e-6)
    # the mean hides which loss is whose: the least probable labels have the largest losses
    probs = result.samples["label_prob"].float()
    torch.testing.assert_close(losses, -probs.log(), rtol=1e-2, atol=1e-2)


def test_an_evaluation_of_scalars_keeps_none_and_weighs_batches_by_samples() -> None:
    task, seen = boxes(), []
    assert len(task.splits["val"]) == 12

    def loss(outputs: Mapping[str, Tensor], targets: Sequence[object]) -> Mapping[str, Tensor]:
        losses = task.loss(outputs, targets)
        seen.append((sum(value.item() for value in losses.values()), len(targets)))
        return losses

    result = evaluated(replace(task, loss=loss))
    assert "loss" not in result.samples
    assert [count for _, count in seen] == [5, 5, 2]
    mean = sum(value * count for value, count in seen) / 12
    assert result.metrics["loss"] == pytest.approx(mean, rel=1e-6)


def test_a_weighted_loss_is_what_it_was() -> None:
    task = classification()
    weighted = CrossEntropy(label_smoothing=0.1, class_weights=[1.0, 3.0])
    torchs = nn.CrossEntropyLoss(label_smoothing=0.1, weight=torch.tensor([1.0, 3.0]))
    ours = evaluated(replace(task, loss=weighted)).metrics
    theirs = evaluated(
        replace(task, loss=lambda logits, labels: {"cross_entropy": torchs(logits, labels)})
    ).metrics
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_training_with_a_band_is_training_on_the_kept_samples(tmp_path: Path) -> None:
    band = [0.1, 0.6]

    def by_hand() -> Task:
        task = classification()

        def loss(logits: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
            losses = task.loss(logits, labels)["cross_entropy"]
            if not torch.is_grad_enabled():
                return {"cross_entropy": losses}
            kept = naive_band(losses.tolist(), band)
            return {"cross_entropy": losses[kept].mean()}

        return replace(task, loss=loss)

    hparams = replace(PLAN, epochs=2)
    expected = train(by_hand, tmp_path / "by_hand", hparams=hparams)
    found = train(classification, tmp_path / "band", hparams=replace(hparams, hard_examples=band))
    for name, value in found.tensors().items():
        torch.testing.assert_close(value, expected.tensors()[name])
    for ours, theirs in zip(found.rows, expected.rows, strict=True):
        assert ours["train/loss"] == pytest.approx(theirs["train/loss"], rel=1e-4)
        assert ours["train/loss"] == pytest.approx(ours["train/cross_entropy"])
        assert ours["train/loss_of_all"] != pytest.approx(ours["train/loss"], rel=1e-2)


def test_each_accumulated_part_is_ranked_by_itself(tmp_path: Path) -> None:
    # parts of two samples, of which the first rank is kept: half of all, and not the first half
    hparams = replace(PLAN, epochs=1, accumulate_steps=8, hard_examples=[0.0, 0.4])
    kept: list[float] = []

    def make() -> Task:
        task = two_views()

        def loss(outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
            losses = task.loss(outputs, targets)
            if torch.is_grad_enabled():
                kept.append(losses["contrastive"].max().item())
            return losses

        return replace(task, loss=loss)

    row = train(make, tmp_path, hparams=hparams).rows[0]
    assert len(kept) == 20
    assert row["train/loss"] == pytest.approx(sum(kept) / len(kept), rel=1e-5)


@pytest.mark.parametrize("make_task", [classification, two_views])
def test_resuming_is_exact_with_a_band(make_task: object, tmp_path: Path) -> None:
    hparams = replace(PLAN, hard_examples=[0.05, 0.5], accumulate_steps=2)
    whole = train(make_task, tmp_path / "whole", hparams=hparams)  # type: ignore[arg-type]
    stop = replace(NO_STOP, max_steps=5)
    train(make_task, tmp_path / "broken", hparams=hparams, stop=stop)  # type: ignore[arg-type]
    again = train(make_task, tmp_path / "broken", hparams=hparams, resume=True)  # type: ignore[arg-type]
    assert_same(whole, again)


@pytest.mark.parametrize(
    "band",
    [[], [0.1], [0.5, 0.1], [0.3, 0.3], [-0.1, 0.5], [0.5, 1.1], [0.1, math.nan], [0, 0.5, 1]],
)
def test_a_band_that_is_empty_out_of_order_or_out_of_range_is_refused(band: list[float]) -> None:
    message = r"hard_examples must be null or two increasing numbers in \[0, 1\], got \["
    with pytest.raises(ValueError, match=message):
        replace(PLAN, hard_examples=band)
