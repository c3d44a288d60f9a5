"""Losses of classification."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from visionlab.core.checks import LARGEST, check_range, is_in


def check_logits(logits: Tensor, labels: Tensor) -> None:
    """Check that a model returned (B, C) logits; on a CPU, also that no label is C or more.

    Raises:
        ValueError: it returned something else.
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(labels):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"model must return logits ({len(labels)}, num_classes), got {got}")
    if labels.device.type == "cpu" and labels.max() >= logits.shape[1]:  # CUDA asserts by itself
        raise ValueError(f"model must return num_classes logits, got {logits.shape[1]}")


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Cross-entropy of each sample in float32, with label smoothing (arXiv 1512.00567, section 7).

    Attributes:
        label_smoothing: share of the target spread evenly over all classes, in [0, 1).
        class_weights: one weight per class, or None. The loss of a sample is then multiplied by B
            over the sum of the batch's weights: the mean over a batch is a weighted mean, which
            depends on the batch. A batch of samples without weight costs nothing.
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
            ValueError: the logits do not fit the labels, or the number of class weights is not C.
        """
        check_logits(logits, labels)
        weights, scale = None, torch.ones((), device=logits.device)
        if self.class_weights is not None:
            if len(self.class_weights) != logits.shape[1]:
                raise ValueError(
                    f"loss.class_weights must have one weight a class, {logits.shape[1]}, "
                    f"got {len(self.class_weights)}"
                )
            weights = torch.tensor(self.class_weights, dtype=torch.float32, device=logits.device)
            total = weights[labels].sum()
            scale = torch.where(total > 0, len(labels) / total, 0.0)
        losses = F.cross_entropy(
            logits.float(), labels, weights, reduction="none", label_smoothing=self.label_smoothing
        )
        return {"cross_entropy": losses * scale}
