"""Weights that a backbone starts from."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from visionlab.backbones.files import file_digest, read_evaluated, weights_file, without_prefix
from visionlab.backbones.weights import classifiers, differences, shorten

KEY = "model.backbone.weights"
_MAX_NAMED = 3
_STATISTIC = "running_mean"
_COUNTER = "num_batches_tracked"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BackboneWeights:
    """Weights that the backbone of a model starts from.

    Attributes:
        weights: a file with a backbone, alone or in a model for whatever task, or a run's folder;
            or None.
        adapt_stem: whether to fit the first convolution to another number of input channels.
    """

    weights: str | None = None
    adapt_stem: bool = False


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Tensors of a model by how they were set from a file, and those of the file not used."""

    file: str
    sha256: str
    taken: Sequence[str]
    adapted: Sequence[str]
    fresh: Sequence[str]
    unused: Sequence[str]


def load_backbone(model: nn.Module, settings: BackboneWeights) -> Loaded:
    """Load weights into the backbone of a model; its heads stay as they are.

    All of the backbone must be in the file but for its first convolution and its norms: the first
    convolution stays as it is if its shape differs (unless it is to be adapted), and norms do if
    the file has batch norms and the model group norms, or the reverse.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the model has no backbone that is known, or the file has another one.
    """
    path = weights_file(Path(settings.weights or "").expanduser(), key=KEY)
    state, names = model.state_dict(), _backbone_names(model)
    if not names:
        raise ValueError(f"{KEY} must be null for a model whose backbone is not known, got {path}")
    ours = {name: state[full] for name, full in names.items()}
    theirs = {_canonical(name): value for name, value in read_evaluated(path).items()}
    theirs = without_prefix(theirs, ours, path)
    adapted = _adapted_stem(ours, theirs) if settings.adapt_stem else {}
    fitting = _fitting(ours, {**theirs, **adapted}, path)
    model.load_state_dict({names[name]: value for name, value in fitting.items()}, strict=False)
    loaded = {names[name] for name in fitting}
    return Loaded(
        file=str(path.absolute()),
        sha256=file_digest(path),
        taken=[names[name] for name in fitting if name not in adapted],
        adapted=[names[name] for name in fitting if name in adapted],
        fresh=[name for name in state if name not in loaded and not name.endswith(_COUNTER)],
        unused=[name for name in theirs if name not in ours and not name.endswith(_COUNTER)],
    )


def describe(loaded: Loaded) -> str:
    """Return how many tensors were set in each way, with the names of the first ones, on a line."""
    parts = [f"{len(loaded.taken)} tensors taken"]
    for what in ("adapted", "fresh", "unused"):
        if names := getattr(loaded, what):
            shown = ", ".join(names[:_MAX_NAMED]) + (", ..." if len(names) > _MAX_NAMED else "")
            parts.append(f"{len(names)} {what} ({shown})")
    return f"backbone from {loaded.file}: {', '.join(parts)}"


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """Return the weight (O, I, H, W) of a convolution for another number of input channels.

    For one channel it is summed over the channels, so that a grey image has the response of the
    same image in colour; otherwise channels are repeated and scaled by I / `channels`.
    """
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    known = weight.shape[1]
    return weight[:, torch.arange(channels) % known] * (known / channels)


def initialise_classifier(model: nn.Module, std: float) -> None:
    """Draw the weights of a classifier's last layer from N(0, std^2) and set its biases to 0.

    Raises:
        ValueError: the model has no linear `get_classifier()`.
    """
    layers = [each for each in classifiers(model) if isinstance(each, nn.Linear)]
    if not layers:
        raise ValueError(f"model.classifier_std must be null for a model without one, got {std}")
    for layer in layers:
        nn.init.normal_(layer.weight, std=std)
        nn.init.zeros_(layer.bias)


def _backbone_names(model: nn.Module) -> dict[str, str]:
    """Return the names of a backbone's tensors in the model, by those that timm has for them.

    Empty if the backbone is not known, see `backbone_of`.
    """
    if isinstance(getattr(model, "backbone", None), nn.Module):
        names = [name for name in model.state_dict() if name.startswith("backbone.")]
    else:
        heads = classifiers(model)
        of_heads = [f"{name}." for name, each in model.named_modules() if each in heads]
        names = [name for name in model.state_dict() if not name.startswith(tuple(of_heads))]
        names = names if heads else []
    start = names[0] if names else ""
    while not all(name.startswith(start) for name in names) or start[-1:] not in ("", "."):
        start = start[:-1]
    return {_canonical(name.removeprefix(start)): name for name in names}


def _canonical(name: str) -> str:
    """Return the name that a timm model has for a tensor where its features have a flat one."""
    return re.sub(r"(?<![^.])([a-z]+)_(\d+)\.", r"\1.\2.", name)


def _adapted_stem(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the first convolution of a file, fitted to the model's number of input channels."""
    name = _stem(ours)
    weight = theirs.get(name)
    if weight is None or weight.ndim != 4 or weight.shape[1] == ours[name].shape[1]:
        return {}
    return {name: adapt_channels(weight, ours[name].shape[1])}


def _fitting(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """Return the tensors of a file that are those of a backbone.

    Raises:
        ValueError: there are none, or other tensors than those that may be missing.
    """
    other_norms = {
        norm
        for norm in _batch_norms(ours) ^ _batch_norms(theirs)
        if f"{norm}.weight" in ours and f"{norm}.weight" in theirs
    }
    fitting = {
        name: value
        for name, value in theirs.items()
        if name in ours and value.shape == ours[name].shape and _owner(name) not in other_norms
    }
    if all(name.endswith(_COUNTER) for name in fitting):
        raise ValueError(
            f"{KEY} must share tensors with the backbone, got none in {path}: "
            f"{shorten(differences(ours, theirs))}"
        )
    may_differ = {_stem(ours)} & theirs.keys()
    may_differ |= {name for name in ours if _owner(name) in other_norms}
    needed = {name: value for name, value in ours.items() if name not in may_differ}
    if found := differences(needed, theirs):
        raise ValueError(
            f"{KEY} must hold the model's backbone, got {path}, which differs in {len(found)} "
            f"of {len(ours)} tensors: {shorten(found)}"
        )
    return fitting


def _stem(ours: Mapping[str, Tensor]) -> str:
    """Return the name of the weight of the first convolution, empty without one."""
    return next((name for name, value in ours.items() if value.ndim == 4), "")


def _batch_norms(names: Iterable[str]) -> set[str]:
    return {_owner(name) for name in names if name.endswith(f".{_STATISTIC}")}


def _owner(name: str) -> str:
    """Return the name of the module that has a tensor."""
    return name.rpartition(".")[0]
