"""Losses of contrastive learning."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from visionlab.core.checks import LARGEST_FACTOR, check_range
from visionlab.tasks.pretraining.model.encoder import Embeddings
from visionlab.tasks.pretraining.model.moco import ContrastOutput


@dataclass(frozen=True, kw_only=True)
class InfoNce:
    """InfoNCE in float32: cross-entropy of the own key among all keys (arXiv 1911.05722, eq. 1).

    Chance is ln(1 + queue length). With both directions, the loss of an image is their sum.

    Attributes:
        temperature: by which similarities in [-1, 1] are divided.
    """

    is_per_sample: ClassVar[bool] = True
    temperature: float

    def __post_init__(self) -> None:
        check_range(self, f"[0.001, {LARGEST_FACTOR}]", "temperature")

    def __call__(self, outputs: ContrastOutput | Embeddings, targets: Tensor) -> dict[str, Tensor]:
        """Return `contrastive`, (B,); nothing for an encoder alone, which has no negatives."""
        if isinstance(outputs, Embeddings):
            return {}
        own = outputs.positives / self.temperature
        others = torch.logsumexp(outputs.negatives / self.temperature, dim=2)
        return {"contrastive": (torch.logaddexp(own, others) - own).sum(dim=0)}


@torch.no_grad()
def contrast_scalars(outputs: ContrastOutput, targets: Tensor) -> dict[str, Tensor]:
    """Return what tells whether pretraining goes well.

    `positive_first` is the share of queries more similar to their own key than to any in the queue.
    `spread` is the standard deviation of unit queries over the batch, times the square root of
    their length: 1 if they point everywhere, 0 if they have collapsed to one.
    """
    first = outputs.positives > outputs.negatives.amax(dim=2)
    deviation = outputs.queries.std(dim=1, correction=0).mean()
    return {
        "positive_first": first.float().mean(),
        "spread": deviation * outputs.queries.shape[2] ** 0.5,
    }
