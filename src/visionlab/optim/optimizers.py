"""Optimizers of a model's trainable parameters, in groups that differ in rate and decay."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import torch
from torch import nn

from visionlab.core.checks import check_at_least, check_positive, check_range


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """Settings of every optimizer.

    Attributes:
        lr: base learning rate; the schedule multiplies it.
        weight_decay: see the optimizer.
        decay_norms_and_biases: whether to decay one-dimensional parameters too.
        layer_decay: ratio of the rates of each layer and the next (BEiT, arXiv 2106.08254), or
            None.
    """

    lr: float
    weight_decay: float
    decay_norms_and_biases: bool
    layer_decay: float | None

    def __post_init__(self) -> None:
        check_positive(self, "lr")
        check_at_least(self, 0, "weight_decay")
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay must be in (0, 1] or null, got {self.layer_decay}")


@dataclass(frozen=True, kw_only=True)
class Sgd(OptimizerSettings):
    """Stochastic gradient descent with momentum.

    Attributes:
        weight_decay: coupled, as a gradient of the squared norm.
        momentum: in [0, 1).
        nesterov: Nesterov's variant.
    """

    momentum: float
    nesterov: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "[0, 1)", "momentum")
        if self.nesterov and not self.momentum:
            raise ValueError(f"momentum must be > 0 with nesterov, got {self.momentum}")

    def __call__(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.SGD(
            parameter_groups(model, self), momentum=self.momentum, nesterov=self.nesterov
        )


@dataclass(frozen=True, kw_only=True)
class Adam(OptimizerSettings):
    """Adam (arXiv 1412.6980), or AdamW (arXiv 1711.05101) if weight decay is decoupled.

    Attributes:
        weight_decay: coupled or decoupled, see `decoupled_weight_decay`.
        decoupled_weight_decay: whether to use AdamW's decoupled decay.
        betas: decay rates of the two moments, in [0, 1).
        eps: added to the denominator.
        amsgrad: the variant of arXiv 1904.09237.
    """

    decoupled_weight_decay: bool
    betas: Sequence[float]
    eps: float
    amsgrad: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.betas) != 2:
            raise ValueError(f"betas must be two numbers, got {list(self.betas)}")
        for beta in self.betas:
            if not 0 <= beta < 1:
                raise ValueError(f"betas must be in [0, 1), got {beta}")
        check_positive(self, "eps")

    def __call__(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer."""
        optimizer = torch.optim.AdamW if self.decoupled_weight_decay else torch.optim.Adam
        first, second = self.betas
        return optimizer(
            parameter_groups(model, self),
            betas=(first, second),
            eps=self.eps,
            amsgrad=self.amsgrad,
            fused=True,  # one pass over each tensor instead of ten
        )


def parameter_groups(model: nn.Module, settings: OptimizerSettings) -> list[dict[str, object]]:
    """Return the trainable parameters in groups with `initial_lr`, `lr` and `weight_decay`.

    Layers follow timm (the model's `group_matcher`); the last layer has the full rate. Parameters
    that a timm model exempts from weight decay (`no_weight_decay`) are treated like norms and
    biases.
    """
    exempts = not settings.decay_norms_and_biases
    exempt: Collection[str] = getattr(model, "no_weight_decay", tuple)() if exempts else ()
    if settings.layer_decay is not None:
        from timm.optim import param_groups_layer_decay

        groups = param_groups_layer_decay(
            model,
            weight_decay=settings.weight_decay,
            weight_decay_exclude_1d=exempts,
            no_weight_decay_list=exempt,
            layer_decay=settings.layer_decay,
        )
    else:
        groups = _decay_groups(model, settings, exempt)
    for group in groups:
        group["initial_lr"] = group["lr"] = settings.lr * group.pop("lr_scale", 1.0)
    return groups  # type: ignore[no-any-return]


def _decay_groups(
    model: nn.Module, settings: OptimizerSettings, exempt: Collection[str]
) -> list[dict[str, Any]]:
    """Return a group without and one with weight decay, if not empty.

    The same as timm's `param_groups_weight_decay`, whose import takes a second.
    """
    groups: dict[float, list[nn.Parameter]] = {0.0: [], settings.weight_decay: []}
    for name, parameter in model.named_parameters():
        is_exempt = not settings.decay_norms_and_biases and (
            parameter.ndim <= 1
            or name.endswith(".bias")
            or any(fnmatch(name, pattern) for pattern in exempt)
        )
        if parameter.requires_grad:
            groups[0.0 if is_exempt else settings.weight_decay].append(parameter)
    return [{"params": each, "weight_decay": decay} for decay, each in groups.items() if each]
