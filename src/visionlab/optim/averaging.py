"""Weight averages: exponential and uniform means of a model's weights over training.

An average never feeds back into training, so one run can track any number of them. An average is
itself a model: its `module` is evaluated, saved and ensembled like any other.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from visionlab.core.checks import check_at_least, check_choice

Buffers = Literal["averaged", "copied", "recomputed"]


@dataclass(frozen=True, kw_only=True)
class Exponential:
    """Decay of an exponential moving average; the window is about 1 / (1 - decay) updates.

    With `warmup_power` p, the decay of update t (from 0) is at most 1 - (1 + t) ** -p, so an early
    average forgets the random initial weights (timm's `ModelEmaV3`: p = 2/3, gamma = 1).
    """

    decay: float
    warmup_power: float | None

    def __call__(self, num_updates: int) -> float:
        """Return the decay of the next update after `num_updates` updates."""
        if self.warmup_power is None:
            return float(self.decay)
        return min(self.decay, 1.0 - math.pow(1.0 + num_updates, -self.warmup_power))


def uniform(num_updates: int) -> float:
    """Return the decay that gives every update the same weight (SWA, arXiv 1803.05407, eq. 3)."""
    return num_updates / (num_updates + 1)


class Average:
    """A running average of a model's weights; `module` is the averaged model, in eval mode.

    Each update reads the tensors of the model in training, which is already on its device, and
    `decay_at` maps the number of updates done to the decay of the next one. Metrics rows and
    checkpoints use the name, for example `ema_0.999`. The other arguments are those of `Averages`.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        name: str,
        decay_at: Callable[[int], float],
        start_step: int,
        interval_steps: int,
        buffers: Buffers,
    ) -> None:
        self.name = name
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        self.buffers = buffers
        self.num_updates = 0
        self._decay_at = decay_at
        self._start_step = start_step
        self._interval_steps = interval_steps
        averaged, copied = _paired_tensors(
            self.module, model, average_buffers=buffers == "averaged"
        )
        self._floats = _unzip([pair for pair in averaged if pair[0].is_floating_point()])
        self._integers = _unzip([pair for pair in averaged if not pair[0].is_floating_point()])
        self._copied = _unzip(copied)

    @torch.no_grad()
    def restart(self) -> None:
        """Begin anew as a copy of the model."""
        for pairs in (self._floats, self._integers, self._copied):
            _copy(*pairs)
        self.num_updates = 0

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update from the model's weights after optimizer step `step`, counted from 1."""
        if step <= self._start_step:
            _copy(*self._floats)
            _copy(*self._integers)
        elif step % self._interval_steps:
            return
        else:
            decay = self._decay_at(self.num_updates)
            _mix(*self._floats, decay=decay)
            _mix_integers(*self._integers, decay=decay)
            self.num_updates += 1
        _copy(*self._copied)

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights and the number of updates, for a checkpoint."""
        return {"module": self.module.state_dict(), "num_updates": self.num_updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        self.module.load_state_dict(state["module"])
        self.num_updates = state["num_updates"]


@dataclass(frozen=True, kw_only=True)
class Averages:
    """The averages that a run tracks: one exponential per decay, and optionally a uniform one.

    Attributes:
        decay: of an exponential average, in [0, 1); a list of different values gives several
            averages, an empty one none.
        uniform: whether to add the mean of all weights from `start_step` on (SWA).
        start_step: until this step, the averages are plain copies of the model.
        interval_steps: steps between updates.
        warmup_power: start with a smaller decay, see `Exponential`; None for a constant one.
        buffers: `averaged` like weights (integers truncated, as in timm's `ModelEmaV2`), `copied`
            from the model, or copied during training and `recomputed` from training data before
            each evaluation.
    """

    training_invariant: ClassVar[Sequence[str]] = (  # averages never feed back into training
        "decay",
        "uniform",
        "start_step",
        "interval_steps",
        "warmup_power",
        "buffers",
    )
    decay: float | Sequence[float]
    uniform: bool
    start_step: int
    interval_steps: int
    warmup_power: float | None
    buffers: Buffers

    def __post_init__(self) -> None:
        for decay in self._decays():
            if isinstance(decay, bool) or not isinstance(decay, float | int) or not 0 <= decay < 1:
                raise ValueError(f"decay must be in [0, 1), got {decay!r}")
        if len(set(self._decays())) < len(self._decays()):
            raise ValueError(f"decay must name each value once, got {list(self._decays())}")
        check_at_least(self, 0, "start_step")
        check_at_least(self, 1, "interval_steps")
        if self.warmup_power is not None and not self.warmup_power > 0:
            raise ValueError(f"warmup_power must be > 0 or null, got {self.warmup_power}")
        check_choice(self, get_args(Buffers), "buffers")

    def __call__(self, model: nn.Module) -> list[Average]:
        """Return the averages of `model`, initialised to copies of its current weights."""
        decays: dict[str, Callable[[int], float]] = {
            f"ema_{decay}": Exponential(decay=decay, warmup_power=self.warmup_power)
            for decay in self._decays()
        }
        if self.uniform:
            decays["uniform"] = uniform
        return [
            Average(
                model,
                name=name,
                decay_at=decay_at,
                start_step=self.start_step,
                interval_steps=self.interval_steps,
                buffers=self.buffers,
            )
            for name, decay_at in decays.items()
        ]

    def windows_beyond(self, num_steps: int) -> list[str]:
        """Describe the exponential averages whose window is longer than a run of so many steps."""
        num_updates = max(0, num_steps - self.start_step) // self.interval_steps
        return [
            f"ema_{decay} averages about {1 / (1 - decay):.0f} updates and the run has "
            f"{num_updates}: it stays near its first weights; lower averaged.decay"
            for decay in self._decays()
            if self.warmup_power is None and num_updates < round(1 / (1 - decay), 6) - 1
        ]

    def _decays(self) -> Sequence[float]:
        is_list = isinstance(self.decay, Sequence) and not isinstance(self.decay, str)
        return self.decay if is_list else [self.decay]  # type: ignore[return-value, list-item]


def recompute_buffers(module: nn.Module, batches: Iterable[Any]) -> None:
    """Replace running batch-norm statistics by the mean over batches, (inputs, ...) tuples.

    Averaged running statistics do not match the averaged weights (SWA, arXiv 1803.05407, section
    3.2). Every batch has the same weight. Batch norms that stay in eval mode in training keep their
    statistics. The module's training mode is restored.
    """
    was_training = module.training
    fixed = [
        (norm, copy.deepcopy(norm.state_dict()))
        for norm in module.train().modules()
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and not norm.training
    ]
    update_bn(batches, module.train(was_training))
    for norm, state in fixed:
        norm.load_state_dict(state)


def weight_norm(module: nn.Module) -> Tensor:
    """Return the L2 norm of all parameters (without buffers), a scalar."""
    return _total_norm([parameter.detach() for parameter in module.parameters()])


def weight_distance(module: nn.Module, other: nn.Module) -> Tensor:
    """Return the L2 norm of the difference between two modules' parameters, a scalar."""
    ours = [parameter.detach() for parameter in module.parameters()]
    theirs = [parameter.detach() for parameter in other.parameters()]
    return _total_norm(torch._foreach_sub(ours, theirs))


def _total_norm(tensors: Sequence[Tensor]) -> Tensor:
    total: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))
    return total


def _copy(shadow: list[Tensor], source: list[Tensor]) -> None:
    if shadow:
        torch._foreach_copy_(shadow, source)


def _mix(shadow: list[Tensor], source: list[Tensor], *, decay: float) -> None:
    """Set shadow to decay * shadow + (1 - decay) * source, rounded as in timm's `ModelEmaV2`."""
    if shadow:
        increment = torch._foreach_mul(source, 1.0 - decay)
        torch._foreach_mul_(shadow, decay)
        torch._foreach_add_(shadow, increment)


def _mix_integers(shadow: list[Tensor], source: list[Tensor], *, decay: float) -> None:
    """Do as `_mix`, and truncate; in one tensor, since foreach operations of integers are slow."""
    if shadow:
        increment = torch.cat([tensor.flatten() for tensor in source]) * (1.0 - decay)
        mixed = torch.cat([tensor.flatten() for tensor in shadow]) * decay + increment
        parts = torch.split(mixed, [tensor.numel() for tensor in shadow])
        shaped = [part.view(tensor.shape) for part, tensor in zip(parts, shadow, strict=True)]
        torch._foreach_copy_(shadow, shaped)


_Pair = tuple[Tensor, Tensor]


def _paired_tensors(
    module: nn.Module, model: nn.Module, *, average_buffers: bool
) -> tuple[list[_Pair], list[_Pair]]:
    source = model.state_dict()
    buffers = {name for name, _ in model.named_buffers()}
    averaged: dict[int, _Pair] = {}  # by identity: average a shared weight once
    copied: dict[int, _Pair] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        pairs = averaged if average_buffers or name not in buffers else copied
        pairs[id(tensor)] = tensor.data, source[name]
    return list(averaged.values()), list(copied.values())


def _unzip(pairs: list[_Pair]) -> tuple[list[Tensor], list[Tensor]]:
    return [shadow for shadow, _ in pairs], [source for _, source in pairs]
