"""The schedule with a state; its oracle is torch's `ReduceLROnPlateau`."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau

from visionlab.optim.plateau import (
    NO_PLATEAU,
    Plateau,
    PlateauState,
    PlateauTracker,
    make_plateau_tracker,
)
from visionlab.optim.schedules import Cosine

PLATEAU = Plateau(
    monitor="train/loss",
    mode="min",
    every="step",
    gamma=0.5,
    patience_epochs=0.0,
    patience_steps=2,
    threshold=0.1,
    smoothing=0.0,
    min_ratio=0.0,
    warmup_steps=0,
    warmup_epochs=0,
    warmup_ratio=0.0,
)
BY_EPOCH = replace(PLATEAU, every="epoch", patience_steps=0, patience_epochs=2.0)
VALUES = st.lists(
    st.floats(-5, 5) | st.integers(1, 4).map(float) | st.just(math.nan), min_size=1, max_size=60
)


def factors(plateau: Plateau, values: Sequence[float], *, patience: int) -> list[float]:
    state, found = PlateauState(), []
    for value in values:
        plateau.update(state, value, patience=patience)
        found.append(state.factor)
    return found


def factors_of_torch(plateau: Plateau, values: Sequence[float], *, patience: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = ReduceLROnPlateau(
        optimizer,
        mode=plateau.mode,
        factor=plateau.gamma,
        patience=patience,
        threshold=plateau.threshold,
        threshold_mode="rel",
        cooldown=0,
        min_lr=plateau.min_ratio,
        eps=0.0,
    )
    found = []
    for value in values:
        scheduler.step(value)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def naive_means(values: Sequence[float], smoothing: float) -> list[float]:
    """Return the exponential means as sums over the past, with weights that add up to 1."""
    means = []
    for count in range(1, len(values) + 1):
        weights = [smoothing ** (count - 1 - place) for place in range(count)]
        pairs = zip(weights, values[:count], strict=True)
        means.append(sum(weight * value for weight, value in pairs) / sum(weights))
    return means


def test_factors_checked_by_hand() -> None:
    # 0.92 is no tenth better than 1.0, 0.89 is; then three no better ones, of which two are borne
    values = [1.0, 0.92, 0.89, 0.88, 0.87, 0.86, 0.85, 0.5]
    expected = [1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5]
    assert factors(PLATEAU, values, patience=2) == expected


def test_a_reduction_begins_the_count_anew_and_min_ratio_ends_them() -> None:
    plateau = replace(PLATEAU, min_ratio=0.2)
    found = factors(plateau, [1.0] * 13, patience=2)
    assert found == [1.0] * 3 + [0.5] * 3 + [0.25] * 3 + [0.2] * 4


@given(
    values=VALUES,
    patience=st.integers(0, 5),
    mode=st.sampled_from(["min", "max"]),
    gamma=st.floats(0.1, 0.99),
    threshold=st.just(0.0) | st.floats(0, 0.99),
    min_ratio=st.just(0.0) | st.floats(0, 1),
)
def test_factors_equal_those_of_torch(values: list[float], patience: int, **settings: Any) -> None:
    plateau = replace(PLATEAU, **settings)
    found = factors(plateau, values, patience=patience)
    assert found == factors_of_torch(plateau, values, patience=patience)


@given(values=VALUES, smoothing=st.floats(0, 0.99), patience=st.integers(0, 5))
def test_smoothing_is_torch_on_the_exponential_means(
    values: list[float], smoothing: float, patience: int
) -> None:
    finite = [value for value in values if math.isfinite(value)]
    plateau, state = replace(PLATEAU, smoothing=smoothing), PlateauState()
    means, found = [], []
    for value in finite:
        plateau.update(state, value, patience=patience)
        means.append(state.mean / (1.0 - smoothing**state.num_values))
        found.append(state.factor)
    assert means == pytest.approx(naive_means(finite, smoothing), rel=1e-9, abs=1e-9)
    assert found == factors_of_torch(plateau, means, patience=patience)


@given(values=VALUES, smoothing=st.floats(0, 0.99))
def test_what_is_not_finite_is_no_better_and_leaves_the_mean(
    values: list[float], smoothing: float
) -> None:
    plateau, state = replace(PLATEAU, smoothing=smoothing), PlateauState()
    for value in values:
        plateau.update(state, value, patience=3)
    before = replace(state)
    for number, bad in enumerate((math.nan, math.inf, -math.inf), start=1):
        plateau.update(state, bad, patience=99)
        assert (state.best, state.mean) == (before.best, before.mean)
        assert state.num_bad == before.num_bad + number


@given(values=VALUES, patience=st.integers(0, 5), min_ratio=st.floats(0, 1))
def test_factors_never_rise_and_stay_above_min_ratio(
    values: list[float], patience: int, min_ratio: float
) -> None:
    found = factors(replace(PLATEAU, min_ratio=min_ratio), values, patience=patience)
    assert all(later <= earlier for earlier, later in pairwise([1.0, *found]))
    assert min(found) >= min_ratio


def tracker_of(plateau: Plateau, *, every_epochs: int = 1) -> PlateauTracker:
    """Return the tracker of a run of 10 epochs with 11 steps each."""
    return make_plateau_tracker(
        plateau, total_steps=110, steps_per_epoch=11, every_epochs=every_epochs
    )


def test_other_schedules_are_not_watched_for() -> None:
    cosine = Cosine(every="step", warmup_steps=0, warmup_epochs=0, warmup_ratio=0.0)
    assert (
        make_plateau_tracker(cosine, total_steps=9, steps_per_epoch=3, every_epochs=1) is NO_PLATEAU
    )
    state = PlateauState()
    NO_PLATEAU.after_step(state, math.nan, step=1)
    NO_PLATEAU.after_epoch(state, {"epoch": 1, "step": 3, "train/loss": 1.0})
    assert state == PlateauState()


def test_the_factor_of_the_schedule_itself_is_that_of_the_warmup() -> None:
    plateau = replace(PLATEAU, warmup_steps=4)
    found = [plateau(step, total_steps=9, steps_per_epoch=3) for step in range(9)]
    assert found == [0.0, 0.25, 0.5, 0.75] + [1.0] * 5


@pytest.mark.parametrize(
    ("patience_epochs", "patience_steps", "patience"),
    [(0.0, 7, 7), (0.25, 0, 3), (0.1, 0, 1), (2.0, 0, 22)],
)
def test_patience_in_steps(patience_epochs: float, patience_steps: int, patience: int) -> None:
    plateau = replace(PLATEAU, patience_epochs=patience_epochs, patience_steps=patience_steps)
    assert tracker_of(plateau).patience == patience


def test_patience_in_epochs_counts_epochs_though_only_some_are_validated() -> None:
    plateau = replace(BY_EPOCH, monitor="val/model/loss", patience_epochs=4.0)
    assert tracker_of(plateau).patience == 4
    assert tracker_of(plateau, every_epochs=2).patience == 2
    with pytest.raises(ValueError, match=r"must be a multiple of evaluation.every_epochs 3, got 4"):
        tracker_of(plateau, every_epochs=3)
    assert tracker_of(BY_EPOCH, every_epochs=3).patience == 2  # the training loss is in every row


def test_steps_of_the_warmup_are_not_seen() -> None:
    state, found = PlateauState(), tracker_of(replace(PLATEAU, warmup_steps=3))
    for step in (1, 2, 3):
        found.after_step(state, 1.0, step=step)
    assert state.num_values == 0
    found.after_step(state, torch.tensor(2.0), step=4)
    assert (state.num_values, state.best) == (1, 2.0)


def test_only_what_the_setting_says_is_seen() -> None:
    row = {"epoch": 1, "step": 11, "train/loss": 3.0}
    by_step, by_epoch = PlateauState(), PlateauState()
    tracker_of(PLATEAU).after_epoch(by_step, row)
    tracker_of(BY_EPOCH).after_step(by_epoch, 1.0, step=11)
    assert by_step == by_epoch == PlateauState()
    tracker_of(BY_EPOCH).after_epoch(by_epoch, row)
    assert by_epoch.best == 3.0


class Unread:
    def __float__(self) -> float:
        raise AssertionError("a GPU would be waited for")


def test_a_loss_is_only_read_where_each_step_is_watched() -> None:
    for nobody in (NO_PLATEAU, tracker_of(BY_EPOCH), tracker_of(replace(PLATEAU, warmup_steps=9))):
        nobody.after_step(PlateauState(), Unread(), step=1)
    with pytest.raises(AssertionError, match="waited"):
        tracker_of(PLATEAU).after_step(PlateauState(), Unread(), step=1)


def test_rows_cut_short_or_validated_out_of_turn_are_not_seen() -> None:
    plateau = replace(BY_EPOCH, monitor="val/model/loss")
    state, found = PlateauState(), tracker_of(plateau, every_epochs=2)
    for epoch in (0.5, 1, 1.25, 3, 3.75):
        found.after_epoch(state, {"epoch": epoch, "step": 11, "val/model/loss": 1.0})
    assert state == PlateauState()
    found.after_epoch(state, {"epoch": 4, "step": 44, "val/model/loss": 1.0})
    assert state.num_values == 1


def test_a_patience_below_one_step_is_refused() -> None:
    plateau = replace(PLATEAU, patience_epochs=0.04, patience_steps=0)
    message = "^patience_epochs must be at least one step, 1/11 of an epoch, got 0.04$"
    with pytest.raises(ValueError, match=message):
        tracker_of(plateau)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "most"}, "mode must be one of min, max, got 'most'"),
        ({"every": "batch"}, "every must be one of step, epoch, got 'batch'"),
        ({"monitor": "val/model/loss"}, "monitor must be train/loss for every=step, got 'val"),
        ({"gamma": 1.0}, r"gamma must be in \(0, 1\), got 1.0"),
        ({"gamma": math.nan}, r"gamma must be in \(0, 1\), got nan"),
        ({"threshold": 1.0}, r"threshold must be in \[0, 1\), got 1.0"),
        ({"smoothing": -0.1}, r"smoothing must be in \[0, 1\), got -0.1"),
        ({"min_ratio": 1.5}, r"min_ratio must be in \[0, 1\], got 1.5"),
        ({"patience_epochs": 1.0}, "must be > 0 and the other 0, got 1.0 and 2"),
        ({"patience_steps": 0}, "must be > 0 and the other 0, got 0.0 and 0"),
        ({"patience_steps": -1}, "must be > 0 and the other 0, got 0.0 and -1"),
        ({"patience_epochs": math.nan, "patience_steps": 0}, "the other 0, got nan and 0"),
        ({"every": "epoch"}, "whole number for every=epoch, got 0.0 and patience_steps 2"),
        (
            {"every": "epoch", "patience_epochs": 1.5, "patience_steps": 0},
            "whole number for every=epoch, got 1.5 and patience_steps 0",
        ),
        ({"warmup_steps": -1}, "warmup_steps must be >= 0, got -1"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PLATEAU, **changes)
