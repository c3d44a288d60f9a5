import copy
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from timm.utils import ModelEmaV2, ModelEmaV3
from torch import Tensor, nn

from visionlab.optim.averaging import (
    Average,
    Averages,
    Exponential,
    recompute_buffers,
    uniform,
    weight_distance,
    weight_norm,
)
from visionlab.task import Batch

VALID: dict[str, Any] = {
    "decay": 0.99,
    "uniform": False,
    "start_step": 0,
    "interval_steps": 1,
    "warmup_power": None,
    "buffers": "averaged",
}
WEIGHTS = st.lists(
    st.lists(st.floats(-100.0, 100.0, width=32), min_size=3, max_size=3), min_size=1, max_size=8
)


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3),
        nn.BatchNorm2d(5),
        nn.Flatten(),
        nn.Linear(20, 2),
    )


def make_average(model: nn.Module, **changes: object) -> Average:
    return Averages(**{**VALID, **changes})(model)[0]


def train(model: nn.Module, num_steps: int = 50) -> Iterator[int]:
    """Train, and yield the number of each step when it is done."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    for step in range(1, num_steps + 1):
        images = torch.randn(8, 3, 6, 6, generator=generator)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), (images.mean((1, 2, 3)) > 0).long())
        loss.backward()
        optimizer.step()
        yield step


def same_tensors(module: nn.Module, other: nn.Module) -> bool:
    ours, theirs = module.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        ours[name].dtype == theirs[name].dtype and torch.equal(ours[name], theirs[name])
        for name in ours
    )


def same_weights(module: nn.Module, other: nn.Module) -> bool:
    pairs = zip(module.parameters(), other.parameters(), strict=True)
    return all(torch.equal(ours, theirs) for ours, theirs in pairs)


def feed(average: Average, model: nn.Linear, weights: Sequence[Sequence[float]]) -> list[Tensor]:
    """Show an average these weights, one a step, and return what it was after each."""
    seen = []
    for step, row in enumerate(weights, start=1):
        model.weight.data.copy_(torch.tensor([row]))
        average.update(step)
        seen.append(average.module.weight.detach().flatten().clone())
    return seen


def three_weights() -> nn.Linear:
    model = nn.Linear(3, 1, bias=False)
    model.weight.data.fill_(7.0)
    return model


def naive_average(
    weights: Sequence[Sequence[float]],
    decay_at: Callable[[int], float],
    *,
    start_step: int,
    interval_steps: int,
) -> list[float]:
    mean, num_updates = [7.0] * 3, 0
    for step, row in enumerate(weights, start=1):
        if step <= start_step:
            mean = list(row)
        elif step % interval_steps == 0:
            decay = decay_at(num_updates)
            mean = [decay * m + (1 - decay) * w for m, w in zip(mean, row, strict=True)]
            num_updates += 1
    return mean


@pytest.mark.parametrize("decay", [0, 0.0, 0.5, 0.9, 0.99, 0.9995])
def test_exponential_equals_timm_bit_for_bit(decay: float) -> None:
    model = make_net()
    average = make_average(model, decay=decay)
    oracle = ModelEmaV2(model, decay=decay)
    for step in train(model):
        average.update(step)
        oracle.update(model)
        assert same_tensors(average.module, oracle.module)
    assert not same_weights(average.module, make_net())


def test_many_averages_of_one_run_equal_timm_bit_for_bit() -> None:
    model = make_net()
    averages = Averages(**{**VALID, "decay": [0.9, 0.999], "uniform": True})(model)
    oracles = [ModelEmaV2(model, decay=decay) for decay in (0.9, 0.999)]
    for step in train(model):
        for average in averages:
            average.update(step)
        for oracle in oracles:
            oracle.update(model)
    assert all(
        same_tensors(average.module, oracle.module)
        for average, oracle in zip(averages, oracles, strict=False)
    )


def test_integer_buffers_are_averaged_with_truncation() -> None:
    model = make_net()
    counters = []
    average = make_average(model, decay=0.5)
    for step in train(model, 4):
        average.update(step)
        counters.append(int(average.module[1].num_batches_tracked))
    assert counters == [0, 1, 2, 3]  # 0.5, then (0 + 2) / 2, (1 + 3) / 2, (2 + 4) / 2


def test_uniform_is_the_mean_of_the_weights_seen() -> None:
    model = make_net()
    average = make_average(model, decay=[], uniform=True)
    seen = []
    for step in train(model):
        average.update(step)
        seen.append([parameter.detach().double() for parameter in model.parameters()])
    for index, parameter in enumerate(average.module.parameters()):
        mean = torch.stack([weights[index] for weights in seen]).mean(dim=0)
        torch.testing.assert_close(parameter.double(), mean, atol=1e-6, rtol=1e-5)


def test_uniform_starts_after_start_step() -> None:
    model = three_weights()
    average = make_average(model, decay=[], uniform=True, start_step=2)
    seen = feed(average, model, [[9.0] * 3, [8.0] * 3, [1.0] * 3, [2.0] * 3, [6.0] * 3])
    assert [row[0].item() for row in seen] == pytest.approx([9.0, 8.0, 1.0, 1.5, 3.0])


def test_uniform_weighs_every_update_the_same() -> None:
    assert [uniform(t) for t in (0, 1, 2, 3)] == [0.0, 1 / 2, 2 / 3, 3 / 4]


@given(weights=WEIGHTS)
def test_decay_0_copies(weights: list[list[float]]) -> None:
    model = three_weights()
    seen = feed(make_average(model, decay=0.0), model, weights)
    assert [row.tolist() for row in seen] == weights


@given(weights=WEIGHTS)
def test_decay_close_to_1_keeps(weights: list[list[float]]) -> None:
    model = three_weights()
    seen = feed(make_average(model, decay=1.0 - 1e-9), model, weights)
    assert seen[-1].tolist() == pytest.approx([7.0] * 3, abs=1e-5)


@given(
    weights=WEIGHTS,
    decay=st.floats(0.0, 0.9999),
    is_uniform=st.booleans(),
    start_step=st.integers(0, 4),
)
def test_an_average_stays_between_the_extremes_of_what_it_saw(
    weights: list[list[float]], decay: float, is_uniform: bool, start_step: int
) -> None:
    model = three_weights()
    average = make_average(
        model, decay=[] if is_uniform else decay, uniform=is_uniform, start_step=start_step
    )
    result = feed(average, model, weights)[-1]
    seen = torch.tensor([[7.0] * 3, *weights])
    assert (result >= seen.amin(dim=0) - 1e-4).all()
    assert (result <= seen.amax(dim=0) + 1e-4).all()


@given(
    weights=WEIGHTS,
    rule=st.sampled_from([0.0, 0.3, 0.9, "uniform"]),
    warmup_power=st.none() | st.floats(0.1, 2.0),
    start_step=st.integers(0, 5),
    interval_steps=st.integers(1, 4),
)
def test_an_average_equals_the_oracle(
    weights: list[list[float]],
    rule: float | str,
    warmup_power: float | None,
    start_step: int,
    interval_steps: int,
) -> None:
    def decay_at(t: int) -> float:
        if isinstance(rule, str):
            return t / (t + 1)
        return rule if warmup_power is None else min(rule, 1 - 1 / (1 + t) ** warmup_power)

    model = three_weights()
    changes = {"start_step": start_step, "interval_steps": interval_steps}
    average = make_average(
        model,
        decay=[] if rule == "uniform" else rule,
        uniform=rule == "uniform",
        warmup_power=warmup_power,
        **changes,
    )
    result = feed(average, model, weights)[-1]
    assert result.tolist() == pytest.approx(naive_average(weights, decay_at, **changes), abs=1e-3)


def test_up_to_start_step_an_average_is_the_model() -> None:
    model = make_net()
    average = make_average(model, decay=0.9, start_step=3, interval_steps=2)
    for step in train(model, 3):
        average.update(step)
        assert same_tensors(average.module, model)
    assert average.num_updates == 0


@pytest.mark.parametrize("buffers", ["averaged", "copied", "recomputed"])
def test_between_intervals_nothing_of_an_average_changes(buffers: str) -> None:
    model = make_net()
    average = make_average(model, decay=0.9, interval_steps=4, buffers=buffers)
    changed_at = []
    for step in train(model, 12):
        before = copy.deepcopy(average.module)
        average.update(step)
        if not same_tensors(average.module, before):
            changed_at.append(step)
    assert changed_at == [4, 8, 12]
    assert average.num_updates == 3


@pytest.mark.parametrize("power", [0.5, 2 / 3, 1.0])
@pytest.mark.parametrize("decay", [0.9, 0.9995])
def test_warmup_of_the_decay_equals_timm(decay: float, power: float) -> None:
    rule = Exponential(decay=decay, warmup_power=power)
    oracle = ModelEmaV3(nn.Linear(1, 1), decay=decay, use_warmup=True, warmup_power=power)
    for t in range(500):
        assert rule(t) == oracle.get_decay(t + 1)
        assert rule(t) == min(decay, 1 - (1 + t) ** -power)


def test_a_run_with_warmup_of_the_decay_equals_timm() -> None:
    model = make_net()
    average = make_average(model, decay=0.95, warmup_power=2 / 3)
    oracle = ModelEmaV3(model, decay=0.95, use_warmup=True)
    for step in train(model):
        average.update(step)
        oracle.update(model, step)
    pairs = zip(average.module.parameters(), oracle.module.parameters(), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_without_warmup_the_decay_is_constant() -> None:
    rule = Exponential(decay=0.7, warmup_power=None)
    assert [rule(t) for t in (0, 1, 1000)] == [0.7] * 3


@pytest.mark.parametrize("buffers", ["copied", "recomputed"])
def test_copied_buffers_are_those_of_the_model_beside_averaged_weights(buffers: str) -> None:
    model = make_net()
    average = make_average(model, decay=0.9, buffers=buffers)
    oracle = ModelEmaV2(model, decay=0.9)
    for step in train(model):
        average.update(step)
        oracle.update(model)
        assert same_weights(average.module, oracle.module)
        pairs = zip(average.module.buffers(), model.buffers(), strict=True)
        assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_weights_that_are_shared_are_averaged_once() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    model[0].weight.data.fill_(1.0)
    average = make_average(model, decay=0.5)
    model[0].weight.data.fill_(3.0)
    average.update(1)
    assert average.module[0].weight is average.module[1].weight
    assert average.module[0].weight.unique().tolist() == [2.0]


def naive_batch_norm(inputs: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor, Tensor]:
    """Return the normalised inputs, and mean and unbiased variance of each channel."""
    channels = inputs.movedim(1, 0).flatten(1)
    mean = torch.stack([sum(row) / len(row) for row in channels])
    variance = torch.stack(
        [((row - m) ** 2).sum() / len(row) for row, m in zip(channels, mean, strict=True)]
    )
    scale = norm.weight / (variance + norm.eps).sqrt()
    outputs = (inputs - mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]
    num = channels.shape[1]
    return outputs, mean, variance * num / (num - 1)


@pytest.mark.parametrize("sizes", [[16], [8, 8, 8], [8, 8, 3]])
@pytest.mark.parametrize("is_training", [False, True])
@torch.no_grad()
def test_recomputed_buffers_are_the_mean_statistics_of_the_batches(
    sizes: list[int], is_training: bool
) -> None:
    net = make_net().double().train(is_training)
    net[1].weight.uniform_(0.5, 2.0)
    net[1].running_mean.fill_(99.0)
    before = copy.deepcopy(net)
    batches = [torch.randn(size, 3, 6, 6, dtype=torch.float64) + 0.3 for size in sizes]
    recompute_buffers(net, iter(batches))
    statistics = []
    for batch in batches:
        features, *first = naive_batch_norm(before[0](batch), before[1])
        _, *second = naive_batch_norm(before[3](features.relu()), before[4])
        statistics.append((first, second))
    for place, norm in enumerate((net[1], net[4])):
        mean = sum(one[place][0] for one in statistics) / len(sizes)
        variance = sum(one[place][1] for one in statistics) / len(sizes)
        torch.testing.assert_close(norm.running_mean, mean)
        torch.testing.assert_close(norm.running_var, variance)
        assert norm.num_batches_tracked == len(sizes)


def test_recomputing_buffers_takes_the_inputs_of_batches() -> None:
    model, other = make_net(), make_net()
    images = [torch.randn(8, 3, 6, 6) for _ in range(3)]
    recompute_buffers(model, images)
    recompute_buffers(other, [Batch(batch, None, torch.arange(8)) for batch in images])
    assert same_tensors(model, other)
    assert not same_tensors(model, make_net())


def test_recomputing_buffers_leaves_weights_mode_and_momentum() -> None:
    model = make_net()
    average = make_average(model, decay=0.9, buffers="recomputed")
    for step in train(model, 5):
        average.update(step)
    before = copy.deepcopy(average.module)
    recompute_buffers(average.module, [torch.randn(8, 3, 6, 6)])
    assert same_weights(average.module, before)
    assert not same_tensors(average.module, before)
    assert not any(module.training for module in average.module.modules())
    assert average.module[1].momentum == 0.1
    assert not any(parameter.requires_grad for parameter in average.module.parameters())


def test_recomputing_buffers_of_a_model_without_them_changes_nothing() -> None:
    model = nn.Linear(3, 2)
    before = copy.deepcopy(model)
    recompute_buffers(model, [torch.randn(4, 3)])
    assert same_tensors(model, before)


@pytest.mark.parametrize("buffers", ["averaged", "copied", "recomputed"])
@pytest.mark.parametrize("rule", [{"warmup_power": 0.7}, {"decay": [], "uniform": True}])
def test_a_restored_average_goes_on_bit_for_bit(rule: dict[str, object], buffers: str) -> None:
    model = make_net()
    changes = {**rule, "buffers": buffers, "interval_steps": 2}
    unbroken = make_average(model, **changes)
    file, restored = io.BytesIO(), None
    for step in train(model, 30):
        unbroken.update(step)
        if step == 11:
            torch.save(unbroken.state_dict(), file)
        if step == 12:
            file.seek(0)
            restored = make_average(model, **changes)
            restored.load_state_dict(torch.load(file, weights_only=True))
            restored.update(step)
            assert restored.num_updates == 6
        if step > 12 and restored is not None:
            restored.update(step)
            assert same_tensors(restored.module, unbroken.module)
    assert restored is not None
    assert restored.state_dict()["num_updates"] == unbroken.state_dict()["num_updates"] == 15


def test_an_average_is_a_model_in_eval_mode_without_gradients() -> None:
    model = make_net().train()
    average = make_average(model)
    next(train(model))
    average.update(1)
    assert not any(module.training for module in average.module.modules())
    assert not any(parameter.requires_grad for parameter in average.module.parameters())
    assert all(parameter.grad is None for parameter in average.module.parameters())
    assert average.module(torch.randn(2, 3, 6, 6)).shape == (2, 2)


def test_an_average_never_feeds_back_into_training() -> None:
    watched, alone = make_net(), make_net()
    averages = Averages(**{**VALID, "decay": [0.5, 0.9], "uniform": True})(watched)
    for step, _ in zip(train(watched), train(alone), strict=True):
        for average in averages:
            average.update(step)
    assert same_tensors(watched, alone)
    assert all(parameter.requires_grad for parameter in watched.parameters())
    assert all(module.training for module in watched.modules())


def test_names_of_averages() -> None:
    def names(**changes: object) -> list[str]:
        return [average.name for average in Averages(**{**VALID, **changes})(nn.Linear(1, 1))]

    assert names(decay=0.9995) == ["ema_0.9995"]
    assert names(decay=[0.9, 0.99], uniform=True) == ["ema_0.9", "ema_0.99", "uniform"]
    assert names(decay=OmegaConf.create([0.999, 0.5])) == ["ema_0.999", "ema_0.5"]
    assert names(decay=[], uniform=True) == ["uniform"]
    assert names(decay=[]) == []


@given(weights=st.lists(st.floats(-1e3, 1e3), min_size=6, max_size=6), shift=st.floats(-9.0, 9.0))
def test_norm_and_distance_equal_a_naive_computation(weights: list[float], shift: float) -> None:
    model = nn.Linear(2, 2).double()
    torch.nn.utils.vector_to_parameters(torch.tensor(weights).double(), model.parameters())
    other = copy.deepcopy(model)
    other.weight.data += shift
    assert weight_norm(model).item() == pytest.approx(math.hypot(*weights))
    assert weight_distance(model, other).item() == pytest.approx(2 * abs(shift), abs=1e-9)
    assert weight_distance(model, other) == weight_distance(other, model)


def test_norm_and_distance_see_parameters_only() -> None:
    model, other = make_net(), make_net()
    other[1].running_mean.fill_(5.0)
    assert weight_distance(model, other) == 0.0
    squares = sum(float((p.detach().double() ** 2).sum()) for p in model.parameters())
    assert weight_norm(model).item() == pytest.approx(squares**0.5, rel=1e-6)
    assert weight_norm(model) == weight_norm(other)
    assert weight_norm(model).shape == weight_distance(model, other).shape == ()
    assert not weight_norm(model).requires_grad


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decay": 1.0}, "decay must be in [0, 1), got 1.0"),
        ({"decay": 1}, "decay must be in [0, 1), got 1"),
        ({"decay": -0.1}, "decay must be in [0, 1), got -0.1"),
        ({"decay": [0.9, 2]}, "decay must be in [0, 1), got 2"),
        ({"decay": math.nan}, "decay must be in [0, 1), got nan"),
        ({"decay": "0.9"}, "decay must be in [0, 1), got '0.9'"),
        ({"decay": ["0.9"]}, "decay must be in [0, 1), got '0.9'"),
        ({"decay": None}, "decay must be in [0, 1), got None"),
        ({"decay": False}, "decay must be in [0, 1), got False"),
        ({"decay": [0.9, 0.5, 0.9]}, "decay must name each value once, got [0.9, 0.5, 0.9]"),
        ({"start_step": -1}, "start_step must be >= 0, got -1"),
        ({"interval_steps": 0}, "interval_steps must be >= 1, got 0"),
        ({"warmup_power": 0.0}, "warmup_power must be > 0 or null, got 0.0"),
        ({"warmup_power": -1.0}, "warmup_power must be > 0 or null, got -1.0"),
        (
            {"buffers": "frozen"},
            "buffers must be one of averaged, copied, recomputed, got 'frozen'",
        ),
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Averages(**{**VALID, **changes})


class HalfFixed(nn.Module):
    """Two batch norms, the second of which stays in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.trained, self.fixed = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.fixed(self.trained(images))
        return result

    def train(self, mode: bool = True) -> "HalfFixed":
        super().train(mode)
        self.fixed.eval()
        return self


def test_recomputing_leaves_batch_norms_alone_that_stay_in_eval_mode() -> None:
    model = HalfFixed().eval()
    for norm in (model.trained, model.fixed):
        assert norm.running_mean is not None
        norm.running_mean.fill_(5.0)
    recompute_buffers(model, [torch.randn(4, 3, 6, 6)])
    assert model.fixed.running_mean is not None
    assert model.trained.running_mean is not None
    assert model.fixed.running_mean.tolist() == [5.0] * 3
    assert model.trained.running_mean.abs().max() < 1.0
    assert not model.training


@pytest.mark.parametrize(
    ("settings", "num_steps", "named"),
    [
        ({}, 20, ["ema_0.99 averages about 100 updates and the run has 20"]),
        ({}, 100, []),
        ({"decay": [0.5, 0.999]}, 20, ["ema_0.999 averages about 1000 updates"]),
        ({"interval_steps": 10}, 100, ["has 10"]),
        ({"start_step": 500}, 100, ["has 0"]),
        ({"warmup_power": 0.6667}, 20, []),
        ({"decay": [], "uniform": True}, 20, []),
        ({"decay": 0.0}, 1, []),
    ],
)
def test_averages_over_more_than_the_run_are_named(
    settings: dict[str, Any], num_steps: int, named: list[str]
) -> None:
    defaults: dict[str, Any] = {"decay": 0.99, "uniform": False, "start_step": 0}
    defaults |= {"interval_steps": 1, "warmup_power": None, "buffers": "averaged"}
    found = Averages(**{**defaults, **settings}).windows_beyond(num_steps)
    assert len(found) == len(named)
    assert all(part in line for part, line in zip(named, found, strict=True))
