"""Where values of settings stand."""

import itertools
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionlab.analysis.figures.scales import categories, scale_of

linear_or_log = partial(scale_of, is_log=False)  # whichever fits
NUMBERS = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=9, unique=True)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0.5, 0.01, 0.1, 0.02, 0.2, 0.05], "log"),
        ([1e-5, 1e-3], "log"),
        ([1, 2, 4, 8], "linear"),  # less than a factor of 10
        ([1, 5, 10, 15, 20], "linear"),  # evenly spaced as they are
        ([0, 0.1, 1.0], "linear"),  # 0 has no logarithm
        ([20, 56], "linear"),
        ([True, False], "category"),
        (["a", "b"], "category"),
        (["none", 0.9, 0.99], "category"),
        ([None, 1], "category"),
    ],
)
def test_the_kind_follows_from_the_values(values: list[Any], kind: str) -> None:
    assert linear_or_log(values).kind == kind


@given(values=NUMBERS)
def test_places_keep_the_order_and_span_the_axis(values: list[float]) -> None:
    for scale in (linear_or_log(values), categories(values)):
        shares = [scale.share(scale.place(each)) for each in sorted(values)]
        assert shares == sorted(shares)
        assert (shares[0], shares[-1]) == pytest.approx((0, 1))


@given(values=NUMBERS)
def test_ticks_are_on_the_axis_and_apart(values: list[float]) -> None:
    shares = [linear_or_log(values).share(place) for place, _ in linear_or_log(values).ticks()]
    assert all(-1e-9 <= share <= 1 + 1e-9 for share in shares)
    assert all(after - before > 0.08 for before, after in itertools.pairwise(shares))


def test_few_values_are_their_own_ticks() -> None:
    ticks = linear_or_log([0.5, 0.01, 0.1, 0.02, 0.2, 0.05, 0.1]).ticks()
    assert ticks == [(x, f"{x:g}") for x in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)]


def test_many_values_have_round_ticks() -> None:
    ticks = linear_or_log([0.0011, 0.0018, 0.0059, 0.028, 0.033, 0.081, 0.082, 1.09, 2.3]).ticks()
    assert [label for _, label in ticks] == ["0.01", "0.1", "1"]


def test_a_narrow_axis_has_ticks_at_its_ends() -> None:
    ticks = linear_or_log([0.02 * 1.4**step for step in range(9)]).ticks()
    assert [label for _, label in ticks] == ["0.02", "0.295"]


@pytest.mark.parametrize(
    ("values", "kind"), [([0.03, 0.05], "log"), ([-1.0, 0.5], "linear"), (["a", 0.5], "category")]
)
def test_searched_on_a_log_scale_it_is_drawn_on_one(values: list[Any], kind: str) -> None:
    assert scale_of(values, is_log=True).kind == kind


def test_epochs_have_whole_ticks() -> None:
    labels = [label for _, label in linear_or_log(list(range(1, 13))).ticks()]
    for last in range(8, 40):
        labels = [label for _, label in linear_or_log(list(range(1, last))).ticks()]
        assert len(labels) > 1
        assert all(label.isdigit() for label in labels), labels
