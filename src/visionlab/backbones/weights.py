"""Weights of a whole model, and freezing parameters."""

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from visionlab.backbones.files import read_weights, without_prefix

_MAX_NAMED = 5
_CLASSIFIERS = ("fc", "classifier", "head", "heads")  # torchvision's names
_COUNTER = "num_batches_tracked"  # of a batch norm; torch loads weights without it


def load_exactly(model: nn.Module, path: Path) -> None:
    """Load the weights of a file whose names and shapes match the model's exactly.

    The names may have a prefix; what has another one is not loaded.

    Raises:
        ValueError: names or shapes differ; the model is unchanged.
    """
    weights = without_prefix(read_weights(path), model.state_dict(), path)
    check_weights(
        model, weights, origin=path, hint="; model.backbone.weights takes a file's backbone alone"
    )
    model.load_state_dict(weights)


def check_weights(
    model: nn.Module, weights: Mapping[str, Tensor], *, origin: object, hint: str = ""
) -> None:
    """Refuse weights from `origin` whose names or shapes are not the model's.

    Raises:
        ValueError: the message names the first differences.
    """
    ours = model.state_dict()
    unknown = [f"{name} is not in the model" for name in weights if name not in ours]
    if found := [*differences(ours, weights), *unknown]:
        raise ValueError(f"{origin} holds weights of another model: {shorten(found)}{hint}")


def differences(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> list[str]:
    """Describe the tensors of a model that have another shape in a file, then those it lacks."""
    shapes = [
        f"{name} has shape {tuple(theirs[name].shape)} in the file and {tuple(ours[name].shape)} "
        "in the model"
        for name in ours
        if name in theirs and theirs[name].shape != ours[name].shape
    ]
    return shapes + [
        f"{name} is not in the file"
        for name in ours
        if name not in theirs and not name.endswith(_COUNTER)
    ]


def shorten(descriptions: Sequence[str]) -> str:
    """Return the first descriptions, and how many more there are."""
    rest = len(descriptions) - _MAX_NAMED
    return "; ".join(descriptions[:_MAX_NAMED]) + (f"; and {rest} more" if rest > 0 else "")


def freeze(model: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Stop the training of parameters whose names match a shell pattern such as `layer1.*`.

    Returns:
        The batch norms all of whose weights are frozen, which must keep their statistics too.

    Raises:
        ValueError: a pattern matches no parameter, or no parameter is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise ValueError(
                f"model.freeze must match a parameter's name, got {pattern!r}; "
                f"the names begin with {', '.join(names[:3])}"
            )
    frozen = {name for name in names if any(fnmatch.fnmatchcase(name, each) for each in patterns)}
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"model.freeze must leave something to train, got {list(patterns)}")
    weights = {id(model.get_parameter(name)) for name in frozen}
    return [
        norm
        for norm in batch_norms(model)
        if (own := {id(each) for each in norm.parameters(recurse=False)}) and own <= weights
    ]


def batch_norms(module: nn.Module) -> list[nn.Module]:
    """Return the batch norms in a module, of any dimension."""
    batch_norm = nn.modules.batchnorm._BatchNorm
    return [each for each in module.modules() if isinstance(each, batch_norm)]


def backbone_of(model: nn.Module) -> list[nn.Module]:
    """Return the modules of a model before its heads; an empty list if unknown.

    These are its `backbone`, or else all modules but its classifiers. Parameters of the model
    itself, such as a class token, are returned as a module of their own.
    """
    backbone = getattr(model, "backbone", None)
    if isinstance(backbone, nn.Module):
        return [backbone]
    heads = classifiers(model)
    return _all_but(model, heads) if heads else []


def classifiers(model: nn.Module) -> list[nn.Module]:
    """Return the last layers of a classifier; none if unknown.

    These are what timm's `get_classifier()` returns, or else what has a name of torchvision's.
    """
    if hasattr(model, "get_classifier"):
        found = model.get_classifier()  # type: ignore[operator]
        return list(found) if isinstance(found, tuple) else [found]
    named = [getattr(model, name, None) for name in _CLASSIFIERS]
    return [each for each in named if isinstance(each, nn.Module)][:1]


def _all_but(module: nn.Module, heads: Sequence[nn.Module]) -> list[nn.Module]:
    """Return the largest submodules that contain no heads."""
    if any(module is head for head in heads):
        return []
    if not any(part is head for part in module.modules() for head in heads):
        return [module]
    own = list(module.parameters(recurse=False))
    parts: list[nn.Module] = [nn.ParameterList(own)] if own else []
    return parts + [part for child in module.children() for part in _all_but(child, heads)]
