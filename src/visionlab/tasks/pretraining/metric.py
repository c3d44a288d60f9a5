"""Weighted k-nearest neighbours: how well frozen features tell classes apart."""

import logging
import math
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from visionlab.task import Batch
from visionlab.tasks.pretraining.model.encoder import Embeddings
from visionlab.tasks.pretraining.model.moco import ContrastOutput
from visionlab.tasks.pretraining.records import NO_LABEL

Layer = Literal["backbone", "head"]
NUM_SHOWN = 8
_log = logging.getLogger(__name__)


class Features(NamedTuple):
    """Features of samples.

    Attributes:
        values: (B, D) float32, of length 1.
        keys: (B,) int64, of the samples.
    """

    values: Tensor
    keys: Tensor


def unit_features(outputs: ContrastOutput | Embeddings, batch: Batch, *, layer: Layer) -> Features:
    """Return the features of samples, of length 1.

    Args:
        outputs: of the encoder.
        batch: the samples.
        layer: `backbone`, or `head` for the projections.
    """
    assert isinstance(outputs, Embeddings)
    rows = outputs.features if layer == "backbone" else outputs.projections
    return Features(F.normalize(rows.float(), dim=1), batch.keys)


def principal_plane(values: Tensor) -> Tensor:
    """Return rows (N, D) along their first two principal axes, (N, 2), around their mean.

    The largest component of each axis is positive.
    """
    centred = (values - values.mean(dim=0)).double()
    _, axes = torch.linalg.eigh(centred.T @ centred)
    axes = axes.flip(1)[:, :2]
    axes = axes * axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
    return F.pad(centred @ axes, (0, 2 - axes.shape[1]))


class NearestNeighbours:
    """Share of samples whose class has most weight among their k nearest samples of a bank.

    Wu et al. (arXiv 1805.01978, section 3.4): a neighbour weighs exp(cosine / temperature). Of
    classes with equal weights the lowest counts; a sample is no neighbour of itself.

    Args:
        class_names: in the order of the labels.
        k: number of neighbours; of a smaller bank, all.
        temperature: of the weights.

    Raises:
        ValueError: k is below 1, or the temperature is not above 0.
    """

    names: Sequence[str] = ("knn",)

    def __init__(
        self,
        *,
        class_names: Sequence[str],
        k: Annotated[int, "[1, 1000000]"],
        temperature: Annotated[float, "[0.001, 100]"],
    ) -> None:
        self._num_classes = len(class_names)
        self._k, self._temperature = k, temperature
        self._is_short_bank_known = False
        self.reset()

    def reset(self) -> None:
        """Clear the samples and the bank."""
        self._bank: list[tuple[Features, Tensor]] = []
        self._joined: tuple[Features, Tensor] | None = None
        self._samples: list[dict[str, Tensor]] = []

    def remember(self, predictions: Features, targets: Tensor) -> None:
        """Add features of the bank and their labels (B,)."""
        self._bank.append((predictions, targets))

    def update(self, predictions: Features, targets: Tensor) -> None:
        """Add features of samples and their labels (B,)."""
        bank, labels = self._whole_bank(predictions)
        similarities = predictions.values @ bank.values.T
        similarities[predictions.keys[:, None] == bank.keys] = -math.inf
        nearest = similarities.topk(min(self._k, len(labels)), dim=1)
        near_labels, near_keys = labels[nearest.indices], bank.keys[nearest.indices]
        probs = self.vote(nearest.values, near_labels)
        predicted = probs.argmax(dim=1)  # the first of equals
        self._samples.append(
            {
                "label": targets.short(),
                "predicted": predicted.short(),
                "correct": predicted == targets,
                "features": predictions.values,
                "label_prob": probs.gather(1, targets.clamp(min=0)[:, None])[:, 0].half(),
                "neighbours": near_keys[:, :NUM_SHOWN],
                "neighbour_labels": near_labels[:, :NUM_SHOWN].short(),
            }
        )

    def vote(self, similarities: Tensor, labels: Tensor) -> Tensor:
        """Return class probabilities (B, C) for the cosines and labels of neighbours, (B, k)."""
        closest = similarities[:, :1]
        weights = torch.exp((similarities - closest) / self._temperature)
        votes = weights.new_zeros(len(labels), max(1, self._num_classes))
        votes.scatter_add_(1, labels.clamp(min=0), weights)
        return votes / votes.sum(dim=1, keepdim=True)

    def compute(self) -> dict[str, float]:
        """Return `knn`, NaN for samples without labels.

        Raises:
            ValueError: nothing was added.
        """
        if not self._samples:
            raise ValueError("knn needs at least one sample, got 0")
        label = torch.cat([each["label"] for each in self._samples])
        if (label == NO_LABEL).all():
            return {"knn": math.nan}
        correct = torch.cat([each["correct"] for each in self._samples])
        return {"knn": correct.double().mean().item()}

    def samples(self) -> dict[str, Tensor]:
        """Return one row per sample, nearest neighbours first.

        `label`, `predicted` int16, `correct` bool, `label_prob` float16, (N,); `neighbours` int64,
        keys of the bank, and `neighbour_labels` int16, (N, up to 8); `plane` float16, (N, 2), the
        features along their first two principal axes.
        """
        joined = {
            name: torch.cat([each[name] for each in self._samples]) for name in self._samples[0]
        }
        return joined | {"plane": principal_plane(joined.pop("features")).half()}

    def _whole_bank(self, like: Features) -> tuple[Features, Tensor]:
        """Return features and labels of the bank; without one, of one sample that is like none."""
        if self._joined is None:
            if not self._bank:
                none = torch.full((1,), NO_LABEL, device=like.keys.device)
                return Features(torch.zeros_like(like.values[:1]), none), none
            features, labels = zip(*self._bank, strict=True)
            values, keys = (torch.cat(part) for part in zip(*features, strict=True))
            self._joined = Features(values, keys), torch.cat(labels)
            if self._k > len(keys) and not self._is_short_bank_known:
                self._is_short_bank_known = True
                _log.warning("task.metric.k is %d, the bank has %d samples", self._k, len(keys))
        return self._joined
