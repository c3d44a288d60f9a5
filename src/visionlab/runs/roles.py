"""Roles of parts: what stands in one place of a configuration and is used in a certain way."""

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from visionlab.engine.epoch_files import Checkpointing
from visionlab.engine.hparams import Evaluation, Hparams, Stop
from visionlab.engine.start import Start
from visionlab.optim.averaging import Averages

# the class of a part, or the arguments with which it is called, by name those with `=`
_ROLES: Mapping[str, type | Sequence[str]] = {
    "hparams": Hparams,
    "stop": Stop,
    "start": Start,
    "evaluation": Evaluation,
    "checkpoint": Checkpointing,
    "averaged": Averages,
    "scheduler": ("step", "total_steps=", "steps_per_epoch="),
    "optimizer": ("model",),
    "loss": ("outputs", "targets"),
    "dataset": ("augmentation=", "seed=", "device="),
    "observers": ("folder=",),  # each of them
    "task.extra_scalars": ("outputs", "targets"),
    "task.predict": ("outputs", "batch"),
    "task.fuse": ("members", "weights"),
    "task.metric": ("class_names=",),
    "task.draw": ("folder", "samples", "split", "class_names=", "to_pixels="),
    "task.compare": ("folder", "members", "ensemble", "split", "class_names="),
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


def check_outputs(model: Callable[..., Any], takers: Mapping[str, Callable[..., Any]]) -> None:
    """Refuse a part that takes other outputs than the model returns, as another family's loss.

    Only what annotations say is compared; parts without them fit any model.

    Args:
        model: a class of models, or of settings that make one, or a function that does.
        takers: parts whose first argument is the outputs, by key.

    Raises:
        ValueError: the message names both.
    """
    made = _classes(_hints(_forward(model)).get("return"))
    for key, taker in takers.items():
        function = taker if inspect.isroutine(taker) else type(taker).__call__
        taken = _classes(next(iter(_hints(function).values()), None))
        if made and taken and not any(issubclass(one, each) for one in made for each in taken):
            raise ValueError(
                f"{key} must take what the model returns, {_named(made)}, "
                f"got {getattr(taker, '__name__', type(taker).__name__)} for {_named(taken)}"
            )


def _forward(model: Any) -> Callable[..., Any] | None:
    """Return the method that computes the outputs of a model, None if no annotation tells."""
    while callable(model) and not (inspect.isclass(model) and issubclass(model, nn.Module)):
        model = _hints(model.__call__ if inspect.isclass(model) else model).get("return")
    known = callable(model) and model.forward is not nn.Module.forward
    return model.forward if known else None


def _hints(function: Callable[..., Any] | None) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function) if function is not None else {}
    except (NameError, TypeError, AttributeError):
        return {}


def _classes(hint: Any) -> Sequence[type]:
    """Return the classes of a hint, none if it is open: `Any`, a container, no hint."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    is_open = any(not isinstance(each, type) or each in (object, Any) for each in options)
    return () if is_open else options


def _named(classes: Iterable[type]) -> str:
    return " or ".join(each.__name__ for each in classes)
