"""The contract between the loop and the parts of a task.

The loop asks a task for named losses and sums them; it never sees an output. A new task brings
splits, a model, a loss, a prediction and a metric, and changes nothing in `engine/`.

A model is any `nn.Module`. It is called with `batch.inputs`, and all of it is averaged, evaluated,
saved and handed on, unless it says otherwise by an attribute:

- `takes_batch = True`: it is called with the batch, since it needs targets or matrices too.
- `evaluated`: the module in it that is averaged, evaluated, saved and handed on.
- `synchronised`: the modules in it whose batch norms see the batch of all processes.
- `after_step()`: called after every optimizer step.
- `after_load()`: called after the backbone of `evaluated` got its initial weights from a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from torch import Tensor, nn

from visionlab.core.processes import Shard, unsharded

Autocast = Callable[[], AbstractContextManager[None]]
SampleResults = Mapping[str, Tensor]  # `keys` and the results of `Metric.samples`


class Batch(NamedTuple):
    """A batch of samples on the training device.

    Attributes:
        inputs: the argument of the model.
        targets: the ground truth for loss and metric.
        keys: (B,) int64, stable sample ids.
        matrices: (B, 3, 3) float32, from sample to input pixels as (x, y, 1); None for a task
            without geometry.
    """

    inputs: Any
    targets: Any
    keys: Tensor
    matrices: Tensor | None = None


class Split(Protocol):
    """Batched samples; a batch depends only on (seed of the split, epoch, position).

    A split may have a `bank`, another split or None: before samples of the split are predicted, the
    metric is given the predictions of the bank (`BankMetric.remember`), as k-NN needs them.
    """

    def __len__(self) -> int:
        """Return the number of samples."""

    def num_batches(self, batch_size: int) -> int:
        """Return the number of batches in one epoch."""

    def batches(
        self, *, batch_size: int, epoch: int, first_batch: int, shard: Shard = unsharded
    ) -> Iterator[Batch]:
        """Yield the batches of an epoch (counted from 0), starting with number `first_batch`.

        If several processes share a run, `shard` selects the part that this one makes.
        """


class Metric(Protocol):
    """A metric over a split; its values depend neither on order nor on batching.

    Models that are evaluated together have a copy each, as `copy.deepcopy` makes it.

    Attributes:
        names: keys of the result of `compute`.
    """

    names: Sequence[str]

    def reset(self) -> None:
        """Clear the accumulated state."""

    def update(self, predictions: Any, targets: Any) -> None:
        """Add the predictions and targets of one batch."""

    def compute(self) -> dict[str, float]:
        """Return the values of the metric by name."""

    def samples(self) -> dict[str, Tensor]:
        """Return per-sample results by name, in the order of the updates.

        Most arrays have one row per sample. If a sample has several items (say, detections), one
        of the arrays holds their number.
        """


class BankMetric(Metric, Protocol):
    """A metric that compares predictions with those of a bank of other samples."""

    def remember(self, predictions: Any, targets: Any) -> None:
        """Add the predictions and targets of one batch of the bank, before any update."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set as a task uses it.

    Attributes:
        splits: by name: `train`, `train_plain` (the same samples without augmentation), and `val`
            and `test` if the data has them.
        sizes: arguments of the model that depend on the data, for example `{"num_classes": 10}`.
        class_names: in the order of the labels; for keypoints, the names of the points.
        class_ids: ids of the labels in the files of the data set.
        class_counts: how many images (or boxes) of each class `train`, `val` and `test` have, in
            the order of the labels; empty for data without classes.
        to_pixels: maps input images (B, C, H, W) to pixels in [0, 1], for pictures.
        unreadable: paths of unreadable files, which are left out.
        read_counts: how much was read and dropped, for each file or folder of annotations, by name
            and reason.
    """

    splits: Mapping[str, Split]
    sizes: Mapping[str, Any]
    class_names: Sequence[str]
    class_ids: Sequence[int]
    class_counts: Mapping[str, Sequence[int]]
    to_pixels: Callable[[Tensor], Tensor]
    unreadable: list[str]
    read_counts: Mapping[str, Mapping[str, int]]


Record = Mapping[str, Any]  # what was predicted for an image, in plain containers


class Picture(Protocol):
    """A picture of an image that is drawn on, in pixels of the original image."""

    def title(self, text: str) -> None:
        """Set the text above the image."""

    def outline(self, corners: Sequence[Sequence[float]], text: str, *, colour: int) -> None:
        """Draw a closed polygon with a text above it; colours are numbered."""

    def dots(self, points: Sequence[Sequence[float]]) -> None:
        """Draw points as dots."""


@dataclass(frozen=True, kw_only=True)
class CocoResults:
    """Predictions as entries of COCO's results.

    Attributes:
        categories: names by id.
        entries: returns the entries of a record, without the image's id.
    """

    categories: Mapping[int, str]
    entries: Callable[[Record], list[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Results:
    """Predictions of a task in plain containers, for files and pictures.

    Attributes:
        about: what a reader of the records needs besides, for example the names of the points.
        records: returns a record for each image of what `Task.predict` or `Task.fuse` returned.
        columns: returns the names of the columns of a table, which are alike for all records.
        rows: returns the rows of a record in that table, one at least.
        coco: in COCO's format of results; None if it has none for the task.
        draw: draws a record into a picture of its image, of detections those with a minimum score;
            None if there is nothing to be seen.
    """

    about: Mapping[str, Any]
    records: Callable[[Any], list[Record]]
    columns: Callable[[Record], list[str]]
    rows: Callable[[Record], list[list[Any]]]
    coco: CocoResults | None
    draw: Callable[[Picture, Record, float], None] | None


@dataclass(frozen=True, kw_only=True)
class Task:
    """The parts of one task.

    Attributes:
        name: the task's name, as in `conf/task/`.
        splits: by name; `train` is trained on, `val` (if any) is evaluated during training.
        model: what is trained; the module's docstring says what it may declare.
        loss: maps (outputs, targets) to named losses, which the loop sums. Each is a scalar, or
            (B,) with one value per sample, which the loop averages.
        backbone: the modules that `hparams.freeze_backbone_epochs` freezes; may be empty.
        frozen_norms: batch norms that stay in eval mode in training.
        initial_weights: what was loaded into the model from which files, for `run.json`.
        extra_scalars: maps (outputs, targets) to named scalars to log beside the losses.
        predict: maps (outputs, batch) to predictions in the units of the sample (original pixels).
        fuse: maps the predictions of several models for a batch, and a weight >= 0 of each, to one
            prediction of the batch; None if they cannot be fused.
        metric: compares predictions with targets.
        monitor: the metric, or `loss`, that decides which weights are best.
        mode: whether a larger (`max`) or smaller (`min`) value is better.
        draw: writes pictures of samples (arrays by name) of a split into a folder.
        export: writes predictions of a split in the standard format of the field and returns the
            file, given the folder, the label of the split, samples and split; None if the field
            has no such format.
        compare: writes tables that compare members of an ensemble into a folder, given the samples
            of each member by name, those of the ensemble, and the split, all in the same order;
            None if there are no such tables.
    """

    name: str
    splits: Mapping[str, Split]
    model: nn.Module
    loss: Callable[[Any, Any], Mapping[str, Tensor]]
    backbone: Sequence[nn.Module]
    extra_scalars: Callable[[Any, Any], Mapping[str, Tensor]]
    predict: Callable[[Any, Batch], Any]
    fuse: Callable[[Sequence[Any], Sequence[float]], Any] | None
    metric: Metric
    monitor: str
    mode: Literal["max", "min"]
    draw: Callable[[Path, dict[str, Tensor], Split], None]
    export: Callable[[Path, str, dict[str, Tensor], Split], Path] | None
    compare: Callable[[Path, Mapping[str, SampleResults], SampleResults, Split], None] | None
    frozen_norms: Sequence[nn.Module] = ()
    initial_weights: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mode not in ("max", "min"):
            raise ValueError(f"task.mode must be max or min, got {self.mode!r}")
        if self.monitor not in ("loss", *self.metric.names):
            names = ", ".join(("loss", *self.metric.names))
            raise ValueError(f"task.monitor must be one of {names}, got {self.monitor!r}")
        if "train" not in self.splits:
            raise ValueError(f"splits must hold train, got {sorted(self.splits)}")

    def losses(self, batch: Batch) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """Return the named losses of a training batch and the extra scalars."""
        outputs = self.forward(self.model, batch)
        return self.loss(outputs, batch.targets), self.extra_scalars(outputs, batch.targets)

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        """Return the outputs of the model, or of one like it or `evaluated`, for a batch."""
        return model(model_input(model, batch))

    @property
    def evaluated(self) -> nn.Module:
        """The module that is averaged, evaluated, saved and handed on."""
        return evaluated_module(self.model)

    @property
    def synchronised(self) -> Sequence[nn.Module]:
        """The modules whose batch norms see the batch of all processes."""
        return getattr(self.model, "synchronised", [self.model])

    def after_step(self) -> None:
        """Let the model do what it does after an optimizer step."""
        if hasattr(self.model, "after_step"):
            self.model.after_step()  # type: ignore[operator]

    def is_better(self, value: float, than: float) -> bool:
        """Return whether a value of `monitor` is better than another; NaN never is."""
        return value > than if self.mode == "max" else value < than


def model_input(model: nn.Module, batch: Batch) -> Any:
    """Return the argument of a model, or of one like it or `evaluated`, for a batch."""
    return batch if getattr(model, "takes_batch", False) else batch.inputs


def evaluated_module(model: nn.Module) -> nn.Module:
    """Return the module of a model that is averaged, evaluated, saved and handed on."""
    module = getattr(model, "evaluated", model)
    assert isinstance(module, nn.Module)
    return module
