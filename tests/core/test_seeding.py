import random
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visionlab.core.seeding import derive, permutation, seed_everything, uniform

INT64 = st.integers(-(2**63), 2**63 - 1)
SEEDS = st.integers(0, 2**63 - 1)


def naive_splitmix64(state: int, num_draws: int) -> list[int]:
    """Return the outputs of the generator as its paper writes it, in unbounded integers."""
    outputs = []
    for _ in range(num_draws):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        bits = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) % 2**64
        outputs.append(bits ^ (bits >> 31))
    return outputs


def naive_uniform(key: int, seed: int, num_draws: int) -> list[float]:
    bits = (key + seed + 2**64 // 3) % 2**64
    stream = naive_splitmix64((bits - 0x9E3779B97F4A7C15) % 2**64, 1)[0]
    return [(draw >> 40) / 2**24 for draw in naive_splitmix64(stream, num_draws)]


def global_numbers() -> list[float]:
    drawn = np.random.rand(2)  # noqa: NPY002 - the global generator is what is tested
    return [random.random(), *drawn.tolist(), *torch.rand(2).tolist()]


def test_oracle_gives_the_published_outputs_of_splitmix64() -> None:
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert naive_splitmix64(1234567, 3) == published
    assert naive_splitmix64(0, 1) == [0xE220A8397B1DCDAF]


@given(keys=st.lists(INT64, max_size=4), seed=SEEDS, num_draws=st.integers(0, 5))
def test_uniform_equals_the_oracle(keys: list[int], seed: int, num_draws: int) -> None:
    drawn = uniform(torch.tensor(keys, dtype=torch.int64), seed=seed, num_draws=num_draws)
    assert drawn.shape == (len(keys), num_draws)
    assert drawn.dtype == torch.float32
    assert drawn.tolist() == [naive_uniform(key, seed, num_draws) for key in keys]


def test_uniform_and_derive_give_what_they_gave_when_the_first_runs_were_made() -> None:
    assert derive(1234, "order", 3) == 6510318566002111409
    drawn = uniform(torch.tensor([0, 7]), seed=derive(1234, "augment", 0), num_draws=2)
    assert (drawn * 2**24).long().tolist() == [[13105131, 14747606], [3665287, 2280952]]


@given(keys=st.lists(INT64, min_size=1, max_size=8), seed=SEEDS, data=st.data())
def test_uniform_depends_on_seed_and_key_alone(
    keys: list[int], seed: int, data: st.DataObject
) -> None:
    places = data.draw(st.lists(st.sampled_from(range(len(keys))), min_size=1))
    batch = torch.tensor(keys)
    whole = uniform(batch, seed=seed, num_draws=4)
    part = uniform(batch[places], seed=seed, num_draws=2)
    assert torch.equal(part, whole[places, :2])


@pytest.mark.parametrize("seed", [0, derive(1, "augment", 0), 2**63 - 1])
def test_uniform_numbers_fill_the_unit_interval_evenly(seed: int) -> None:
    drawn = uniform(torch.arange(20_000), seed=seed, num_draws=4).double()
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    tenths = torch.histc(drawn, bins=10, min=0.0, max=1.0)
    assert ((tenths - 8000.0).abs() < 400.0).all()  # 4.7 standard deviations
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.005)
    correlation = torch.corrcoef(torch.cat([drawn.T[:, 1:], drawn.T[:, :-1]])) - torch.eye(8)
    assert correlation.abs().max() < 0.035  # between draws, and between neighbouring keys


def test_uniform_numbers_of_other_seeds_are_others() -> None:
    keys = torch.arange(100)
    first = uniform(keys, seed=derive(1, "augment", 0), num_draws=3)
    for other in (derive(1, "augment", 1), derive(2, "augment", 0), derive(1, "mixup", 0)):
        assert (first != uniform(keys, seed=other, num_draws=3)).float().mean() > 0.99


@given(seed=st.integers(), purpose=st.lists(st.text() | st.integers(), max_size=3))
def test_derive_gives_a_seed_that_torch_takes(seed: int, purpose: list[str | int]) -> None:
    derived = derive(seed, *purpose)
    assert 0 <= derived < 2**63
    assert derived == derive(seed, *purpose)
    torch.Generator().manual_seed(derived)


def test_derive_tells_purposes_apart() -> None:
    purposes: list[tuple[str | int, ...]] = [
        (), ("",), ("a",), ("b",), ("a", "b"), ("b", "a"), ("ab",), ("a", "b", ""), ("a, b",),
        ("a', 'b",), (1,), ("1",), (1, 1), (11,), ("a", 1), ("a", "1"), ("a1",), (-1,), (1, "a"),
    ]  # fmt: skip
    derived = {derive(seed, *purpose) for seed in (-1, 0, 1, 11) for purpose in purposes}
    assert len(derived) == 4 * len(purposes)


def test_derived_seeds_have_even_bits() -> None:
    seeds = [derive(0, "order", epoch) for epoch in range(2000)]
    shares = [sum(seed >> bit & 1 for seed in seeds) / 2000 for bit in range(63)]
    assert max(abs(share - 0.5) for share in shares) < 0.06


@given(size=st.integers(0, 50), seed=SEEDS)
def test_permutation_has_every_number_once_and_follows_from_the_seed(size: int, seed: int) -> None:
    order = permutation(size, seed=seed)
    assert order.dtype == torch.int64
    assert sorted(order.tolist()) == list(range(size))
    assert torch.equal(order, permutation(size, seed=seed))


def test_every_order_is_equally_likely_over_epochs() -> None:
    orders = Counter(
        tuple(permutation(4, seed=derive(0, "order", epoch)).tolist()) for epoch in range(2400)
    )
    assert len(orders) == 24
    assert sum((count - 100) ** 2 / 100 for count in orders.values()) < 60.0  # p about 4e-5


def test_keyed_numbers_leave_the_global_generators_alone() -> None:
    seed_everything(3)
    undisturbed = global_numbers()
    seed_everything(3)
    derive(1, "order", 2)
    permutation(10, seed=5)
    uniform(torch.arange(10), seed=5, num_draws=2)
    assert global_numbers() == undisturbed


@pytest.mark.parametrize("seed", [0, 1234, 2**32, 2**63 - 1])
def test_seed_everything_repeats_python_numpy_and_torch(seed: int) -> None:
    seed_everything(seed)
    first = global_numbers()
    seed_everything(seed)
    assert global_numbers() == first
    seed_everything(seed + 1 if seed < 2**62 else 0)
    assert all(now != then for now, then in zip(global_numbers(), first, strict=True))


@pytest.mark.parametrize("seed", [0, 1234, 2**63 - 1])
def test_seed_everything_draws_as_after_torchs_own_seeding(seed: int) -> None:
    torch.manual_seed(seed)
    expected = torch.rand(100).tolist(), torch.randperm(50).tolist()
    seed_everything(seed)
    assert (torch.rand(100).tolist(), torch.randperm(50).tolist()) == expected
