"""Losses of classification."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from visionlab.core.checks import LARGEST, check_range, is_in


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Cross-entropy of each sample in float32, with label smoothing (arXiv 1512.00567, section 7).

    Attributes:
        label_smoothing: share of the target spread evenly over all classes, in [0, 1).
        class_weights: one weight per class, or None. The loss of a sample is then multiplied by B
            over the sum of the batch's weights: the mean over a batch is a weighted mean, which
            depends on the batch.
    """

    is_per_sample: ClassVar[bool] = True
    label_smoothing: float
    class_weights: Sequence[float] | None

    def __post_init__(self) -> None:
        check_range(self, "[0, 1)", "label_smoothing")
        if self.class_weights is not None and (
            not all(is_in(f"[0, {LARGEST}]", weight) for weight in self.class_weights)
            or not any(self.class_weights)
        ):
            raise ValueError(
                f"class_weights must be in [0, {LARGEST:.0e}] and not all 0, "
                f"got {list(self.class_weights)}"
            )

    def __call__(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return `cross_entropy`, (B,), for logits (B, C) and labels (B,) int64.

        Raises:
            ValueError: the number of class weights is not C.
        """
        weights, scale = None, torch.ones((), device=logits.device)
        if self.class_weights is not None:
            if len(self.class_weights) != logits.shape[1]:
                raise ValueError(
                    f"loss.class_weights must have one weight a class, {logits.shape[1]}, "
                    f"got {len(self.class_weights)}"
                )
            weights = torch.tensor(self.class_weights, dtype=torch.float32, device=logits.device)
            scale = len(labels) / weights[labels].sum()
        losses = F.cross_entropy(
            logits.float(), labels, weights, reduction="none", label_smoothing=self.label_smoothing
        )
        return {"cross_entropy": losses * scale}
