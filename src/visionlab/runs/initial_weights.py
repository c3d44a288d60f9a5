"""Weights that a model starts from: settings beside those of the model, and their loading."""

import copy
import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import nn

from visionlab.backbones.files import file_digest
from visionlab.backbones.initial import (
    BackboneWeights,
    describe,
    initialise_classifier,
    load_backbone,
)
from visionlab.backbones.weights import load_exactly
from visionlab.config.instantiate import call_with_key
from visionlab.core.checks import check_positive
from visionlab.task import evaluated_module

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class InitialWeights:
    """Weights that a model starts from, and which of them are trained.

    Attributes:
        checkpoint: a file with the weights of just this model, or None.
        backbone: where its backbone's weights alone come from; replaces timm's pretrained ones.
        classifier_std: standard deviation of the initial weights of a classifier's last layer, with
            biases of 0, or None for those of the model.
        freeze: shell patterns of the names of parameters that are not trained.
    """

    checkpoint: str | None = None
    backbone: BackboneWeights = field(default_factory=BackboneWeights)
    classifier_std: float | None = None
    freeze: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.classifier_std is not None:
            check_positive(self, "classifier_std")
        if self.checkpoint and self.backbone.weights:
            raise ValueError(
                "backbone.weights must be null with model.checkpoint, which has them too, "
                f"got {self.backbone.weights}"
            )


_OF_MODEL = [each.name for each in fields(InitialWeights) if each.name != "backbone"]
_OF_BACKBONE = [each.name for each in fields(BackboneWeights)]


def split_model(settings: Mapping[str, Any]) -> tuple[dict[str, Any], InitialWeights]:
    """Return the settings of the model itself, and its initial weights."""
    model = dict(settings)
    weights = {key: model.pop(key) for key in _OF_MODEL if key in model}
    backbone = model.get("backbone")
    if isinstance(backbone, Mapping):
        own = {key: value for key, value in backbone.items() if key not in _OF_BACKBONE}
        del model["backbone"]
        model |= {"backbone": own} if own else {}
        of_backbone = {key: value for key, value in backbone.items() if key in _OF_BACKBONE}
        weights["backbone"] = BackboneWeights(**of_backbone)
    return model, call_with_key(functools.partial(InitialWeights, **weights), key="model")


def without_initial_weights(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy that builds a model without loading weights or state: it is given others."""
    changed: dict[str, Any] = copy.deepcopy(dict(config))
    changed["start"]["run"] = None
    model = changed["model"]
    for part, own in ((model, "checkpoint"), (model.get("backbone"), "weights")):
        if isinstance(part, dict):  # a model of one's own may have a backbone's name
            part.update({key: None for key in part if key == own})
            part.update({key: False for key in part if key == "pretrained"})
    return changed


def load_initial_weights(model: nn.Module, weights: InitialWeights) -> dict[str, Any]:
    """Load initial weights into a new model; return what was loaded from which files."""
    loaded: dict[str, Any] = {}
    if weights.checkpoint:
        path = Path(weights.checkpoint).expanduser()
        load_exactly(model, path)
        loaded["checkpoint"] = {"file": str(path.absolute()), "sha256": file_digest(path)}
    if weights.backbone.weights:
        found = load_backbone(evaluated_module(model), weights.backbone)
        _log.info("%s", describe(found))
        loaded["backbone"] = asdict(found)
        if hasattr(model, "after_load"):
            model.after_load()  # type: ignore[operator]
    if weights.classifier_std is not None:
        initialise_classifier(model, weights.classifier_std)
    return loaded
