"""The contract between the loop and the parts of a task.

The loop asks a task for named losses and sums them; it never sees an output. Whoever adds a task
brings splits, a model, a loss, a prediction and a metric, and changes nothing in `engine/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from torch import Tensor, nn

from visionlab.core.processes import Share, unsharded

Autocast = Callable[[], AbstractContextManager[None]]


class Batch(NamedTuple):
    """What a split yields, on the training device.

    Attributes:
        inputs: what the model is called with.
        targets: what loss and metric compare with.
        keys: (B,) int64, stable ids of the samples.
        matrices: (B, 3, 3) float32 maps from sample to input pixels as (x, y, 1), where the task
            has geometry.
    """

    inputs: Any
    targets: Any
    keys: Tensor
    matrices: Tensor | None = None


class Split(Protocol):
    """Samples in batches; every batch follows from (the split's seed, epoch, position) alone."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def num_batches(self, batch_size: int) -> int:
        """Return how many batches one epoch has."""

    def batches(
        self, *, batch_size: int, epoch: int, first_batch: int, share: Share = unsharded
    ) -> Iterator[Batch]:
        """Yield the batches of an epoch (counted from 0) from number `first_batch` on.

        Of these, and of each one's samples, only a share is made where processes share a run.
        """


class Metric(Protocol):
    """What is counted over a split; the numbers depend neither on order nor on batching.

    Attributes:
        names: of the numbers that `compute` returns.
    """

    names: Sequence[str]

    def reset(self) -> None:
        """Forget everything."""

    def update(self, predictions: Any, targets: Any) -> None:
        """Take in the predictions of one batch."""

    def compute(self) -> dict[str, float]:
        """Return the metric's numbers by name."""

    def samples(self) -> dict[str, Tensor]:
        """Return what is known of the samples, arrays in the order of the updates.

        Most have a row a sample; where samples have several things, one says how many.
        """


@dataclass(frozen=True, kw_only=True)
class Data:
    """What a data set hands over.

    Attributes:
        splits: by name; `train` is there, `train_plain` holds the same samples without
            augmentation, `val` and `test` where the data has them.
        sizes: what the model's last layer is built from, for example `{"num_classes": 10}`.
        class_names: in the order of the labels; of keypoints, what the points are called.
        class_ids: what the labels are called in the data set's own files.
        to_pixels: maps a batch's images (B, C, H, W) to pixels in [0, 1], for pictures.
        unreadable: paths of files that were left out.
    """

    splits: Mapping[str, Split]
    sizes: Mapping[str, Any]
    class_names: Sequence[str]
    class_ids: Sequence[int]
    to_pixels: Callable[[Tensor], Tensor]
    unreadable: list[str]


@dataclass(frozen=True, kw_only=True)
class Task:
    """The parts of one task.

    Attributes:
        name: the task's name, as in `conf/task/`.
        splits: by name; `train` is what is trained on, `val` (if any) is evaluated each epoch.
        model: called as `model(batch.inputs)`.
        loss: maps (outputs, targets) to named losses, which the loop sums: scalars, or (B,), one
            value a sample, of which the mean counts.
        backbone: the modules that `hparams.freeze_backbone_epochs` holds still; may be none.
        extra_scalars: maps (outputs, targets) to named scalars worth drawing beside the losses.
        predict: maps (outputs, batch) to predictions in the sample's own units (original pixels).
        metric: compares predictions with targets.
        monitor: the number of the metric, or `loss`, that decides which weights are best.
        mode: whether more or less of it is better.
        draw: writes pictures into a folder, of samples (arrays by name) of a split.
        export: writes samples of a split, by the name its numbers have, into a folder, in the
            field's own format, and returns the file; None where there is no such format.
    """

    name: str
    splits: Mapping[str, Split]
    model: nn.Module
    loss: Callable[[Any, Any], Mapping[str, Tensor]]
    backbone: Sequence[nn.Module]
    extra_scalars: Callable[[Any, Any], Mapping[str, Tensor]]
    predict: Callable[[Any, Batch], Any]
    metric: Metric
    monitor: str
    mode: Literal["max", "min"]
    draw: Callable[[Path, dict[str, Tensor], Split], None]
    export: Callable[[Path, str, dict[str, Tensor], Split], Path] | None

    def __post_init__(self) -> None:
        if self.mode not in ("max", "min"):
            raise ValueError(f"task.mode must be max or min, got {self.mode!r}")
        if self.monitor not in ("loss", *self.metric.names):
            names = ", ".join(("loss", *self.metric.names))
            raise ValueError(f"task.monitor must be one of {names}, got {self.monitor!r}")
        if "train" not in self.splits:
            raise ValueError(f"splits must hold train, got {sorted(self.splits)}")

    def losses(self, batch: Batch) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """Return the named losses of a training batch, and the scalars drawn beside them."""
        outputs = self.model(batch.inputs)
        return self.loss(outputs, batch.targets), self.extra_scalars(outputs, batch.targets)

    def is_better(self, value: float, than: float) -> bool:
        """Return whether a value of `monitor` beats another; nothing beats by being NaN."""
        return value > than if self.mode == "max" else value < than
