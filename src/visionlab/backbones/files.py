"""Weights in files: visionlab's checkpoints, files of `torch.save`, and safetensors."""

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from visionlab.files.tensors import read_tensors, require_file

_MODEL_KEYS = ("model", "state_dict", "model_state_dict")
_QUERY_ENCODERS = ("module.encoder_q.", "encoder_q.")  # of facebookresearch/moco
_OF_RUN = ("best.pt", "last.pt")
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
    return _state_of(_read(path), path)


def read_evaluated(path: Path) -> dict[str, Tensor]:
    """Return what `read_weights` does, without the parts of a model that serve training alone.

    Of a checkpoint of ours that is the module named by its `evaluated`; of one of the reference
    MoCo, its query encoder.
    """
    content = _read(path)
    weights = _state_of(content, path)
    evaluated = content.get("evaluated")
    ours = [f"{evaluated}."] if isinstance(evaluated, str) and evaluated else []
    for prefix in [*ours, *_QUERY_ENCODERS]:
        if any(name.startswith(prefix) for name in weights):
            _log.info("weights of %s: those of %s are taken", path, prefix.rstrip("."))
            return _below(prefix, weights)
    return weights


def without_prefix(
    weights: Mapping[str, Tensor], ours: Mapping[str, object], path: Path
) -> dict[str, Tensor]:
    """Return the weights under the prefix with which most names are those of a model.

    A wrapper puts it before all names (`module.` of data-parallel training and of weight averages,
    `model.`, `net.` or `encoder.` of a trainer) and may have tensors of its own. A prefix counts
    only if at least a quarter of the model's tensors are found under it.

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
    best = [prefix for prefix, count in found.items() if count == most and 4 * most >= len(ours)]
    if not best or "" in best:
        return dict(weights)
    if len(best) > 1:
        raise ValueError(
            f"{path} must hold the weights of one model, got those under {', '.join(best)}; "
            "save one of them alone"
        )
    _log.info("weights of %s: taken without the prefix %s", path, best[0])
    return _below(best[0], weights)


def weights_file(path: Path, *, key: str) -> Path:
    """Return a file of weights, or of a run's folder the best weights, else the last ones.

    Raises:
        FileNotFoundError: there is no such file; the message names the setting `key`.
    """
    folder = path / "checkpoints"
    if not path.is_dir():
        found = [path] if path.is_file() else []
    else:
        found = [folder / name for name in _OF_RUN if (folder / name).is_file()]
    if not found:
        kind = f"a folder without checkpoints/{_OF_RUN[0]}" if path.is_dir() else "nothing"
        raise FileNotFoundError(f"{key} must be a file or a run's folder, got {kind}: {path}")
    return found[0]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _prefixes(name: str) -> list[str]:
    """Return what may be a wrapper's part of a dotted name, from nothing on."""
    parts = name.split(".")
    return ["".join(f"{part}." for part in parts[:count]) for count in range(len(parts))]


def _below(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }


def _read(path: Path) -> Mapping[str, object]:
    if path.suffix != ".safetensors":
        return read_tensors(path, require_checksum=False)
    require_file(path)
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a whole safetensors file") from error


def _state_of(content: Mapping[str, object], path: Path) -> dict[str, Tensor]:
    content = _model_of(content, path)
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


def _model_of(content: Mapping[str, object], path: Path) -> Mapping[str, object]:
    """Return the state dictionary of the one model in the content of a file."""
    nested = {
        key: each
        for key, each in content.items()
        if isinstance(each, Mapping) and any(isinstance(e, Tensor) for e in each.values())
    }
    if chosen := [key for key in _MODEL_KEYS if key in nested]:
        return nested[chosen[0]]
    if not nested or any(isinstance(each, Tensor) and each.ndim for each in content.values()):
        return content
    if len(nested) > 1:
        raise ValueError(
            f"{path} must hold the weights of one model, got {', '.join(map(str, nested))}; "
            "save one of them alone"
        )
    return next(iter(nested.values()))
