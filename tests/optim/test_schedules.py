import math
import random
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from composing import composed
from hydra.utils import instantiate
from hypothesis import assume, given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch.optim import lr_scheduler

from visionlab.config.instantiate import instantiate_part
from visionlab.optim.phases import CosineRestarts, Phase, Phases, cycle_ends, unreached
from visionlab.optim.schedules import (
    Constant,
    Cosine,
    Linear,
    MultiStep,
    RangeTest,
    Schedule,
    Step,
)

CONF = Path(__file__).parents[2] / "conf" / "scheduler"
NO_WARMUP = {"warmup_steps": 0, "warmup_epochs": 0, "warmup_ratio": 0.0}
WARMUPS = [{}, {"warmup_steps": 1}, {"warmup_steps": 7}, {"warmup_epochs": 2}]
VALID: dict[type, dict[str, Any]] = {
    Constant: NO_WARMUP,
    Linear: NO_WARMUP,
    Cosine: {**NO_WARMUP, "every": "step"},
    MultiStep: {**NO_WARMUP, "milestone_epochs": [2, 5], "milestone_steps": [], "gamma": 0.1},
    Step: {**NO_WARMUP, "every_epochs": 2, "every_steps": 0, "gamma": 0.97},
    CosineRestarts: {
        **NO_WARMUP,
        "cycle_epochs": [3],
        "cycle_steps": [],
        "restart_weights": [1.0],
        "min_ratio": 0.0,
        "every": "step",
    },
}
RANGE_TEST = {"start_lr": 0.01, "end_lr": 1e-5, "base_lr": 0.1}


def make(kind: type, **changes: object) -> Schedule:
    schedule: Schedule = kind(**{**VALID.get(kind, RANGE_TEST), **changes})
    return schedule


def composed_schedule(name: str) -> Schedule:
    schedule: Schedule = instantiate_part(
        composed(f"scheduler={name}")["scheduler"], key="scheduler"
    )
    return schedule


def of_study(name: str) -> Schedule:
    values = OmegaConf.load(CONF / f"{name}.yaml")
    schedule: Schedule = instantiate({key: values[key] for key in values if key != "defaults"})
    return schedule


def factors_of(schedule: Schedule, *, epochs: int, steps_per_epoch: int) -> list[float]:
    total_steps = epochs * steps_per_epoch
    return [
        schedule(step, total_steps=total_steps, steps_per_epoch=steps_per_epoch)
        for step in range(total_steps)
    ]


def factors_of_torch(
    make_scheduler: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler], num_factors: int
) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make_scheduler(optimizer)
    factors = []
    for _ in range(num_factors):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


def study_factor(name: str, t: int, w: int, total: int, steps_per_epoch: int) -> float:
    """Return the formula of the EMA study (spec A1.6)."""
    epoch = t // steps_per_epoch
    if t < w:
        return t / max(1, w)
    if name == "constant":
        return 1.0
    if name == "linear":
        return max(0.0, (total - t) / max(1, total - w))
    if name == "cosine":
        progress = (t - w) / max(1, total - w)
        return max(0.0, 0.5 * (1.0 + math.cos(2.0 * math.pi * 0.5 * progress)))
    if name == "multistep_he":
        return 0.1 ** ((epoch >= 90) + (epoch >= 135))
    if name == "multistep_cutout":
        return 0.2 ** sum(epoch >= milestone for milestone in (60, 120, 160))
    if name == "step_effnet":
        return 0.97 ** math.floor(epoch / 2)
    raise AssertionError(name)


def naive_restarts(
    num_steps: int, *, lengths: Sequence[int], weights: Sequence[float], min_ratio: float
) -> list[float]:
    factors, cycle, done = [], 0, 0
    for _ in range(num_steps):
        length = lengths[min(cycle, len(lengths) - 1)]
        weight = weights[min(cycle, len(weights) - 1)]
        cosine = 0.5 * (1.0 + math.cos(math.pi * done / length))
        factors.append(min_ratio + (1.0 - min_ratio) * weight * cosine)
        done += 1
        if done == length:
            cycle, done = cycle + 1, 0
    return factors


@st.composite
def runs(draw: st.DrawFn) -> tuple[int, int, dict[str, int]]:
    """Draw epochs, steps_per_epoch, and a warm-up shorter than that."""
    epochs, steps_per_epoch = draw(st.integers(1, 12)), draw(st.integers(1, 7))
    if draw(st.booleans()):
        return epochs, steps_per_epoch, {"warmup_epochs": draw(st.integers(0, epochs - 1))}
    last = epochs * steps_per_epoch - 1
    return epochs, steps_per_epoch, {"warmup_steps": draw(st.integers(0, last))}


@st.composite
def falling_schedules(draw: st.DrawFn, **warmup: int) -> Schedule:
    kind = draw(st.sampled_from([Constant, Linear, Cosine, MultiStep, Step]))
    changes: dict[str, Any] = dict(warmup)
    if kind in (MultiStep, Step):
        changes["gamma"] = draw(st.floats(0.01, 1.0))
    if kind is MultiStep:
        milestones = sorted(draw(st.sets(st.integers(1, 40), min_size=1, max_size=4)))
        unit = draw(st.sampled_from(["steps", "epochs"]))
        changes |= {"milestone_epochs": [], f"milestone_{unit}": milestones}
    if kind is Step:
        unit = draw(st.sampled_from(["steps", "epochs"]))
        changes |= {"every_epochs": 0, f"every_{unit}": draw(st.integers(1, 20))}
    return make(kind, **changes)


@st.composite
def cyclic_schedules(draw: st.DrawFn, **warmup: int) -> CosineRestarts:
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    weights = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=9)
    unit = draw(st.sampled_from(["steps", "epochs"]))
    drawn = {"restart_weights": draw(weights), "min_ratio": draw(st.floats(0.0, 1.0))}
    cycles = {"cycle_epochs": [], f"cycle_{unit}": lengths}
    return CosineRestarts(**VALID[CosineRestarts] | warmup | cycles | drawn)


def test_factors_checked_by_hand() -> None:
    def factors(kind: type, steps: Sequence[int], **changes: object) -> list[float]:
        schedule = make(kind, **changes)
        return [schedule(step, total_steps=12, steps_per_epoch=2) for step in steps]

    assert factors(Constant, [0, 1, 3, 4, 5, 11], warmup_steps=4) == [0, 0.25, 0.75, 1, 1, 1]
    assert factors(Linear, [0, 3, 6, 11, 12]) == [1.0, 0.75, 0.5, 1 / 12, 0.0]
    assert factors(Linear, [0, 2, 4, 8, 12], warmup_epochs=2) == [0.0, 0.5, 1.0, 0.5, 0.0]
    assert factors(Cosine, [0, 4, 6, 8, 12]) == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])
    assert factors(Cosine, [1, 2, 7, 12], warmup_steps=2) == pytest.approx([0.5, 1.0, 0.5, 0.0])
    assert factors(MultiStep, [3, 4, 9, 10, 11], gamma=0.5) == [1.0, 0.5, 0.5, 0.25, 0.25]
    assert factors(Step, [3, 4, 7, 8], gamma=0.5) == [1.0, 0.5, 0.5, 0.25]


def test_restart_factors_checked_by_hand() -> None:
    schedule = CosineRestarts(
        cycle_epochs=[],
        cycle_steps=[2, 4],
        restart_weights=[1.0, 0.5],
        min_ratio=0.2,
        every="step",
        warmup_steps=2,
        warmup_epochs=0,
        warmup_ratio=0.0,
    )
    expected = [0.0, 0.5, 1.0, 0.6, 0.6, 0.2 + 0.4 * (2 + 2**0.5) / 4, 0.4]
    factors = factors_of(schedule, epochs=1, steps_per_epoch=13)
    assert factors[:7] == pytest.approx(expected)
    assert factors[8:13] == pytest.approx([*factors[4:8], factors[4]])  # the last cycle again


def test_the_last_restart_weight_repeats() -> None:
    changes = {"cycle_epochs": [1, 2, 1, 2], "restart_weights": [1.0, 0.5], "min_ratio": 0.2}
    factors = factors_of(make(CosineRestarts, **changes), epochs=10, steps_per_epoch=3)
    assert [factors[3 * epoch] for epoch in (0, 1, 3, 4, 6, 8)] == pytest.approx([1.0] + [0.6] * 5)


def test_effnet_factors_are_those_the_study_reports() -> None:
    schedule = of_study("step_effnet")
    lr = [0.1 * schedule(352 * e, total_steps=63_360, steps_per_epoch=352) for e in (90, 179)]
    assert lr == [pytest.approx(0.0254, abs=5e-5), pytest.approx(0.00665, abs=5e-6)]


@pytest.mark.parametrize("warmup", WARMUPS)
@pytest.mark.parametrize(("epochs", "steps_per_epoch"), [(3, 4), (11, 1), (9, 13), (40, 5)])
@pytest.mark.parametrize("kind", [Constant, Linear, Cosine])
def test_warmup_schedules_equal_the_formulas_of_the_study_at_every_step(
    kind: type, epochs: int, steps_per_epoch: int, warmup: dict[str, int]
) -> None:
    w = warmup.get("warmup_steps", 0) or warmup.get("warmup_epochs", 0) * steps_per_epoch
    total = epochs * steps_per_epoch
    factors = factors_of(make(kind, **warmup), epochs=epochs, steps_per_epoch=steps_per_epoch)
    name = kind.__name__.lower()
    assert factors == [study_factor(name, t, w, total, steps_per_epoch) for t in range(total)]


@pytest.mark.parametrize("name", ["constant", "linear", "cosine"])
def test_files_of_the_warmup_schedules_equal_the_study_at_every_step(name: str) -> None:
    factors = factors_of(of_study(name), epochs=180, steps_per_epoch=4)
    assert factors == [study_factor(name, t, 0, 720, 4) for t in range(720)]


@pytest.mark.parametrize("name", ["multistep_he", "multistep_cutout", "step_effnet"])
def test_files_of_the_step_schedules_equal_the_study(name: str) -> None:
    schedule = of_study(name)
    small = factors_of(schedule, epochs=200, steps_per_epoch=3)
    assert small == pytest.approx([study_factor(name, t, 0, 600, 3) for t in range(600)])
    for epoch in range(180):
        for step in (352 * epoch, 352 * epoch + 177, 352 * epoch + 351):
            factor = schedule(step, total_steps=63_360, steps_per_epoch=352)
            assert factor == pytest.approx(study_factor(name, step, 0, 63_360, 352))


@pytest.mark.parametrize("warmup", WARMUPS[1:])
def test_step_schedules_count_from_the_start_of_the_run_after_warmup(
    warmup: dict[str, int],
) -> None:
    w = warmup.get("warmup_steps", 0) or warmup.get("warmup_epochs", 0) * 3
    for name in ("multistep_he", "step_effnet"):
        values = OmegaConf.load(CONF / f"{name}.yaml")
        kind = MultiStep if name == "multistep_he" else Step
        changes = {str(key): values[key] for key in values if str(key) in VALID[kind]}
        factors = factors_of(make(kind, **{**changes, **warmup}), epochs=180, steps_per_epoch=3)
        assert factors == pytest.approx([study_factor(name, t, w, 540, 3) for t in range(540)])


def test_multistep_equals_torch() -> None:
    by_step = make(MultiStep, milestone_epochs=[], milestone_steps=[3, 4, 17], gamma=0.3)
    by_epoch = make(MultiStep, milestone_epochs=[3, 4, 17], gamma=0.3)
    expected = factors_of_torch(lambda o: lr_scheduler.MultiStepLR(o, [3, 4, 17], gamma=0.3), 20)
    assert factors_of(by_step, epochs=4, steps_per_epoch=5) == pytest.approx(expected)
    assert factors_of(by_epoch, epochs=20, steps_per_epoch=5)[::5] == pytest.approx(expected)


def test_step_equals_torch() -> None:
    by_step = make(Step, every_epochs=0, every_steps=3, gamma=0.9)
    by_epoch = make(Step, every_epochs=3, gamma=0.9)
    expected = factors_of_torch(lambda o: lr_scheduler.StepLR(o, 3, gamma=0.9), 20)
    assert factors_of(by_step, epochs=4, steps_per_epoch=5) == pytest.approx(expected)
    assert factors_of(by_epoch, epochs=20, steps_per_epoch=5)[4::5] == pytest.approx(expected)


def test_cosine_equals_torch() -> None:
    expected = factors_of_torch(lambda o: lr_scheduler.CosineAnnealingLR(o, 60), 60)
    factors = factors_of(make(Cosine), epochs=12, steps_per_epoch=5)
    assert factors == pytest.approx(expected, abs=1e-9)


def test_linear_equals_torch() -> None:
    def down(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        return lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=60)

    factors = factors_of(make(Linear), epochs=12, steps_per_epoch=5)
    assert factors == pytest.approx(factors_of_torch(down, 60), abs=1e-9)


def test_warmup_is_one_step_behind_that_of_torch() -> None:
    def up(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        return lr_scheduler.LinearLR(optimizer, start_factor=1 / 8, end_factor=1.0, total_iters=7)

    factors = factors_of(make(Constant, warmup_steps=8), epochs=4, steps_per_epoch=5)
    assert factors[0] == 0.0
    assert factors[1:] == pytest.approx(factors_of_torch(up, 19))


@pytest.mark.parametrize("min_ratio", [0.0, 0.1, 1.0])
def test_equal_cycles_equal_torch(min_ratio: float) -> None:
    def restarts(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        return lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 4, eta_min=min_ratio)

    expected = factors_of_torch(restarts, 30)
    schedule = make(CosineRestarts, cycle_epochs=[], cycle_steps=[4], min_ratio=min_ratio)
    assert factors_of(schedule, epochs=10, steps_per_epoch=3) == pytest.approx(expected, abs=1e-12)
    schedule = make(CosineRestarts, cycle_epochs=[4], min_ratio=min_ratio)
    factors = factors_of(schedule, epochs=30, steps_per_epoch=3)
    assert factors[::3] == pytest.approx(expected, abs=1e-12)


def test_doubled_cycles_equal_torch() -> None:
    def restarts(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        return lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 3, T_mult=2)

    schedule = make(CosineRestarts, cycle_epochs=[], cycle_steps=[3, 6, 12])
    factors = factors_of(schedule, epochs=7, steps_per_epoch=3)
    assert factors == pytest.approx(factors_of_torch(restarts, 21), abs=1e-12)


@given(run=runs(), data=st.data())
def test_restarts_equal_the_oracle_at_every_step(
    run: tuple[int, int, dict[str, int]], data: st.DataObject
) -> None:
    epochs, steps_per_epoch, warmup = run
    schedule = data.draw(cyclic_schedules(**warmup))
    factors = factors_of(schedule, epochs=epochs, steps_per_epoch=steps_per_epoch)
    w = warmup.get("warmup_steps", 0) or warmup.get("warmup_epochs", 0) * steps_per_epoch
    expected = naive_restarts(
        len(factors) - w,
        lengths=schedule.cycle_steps or [c * steps_per_epoch for c in schedule.cycle_epochs],
        weights=schedule.restart_weights,
        min_ratio=schedule.min_ratio,
    )
    assert factors[:w] == [step / w for step in range(w)]
    assert factors[w:] == pytest.approx(expected, abs=1e-12)


@given(run=runs(), data=st.data())
def test_restarts_stay_between_min_ratio_and_the_restart(
    run: tuple[int, int, dict[str, int]], data: st.DataObject
) -> None:
    epochs, steps_per_epoch, warmup = run
    schedule = data.draw(cyclic_schedules(**warmup))
    factors = factors_of(schedule, epochs=epochs, steps_per_epoch=steps_per_epoch)
    w = warmup.get("warmup_steps", 0) or warmup.get("warmup_epochs", 0) * steps_per_epoch
    top = schedule.min_ratio + (1 - schedule.min_ratio) * max(schedule.restart_weights)
    assert min(factors[w:]) >= schedule.min_ratio
    assert max(factors[w:]) <= top <= 1.0 + 1e-12


@given(run=runs(), data=st.data())
def test_factors_stay_in_range_and_never_rise_after_warmup(
    run: tuple[int, int, dict[str, int]], data: st.DataObject
) -> None:
    epochs, steps_per_epoch, warmup = run
    schedule = data.draw(falling_schedules(**warmup))
    factors = factors_of(schedule, epochs=epochs, steps_per_epoch=steps_per_epoch)
    w = warmup.get("warmup_steps", 0) or warmup.get("warmup_epochs", 0) * steps_per_epoch
    assert all(0.0 <= factor <= 1.0 for factor in factors)
    assert factors[:w] == [step / w for step in range(w)]
    assert all(later <= earlier for earlier, later in pairwise(factors[w:]))


@given(run=runs(), data=st.data(), order_seed=st.integers(0, 99))
def test_factors_do_not_depend_on_the_order_of_calls(
    run: tuple[int, int, dict[str, int]], data: st.DataObject, order_seed: int
) -> None:
    epochs, steps_per_epoch, warmup = run
    schedule = data.draw(falling_schedules(**warmup) | cyclic_schedules(**warmup))
    in_order = factors_of(schedule, epochs=epochs, steps_per_epoch=steps_per_epoch)
    steps = random.Random(order_seed).choices(range(len(in_order)), k=2 * len(in_order))
    for step in steps:
        factor = schedule(step, total_steps=len(in_order), steps_per_epoch=steps_per_epoch)
        assert factor == in_order[step]


@given(
    steps_per_epoch=st.integers(1, 7),
    warmup_epochs=st.integers(0, 4),
    numbers=st.sets(st.integers(1, 12), min_size=1, max_size=4),
)
def test_lengths_in_steps_and_in_epochs_are_equal(
    steps_per_epoch: int, warmup_epochs: int, numbers: set[int]
) -> None:
    epochs, warmup_steps = sorted(numbers), warmup_epochs * steps_per_epoch
    steps = [epoch * steps_per_epoch for epoch in epochs]
    pairs = [
        (make(kind, warmup_epochs=warmup_epochs), make(kind, warmup_steps=warmup_steps))
        for kind in (Constant, Linear, Cosine, MultiStep, Step, CosineRestarts)
    ] + [
        (
            make(MultiStep, milestone_epochs=epochs),
            make(MultiStep, milestone_epochs=[], milestone_steps=steps),
        ),
        (
            make(Step, every_epochs=epochs[0]),
            make(Step, every_epochs=0, every_steps=steps[0]),
        ),
        (
            make(CosineRestarts, cycle_epochs=epochs[::-1], min_ratio=0.1),
            make(CosineRestarts, cycle_epochs=[], cycle_steps=steps[::-1], min_ratio=0.1),
        ),
    ]
    for in_epochs, in_steps in pairs:
        expected = factors_of(in_epochs, epochs=15, steps_per_epoch=steps_per_epoch)
        assert factors_of(in_steps, epochs=15, steps_per_epoch=steps_per_epoch) == expected


@given(
    start_lr=st.floats(1e-8, 1e2),
    end_lr=st.floats(1e-8, 1e2),
    base_lr=st.floats(1e-6, 10),
    total_steps=st.integers(2, 500),
)
def test_a_range_test_goes_from_rate_to_rate_by_one_factor_a_step(
    start_lr: float, end_lr: float, base_lr: float, total_steps: int
) -> None:
    assume(start_lr != end_lr)
    schedule = RangeTest(start_lr=start_lr, end_lr=end_lr, base_lr=base_lr)
    factors = factors_of(schedule, epochs=1, steps_per_epoch=total_steps)
    lrs = [base_lr * factor for factor in factors]
    assert lrs[0] == pytest.approx(start_lr, rel=1e-12)
    assert lrs[-1] == pytest.approx(end_lr, rel=1e-12)
    ratio = (end_lr / start_lr) ** (1 / (total_steps - 1))
    expected = start_lr
    for lr in lrs:
        assert lr == pytest.approx(expected, rel=1e-9)
        expected *= ratio


def test_a_range_test_of_one_step_has_its_first_rate() -> None:
    schedule = RangeTest(start_lr=0.5, end_lr=2.0, base_lr=0.25)
    assert schedule(0, total_steps=1, steps_per_epoch=1) == 2.0


def test_multistep_in_steps_and_in_epochs_differ_only_in_unit() -> None:
    in_steps = make(MultiStep, milestone_epochs=[], milestone_steps=[4])
    factors = factors_of(in_steps, epochs=3, steps_per_epoch=3)
    assert factors == pytest.approx([1.0] * 4 + [0.1] * 5)


@pytest.mark.parametrize("kind", VALID)
def test_a_run_of_one_step_has_the_full_rate(kind: type) -> None:
    assert make(kind)(0, total_steps=1, steps_per_epoch=1) == 1.0


@pytest.mark.parametrize("kind", [Linear, Cosine])
def test_the_rate_is_zero_when_the_run_is_over(kind: type) -> None:
    for warmup in WARMUPS:
        assert make(kind, **warmup)(30, total_steps=30, steps_per_epoch=5) == 0.0


@pytest.mark.parametrize("kind", VALID)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warmup_steps": -1}, "warmup_steps must be >= 0, got -1"),
        ({"warmup_epochs": -2}, "warmup_epochs must be >= 0, got -2"),
        (
            {"warmup_steps": 3, "warmup_epochs": 2},
            "warmup_steps and warmup_epochs exclude each other, got 3 and 2",
        ),
    ],
)
def test_wrong_warmups_are_refused(kind: type, changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make(kind, **changes)


@pytest.mark.parametrize("kind", VALID)
def test_a_warmup_as_long_as_the_run_is_refused(kind: type) -> None:
    rule = r"must be shorter than the run of 20 steps \(5 per epoch\)"
    with pytest.raises(ValueError, match=rf"^warmup_steps {rule}, got 20$"):
        make(kind, warmup_steps=20)(0, total_steps=20, steps_per_epoch=5)
    with pytest.raises(ValueError, match=rf"^warmup_epochs {rule}, got 4$"):
        make(kind, warmup_epochs=4)(19, total_steps=20, steps_per_epoch=5)
    assert make(kind, warmup_steps=19)(19, total_steps=20, steps_per_epoch=5) > 0.0


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (
            MultiStep,
            {"milestone_steps": [7]},
            "milestone_steps and milestone_epochs exclude each other, got [7] and [2, 5]",
        ),
        (
            MultiStep,
            {"milestone_epochs": []},
            "milestones must be strictly increasing numbers >= 1, got []",
        ),
        (
            MultiStep,
            {"milestone_epochs": [0, 2]},
            "milestones must be strictly increasing numbers >= 1, got [0, 2]",
        ),
        (
            MultiStep,
            {"milestone_epochs": [5, 2]},
            "milestones must be strictly increasing numbers >= 1, got [5, 2]",
        ),
        (
            MultiStep,
            {"milestone_epochs": [], "milestone_steps": [2, 2]},
            "milestones must be strictly increasing numbers >= 1, got [2, 2]",
        ),
        (MultiStep, {"gamma": 0.0}, "gamma must be in (0, 1], got 0.0"),
        (MultiStep, {"gamma": 1.5}, "gamma must be in (0, 1], got 1.5"),
        (MultiStep, {"gamma": math.nan}, "gamma must be in (0, 1], got nan"),
        (Step, {"gamma": -0.1}, "gamma must be in (0, 1], got -0.1"),
        (
            Step,
            {"every_steps": 5},
            "every_steps and every_epochs exclude each other, got 5 and 2",
        ),
        (
            Step,
            {"every_epochs": 0},
            "every_steps or every_epochs must be >= 1, got every_steps=0 every_epochs=0",
        ),
        (
            Step,
            {"every_epochs": -2},
            "every_steps or every_epochs must be >= 1, got every_steps=0 every_epochs=-2",
        ),
        (
            CosineRestarts,
            {"cycle_steps": [4]},
            "cycle_steps and cycle_epochs exclude each other, got [4] and [3]",
        ),
        (CosineRestarts, {"cycle_epochs": []}, "cycle lengths must be numbers >= 1, got []"),
        (
            CosineRestarts,
            {"cycle_epochs": [3, 0]},
            "cycle lengths must be numbers >= 1, got [3, 0]",
        ),
        (
            CosineRestarts,
            {"restart_weights": []},
            "restart_weights must be numbers > 0, got []",
        ),
        (Cosine, {"every": "day"}, "every must be one of step, epoch, got 'day'"),
        (Cosine, {"warmup_ratio": 1.5}, "warmup_ratio must be in [0, 1], got 1.5"),
        (
            CosineRestarts,
            {"restart_weights": [0.0]},
            "restart_weights must be numbers > 0, got [0.0]",
        ),
        (CosineRestarts, {"min_ratio": -0.1}, "min_ratio must be in [0, 1], got -0.1"),
        (CosineRestarts, {"min_ratio": 1.1}, "min_ratio must be in [0, 1], got 1.1"),
        (RangeTest, {"start_lr": 0.0}, "start_lr must be > 0, got 0.0"),
        (RangeTest, {"end_lr": math.nan}, "end_lr must be > 0, got nan"),
        (RangeTest, {"base_lr": math.inf}, "base_lr must be <= 1e+09, got inf"),
        (RangeTest, {"end_lr": 0.01}, "end_lr must differ from start_lr 0.01, got 0.01"),
    ],
)
def test_values_out_of_range_are_refused(
    kind: type, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make(kind, **changes)


def naive_snapshots(step: int, *, base: float, warm: int, ratio: float, period: int) -> float:
    """Return the rate of the one-run form in the specification, section 3.2."""

    def cosine(t: int, length: int) -> float:
        eta = base * 1e-5
        return eta + 0.5 * (base - eta) * (1 + math.cos(math.pi * t / length))

    if step < warm:
        return ratio * cosine(step, warm)
    return cosine((step - warm) % period, period)


@pytest.mark.parametrize(
    ("name", "warm", "cycles", "period"),
    [
        ("deepscores_150_20", 150, 5, 20),
        ("deepscores_500_20", 500, 25, 20),
        ("deepscores_500_30", 500, 17, 30),
        ("deepscores_250_50", 250, 25, 50),
        ("deepscores_250_50", 250, 15, 50),
    ],
)
def test_published_snapshot_schedules(name: str, warm: int, cycles: int, period: int) -> None:
    schedule, steps = composed_schedule(name), 11
    total = (warm + cycles * period) * steps
    rates = [0.0075 * schedule(t, total_steps=total, steps_per_epoch=steps) for t in range(total)]
    expected = [
        naive_snapshots(t, base=0.0075, warm=warm * steps, ratio=1 / 3, period=period * steps)
        for t in range(total)
    ]
    assert rates == pytest.approx(expected, rel=1e-12, abs=0)
    assert rates[0] == pytest.approx(0.0025, rel=1e-12)
    assert rates[warm * steps // 2] == pytest.approx(0.00125, rel=1e-4 if warm % 2 else 1e-5)
    assert rates[warm * steps] == pytest.approx(0.0075, rel=1e-12)
    ends = cycle_ends(schedule, total_steps=total, steps_per_epoch=steps)
    assert ends == [(warm + period * number) * steps for number in range(1, cycles + 1)]


def test_the_recipe_of_two_runs_as_one() -> None:
    schedule, steps = composed_schedule("deepscores_two_runs"), 341

    def rate(step: int) -> float:
        return 0.0075 * schedule(step, total_steps=1040 * steps, steps_per_epoch=steps)

    warm = {0: 0.0025 / 3, 130: 0.0025 * 2 / 3, 260: 0.0025, 300 * steps - 1: 0.0025}
    warm |= {300 * steps: 0.00125, 700 * steps - 1: 0.00125, 700 * steps: 0.000625}
    cycles = {1000 * steps: 0.0075, 1020 * steps: 0.0075}
    cycles[1010 * steps] = 0.0075 * (1 + 1e-5) / 2
    eta = 0.0075 * 1e-5
    cycles[1040 * steps - 1] = eta + (0.0075 - eta) * (
        0.5 * (1 + math.cos(math.pi * (20 * steps - 1) / (20 * steps)))
    )
    assert {step: rate(step) for step in warm | cycles} == pytest.approx(warm | cycles, rel=1e-12)


def test_the_baseline_of_deepscores() -> None:
    schedule = of_study("deepscores_baseline")
    rates = [
        0.0025 * schedule(t, total_steps=1500 * 341, steps_per_epoch=341) for t in (0, 250, 500)
    ]
    assert rates == pytest.approx([0.0025 / 3, 0.0025 * 2 / 3, 0.0025], rel=1e-12)
    assert schedule(700 * 341, total_steps=1500 * 341, steps_per_epoch=341) == 0.25


def phase(schedule: Schedule, **changes: Any) -> Phase:
    defaults = {"length_steps": 0, "length_epochs": 0, "first_factor": 1.0, "last_factor": 0.0}
    return Phase(schedule=schedule, **{**defaults, **changes})


def test_phases_checked_by_hand() -> None:
    phases = Phases(
        phases={
            "up": phase(make(Linear), length_steps=4, first_factor=0.2, last_factor=1.0),
            "flat": phase(make(Constant), length_epochs=1, first_factor=0.5),
            "down": phase(make(Linear, warmup_steps=1, warmup_ratio=0.5)),
        }
    )
    factors = factors_of(phases, epochs=5, steps_per_epoch=2)
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.5, 0.5, 0.5, 1.0, 2 / 3, 1 / 3])


@given(run=runs(), data=st.data())
def test_one_phase_is_its_schedule(
    run: tuple[int, int, dict[str, int]], data: st.DataObject
) -> None:
    epochs, steps_per_epoch, warmup = run
    schedule = data.draw(cyclic_schedules(**warmup) | falling_schedules(**warmup))
    length = {"epochs": epochs, "steps_per_epoch": steps_per_epoch}
    assert factors_of(Phases(phases={"all": phase(schedule)}), **length) == factors_of(
        schedule, **length
    )


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([{"length_epochs": 6}, {}], "phases.1 must start within the run of 12 steps .* after 12"),
        ([{"length_epochs": 2}, {"length_steps": 2}], "phases.1 must have length 0, .* the last"),
        ([{}, {}], "phases.0 must have a length > 0, got 0"),
        ([], "phases must hold at least one phase"),
    ],
)
def test_phases_that_do_not_fit_are_refused(lengths: list[dict[str, int]], message: str) -> None:
    phases = {str(n): phase(make(Constant), **each) for n, each in enumerate(lengths)}
    with pytest.raises(ValueError, match=message):
        Phases(phases=phases)(0, total_steps=12, steps_per_epoch=2)


def test_a_later_phase_with_a_long_warmup_is_refused_at_the_start() -> None:
    late = phase(make(Cosine, warmup_epochs=3))
    phases = Phases(phases={"a": phase(make(Constant), length_epochs=2), "b": late})
    with pytest.raises(ValueError, match=r"phases\.b\.schedule\.warmup_epochs .* got 3"):
        phases(0, total_steps=10, steps_per_epoch=2)


def test_a_phase_has_one_unit_and_factors_from_0_up() -> None:
    with pytest.raises(ValueError, match="length_steps and length_epochs exclude each other"):
        phase(make(Constant), length_steps=1, length_epochs=1)
    with pytest.raises(ValueError, match=r"last_factor must be a number >= 0, got -0\.1"):
        phase(make(Constant), last_factor=-0.1)


def test_a_phase_has_no_schedule_with_a_state() -> None:
    plateau = composed_schedule("plateau")
    with pytest.raises(ValueError, match="schedule must be a function of the step, got Plateau"):
        phase(plateau)


def test_per_epoch_cosine_is_that_of_moco() -> None:
    factors = factors_of(make(Cosine, every="epoch"), epochs=6, steps_per_epoch=4)
    assert factors == [0.5 * (1 + math.cos(math.pi * (step // 4) / 6)) for step in range(24)]
    restarts = make(CosineRestarts, cycle_epochs=[3], every="epoch")
    factors = factors_of(restarts, epochs=6, steps_per_epoch=4)
    assert factors == [0.5 * (1 + math.cos(math.pi * (s // 4 % 3) / 3)) for s in range(24)]


def test_a_warmup_from_a_ratio() -> None:
    factors = factors_of(
        make(Cosine, warmup_steps=4, warmup_ratio=0.2), epochs=4, steps_per_epoch=3
    )
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_weights_of_restarts_beyond_the_lengths() -> None:
    weights = [1.0, 0.5, 0.25, 0.125, 0.1]
    schedule = make(CosineRestarts, cycle_epochs=[2], restart_weights=weights)
    factors = factors_of(schedule, epochs=8, steps_per_epoch=3)
    assert factors[::6] == weights[:4]


@pytest.mark.parametrize(
    ("schedule", "epochs", "expected"),
    [
        (make(CosineRestarts, cycle_epochs=[2, 3]), 10, [10, 25, 40]),
        (make(CosineRestarts, cycle_epochs=[2], warmup_epochs=1), 5, [15, 25]),
        (make(CosineRestarts, cycle_epochs=[9]), 5, []),
        (make(Cosine), 5, []),
    ],
)
def test_ends_of_whole_cycles(schedule: Schedule, epochs: int, expected: list[int]) -> None:
    assert cycle_ends(schedule, total_steps=5 * epochs, steps_per_epoch=5) == expected


def test_milestones_that_a_run_does_not_reach() -> None:
    def found(schedule: Schedule, epochs: int) -> list[str]:
        return unreached(schedule, total_steps=4 * epochs, steps_per_epoch=4)

    he = of_study("multistep_he")
    assert found(he, 30) == ["milestone epoch 90", "milestone epoch 135"]
    assert found(he, 135) == ["milestone epoch 135"]
    assert found(he, 136) == []
    by_step = make(MultiStep, milestone_epochs=[], milestone_steps=[3, 40])
    assert found(by_step, 10) == ["milestone step 40"]
    assert found(
        Phases(phases={"a": phase(he, length_epochs=100), "b": phase(make(Cosine))}), 120
    ) == ["milestone epoch 135 of phase a"]
    assert found(make(Cosine), 3) == []
