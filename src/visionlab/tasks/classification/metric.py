"""Metrics of classification: predictions are class probabilities, (B, C) float32."""

from collections.abc import Sequence

import torch
from torch import Tensor

from visionlab.task import Batch


def probabilities(logits: Tensor, batch: Batch) -> Tensor:
    """Return class probabilities, (B, C) float32, for logits (B, C)."""
    return logits.float().softmax(dim=1)


@torch.no_grad()
def top1(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the share of a batch that is classified correctly, a scalar, for plots."""
    return {"top1": (logits.argmax(dim=1) == labels).float().mean()}


class Accuracy:
    """Share of samples whose label is among the k most probable classes.

    With fewer than k classes, top-k counts every sample.

    Args:
        class_names: in the order of the labels.
        top_k: the values of k, each a metric `top<k>`.

    Raises:
        ValueError: no k, or one below 1.
    """

    def __init__(self, *, class_names: Sequence[str], top_k: Sequence[int]) -> None:
        if not top_k or min(top_k) < 1:
            raise ValueError(f"top_k must be numbers >= 1, got {list(top_k)}")
        self._top_k = tuple(top_k)
        self._num_classes = len(class_names)
        self.names = [f"top{k}" for k in top_k]
        self.reset()

    def reset(self) -> None:
        """Reset the metric."""
        self._ranked: list[Tensor] = []
        self._label_probs: list[Tensor] = []
        self._labels: list[Tensor] = []

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add probabilities (B, C) and labels (B,).

        Raises:
            ValueError: C is not the number of classes.
        """
        if predictions.shape[1] != self._num_classes:
            raise ValueError(
                f"model must return {self._num_classes} logits, one a class, "
                f"got {predictions.shape[1]}"
            )
        k = min(max(self._top_k), predictions.shape[1])
        self._ranked.append(predictions.topk(k, dim=1).indices)
        self._label_probs.append(predictions.gather(1, targets[:, None])[:, 0])
        self._labels.append(targets)

    def compute(self) -> dict[str, float]:
        """Return `top<k>` for every k.

        Raises:
            ValueError: nothing was added.
        """
        if not self._labels:
            raise ValueError("an accuracy needs at least one sample, got 0")
        hits = torch.cat(self._ranked) == torch.cat(self._labels)[:, None]
        return {f"top{k}": hits[:, :k].any(dim=1).double().mean().item() for k in self._top_k}

    def samples(self) -> dict[str, Tensor]:
        """Return (N,) arrays: `label`, `predicted` int16, `correct` bool, `label_prob` float16."""
        label, predicted = torch.cat(self._labels), torch.cat(self._ranked)[:, 0]
        return {
            "label": label.short(),
            "predicted": predicted.short(),
            "correct": predicted == label,
            "label_prob": torch.cat(self._label_probs).half(),
        }
