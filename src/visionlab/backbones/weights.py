"""Loading weights from files, and freezing parameters."""

import fnmatch
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from visionlab.files.tensors import read_tensors, require_file

_MAX_NAMED = 5
_MODEL_KEYS = ("model", "state_dict", "model_state_dict")
_COUNTER = "num_batches_tracked"  # of a batch norm; torch loads weights without it
_log = logging.getLogger(__name__)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return a state dictionary from a file, its names without the `_orig_mod.` of `torch.compile`.

    Reads visionlab's checkpoints, `.safetensors`, and files of `torch.save` that hold a state
    dictionary, or one under `model`, `state_dict`, `model_state_dict` or any key if it is the only
    one.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, or holds no weights or those of several models.
    """
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    weights = {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if not weights:
        raise ValueError(f"{path} must hold weights, got the keys {sorted(map(str, content))[:10]}")
    for name, value in weights.items():
        if (
            value.layout != torch.strided
            or value.is_quantized
            or value.is_meta
            or value.is_complex()
        ):
            raise ValueError(f"{path} must hold dense, real tensors, got another kind as {name}")
    return {name.replace("_orig_mod.", ""): value for name, value in weights.items()}


def load_exactly(model: nn.Module, path: Path) -> None:
    """Load the weights of a file whose names and shapes match the model's exactly.

    The names may have a prefix; what has another one is not loaded.

    Raises:
        ValueError: names or shapes differ; the model is unchanged.
    """
    weights = _without_prefix(read_weights(path), model.state_dict(), path)
    check_weights(model, weights, origin=path, hint="; model.init_from takes what fits")
    model.load_state_dict(weights)


def check_weights(
    model: nn.Module, weights: Mapping[str, Tensor], *, origin: object, hint: str = ""
) -> None:
    """Refuse weights from `origin` whose names or shapes are not the model's.

    Raises:
        ValueError: the message names the first differences.
    """
    if differences := _differences(model, weights):
        raise ValueError(f"{origin} holds weights of another model: {_format(differences)}{hint}")


def load_matching(model: nn.Module, path: Path, *, key: str) -> list[str]:
    """Load the tensors of a file that match name and shape of a tensor of the model.

    The names may have a prefix, as in `load_exactly`; `key` is the setting of the file.

    Returns:
        Descriptions of the tensors of the file and of the model that do not match.

    Raises:
        ValueError: no tensor matches.
    """
    ours = model.state_dict()
    weights = _without_prefix(read_weights(path), ours, path)
    differences = _differences(model, weights)
    fitting = {
        name: value
        for name, value in weights.items()
        if name in ours and ours[name].shape == value.shape
    }
    if not fitting:
        raise ValueError(
            f"{key} must share tensors with the model, got none in {path}: {_format(differences)}"
        )
    model.load_state_dict(fitting, strict=False)
    return differences


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

    These are its `backbone`, or else all modules but timm's `get_classifier()`. Parameters of the
    model itself, such as a class token, are returned as a module of their own.
    """
    backbone = getattr(model, "backbone", None)
    if isinstance(backbone, nn.Module):
        return [backbone]
    if not hasattr(model, "get_classifier"):
        return []
    classifier = model.get_classifier()  # type: ignore[operator]
    return _all_but(model, classifier if isinstance(classifier, tuple) else (classifier,))


def _all_but(module: nn.Module, heads: Sequence[nn.Module]) -> list[nn.Module]:
    """Return the largest submodules that contain no heads."""
    if any(module is head for head in heads):
        return []
    if not any(part is head for part in module.modules() for head in heads):
        return [module]
    own = list(module.parameters(recurse=False))
    parts: list[nn.Module] = [nn.ParameterList(own)] if own else []
    return parts + [part for child in module.children() for part in _all_but(child, heads)]


def _without_prefix(
    weights: Mapping[str, Tensor], ours: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """Return the weights under the prefix with which most names are those of a model.

    A wrapper puts it before all names (`module.` of data-parallel training and of weight averages,
    `model.`, `net.` or `encoder.` of a trainer) and may have tensors of its own. A prefix counts
    only if at least half of the model's tensors are found under it.

    Raises:
        ValueError: several models are found, with different weights.
    """
    found = Counter(
        prefix
        for name in weights
        for prefix in _prefixes(name)
        if name.removeprefix(prefix) in ours
    )
    most = max(found.values(), default=0)
    best = [prefix for prefix, count in found.items() if count == most and 2 * most >= len(ours)]
    if not best or "" in best:
        return dict(weights)
    if len(best) > 1:
        raise ValueError(
            f"{path} must hold the weights of one model, got those under {', '.join(best)}; "
            "save one of them alone"
        )
    _log.info("weights of %s: taken without the prefix %s", path, best[0])
    return {
        name.removeprefix(best[0]): value
        for name, value in weights.items()
        if name.startswith(best[0])
    }


def _prefixes(name: str) -> list[str]:
    """Return what may be a wrapper's part of a dotted name, from nothing on."""
    parts = name.split(".")
    return ["".join(f"{part}." for part in parts[:count]) for count in range(len(parts))]


def _differences(model: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    ours = model.state_dict()
    shapes = [
        f"{name} has shape {tuple(weights[name].shape)} in the file and {tuple(ours[name].shape)} "
        "in the model"
        for name in ours
        if name in weights and weights[name].shape != ours[name].shape
    ]
    missing = [
        f"{name} is not in the file"
        for name in ours
        if name not in weights and not name.endswith(_COUNTER)
    ]
    unknown = [f"{name} is not in the model" for name in weights if name not in ours]
    return shapes + missing + unknown


def _format(differences: Sequence[str]) -> str:
    rest = len(differences) - _MAX_NAMED
    return "; ".join(differences[:_MAX_NAMED]) + (f"; and {rest} more" if rest > 0 else "")


def _read_safetensors(path: Path) -> Mapping[str, object]:
    require_file(path)
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a whole safetensors file") from error


def _read_torch(path: Path) -> Mapping[str, object]:
    content = read_tensors(path, require_checksum=False)
    nested: dict[str, Mapping[str, object]] = {
        key: each for key, each in content.items() if _has_tensors(each)
    }
    if chosen := [key for key in _MODEL_KEYS if key in nested]:
        return nested[chosen[0]]
    if not nested or any(isinstance(e, Tensor) and e.ndim for e in content.values()):
        return content
    if len(nested) > 1:
        raise ValueError(
            f"{path} must hold the weights of one model, got {', '.join(map(str, nested))}; "
            "save one of them alone"
        )
    return next(iter(nested.values()))


def _has_tensors(content: object) -> bool:
    return isinstance(content, Mapping) and any(isinstance(e, Tensor) for e in content.values())
