import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import random_split

from visionlab.images.holdout import Holdout


@given(num_samples=st.integers(2, 500), split=st.floats(0, 0.999), seed=st.integers(0, 2**63 - 1))
def test_the_parts_are_disjoint_complete_and_as_large_as_asked(
    num_samples: int, split: float, seed: int
) -> None:
    train, val = Holdout(split=split, seed=seed).rows(num_samples)
    assert train.dtype == val.dtype == torch.int64
    assert len(val) == int(num_samples * split)
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(num_samples))


def test_the_cifar_split_is_that_of_the_ema_study() -> None:
    train, val = Holdout(split=0.1, seed=1234).rows(50_000)
    generator = torch.Generator().manual_seed(1234)
    expected_train, expected_val = random_split(
        torch.utils.data.TensorDataset(torch.zeros(50_000)), [45_000, 5_000], generator=generator
    )
    assert train.tolist() == list(expected_train.indices)
    assert val.tolist() == list(expected_val.indices)


def test_the_cifar_split_begins_as_it_did_when_the_first_runs_were_made() -> None:
    train, val = Holdout(split=0.1, seed=1234).rows(50_000)
    assert train[:5].tolist() == [19775, 41921, 43688, 136, 26732]
    assert val[:5].tolist() == [18565, 21590, 23866, 22031, 24392]


@given(num_samples=st.integers(2, 300), seed=st.integers(0, 999))
def test_a_split_of_zero_holds_nothing_out(num_samples: int, seed: int) -> None:
    train, val = Holdout(split=0.0, seed=seed).rows(num_samples)
    assert len(train) == num_samples
    assert len(val) == 0
    assert val.dtype == torch.int64


def test_a_single_sample_is_trained_on_without_a_warning() -> None:
    train, val = Holdout(split=0.1, seed=0).rows(1)
    assert (train.tolist(), val.tolist()) == ([0], [])


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    first, again, other = (Holdout(split=0.3, seed=seed).rows(100)[1] for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("split", [1.0, -0.1, 1.5, float("nan")])
def test_a_share_outside_its_range_is_refused(split: float) -> None:
    with pytest.raises(ValueError, match=rf"split must be in \[0, 1\), got {split}"):
        Holdout(split=split, seed=0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed must be >= 0, got -1"):
        Holdout(split=0.1, seed=-1)
