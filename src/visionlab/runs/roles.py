"""Roles of parts: what stands in one place of a configuration and is used in a certain way."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from visionlab.engine.hparams import Evaluation, Hparams, Stop
from visionlab.optim.averaging import Averages

# the class of a part, or the arguments with which it is called, by name those with `=`
_ROLES: Mapping[str, type | Sequence[str]] = {
    "hparams": Hparams,
    "stop": Stop,
    "evaluation": Evaluation,
    "averaged": Averages,
    "scheduler": ("step", "total_steps=", "steps_per_epoch="),
    "optimizer": ("model",),
    "loss": ("outputs", "targets"),
    "dataset": ("augmentation=", "seed=", "device="),
    "observers": ("folder=",),  # each of them
    "task.extra_scalars": ("outputs", "targets"),
    "task.predict": ("outputs", "batch"),
    "task.metric": ("class_names=",),
    "task.draw": ("folder", "samples", "split", "class_names=", "to_pixels="),
}


def check_role(part: Any, *, key: str, target: str) -> None:
    """Refuse a part that cannot be used in its place, as an optimizer for a loss.

    Raises:
        ValueError: it is of another class, or cannot be called with what it would get.
    """
    role = _ROLES.get("observers" if key.startswith("observers.") else key, object)
    if isinstance(role, type):
        fits = isinstance(part, role)
    else:
        fits = callable(part) and _can_be_called(part, role)
    if not fits:
        raise ValueError(f"{key}._target_ must be a part for {key}, got {target!r}")


def _can_be_called(part: Callable[..., Any], arguments: Sequence[str]) -> bool:
    by_name = {name.removesuffix("="): None for name in arguments if name.endswith("=")}
    try:
        inspect.signature(part).bind(*[None] * (len(arguments) - len(by_name)), **by_name)
    except (TypeError, ValueError):
        return False
    return True
