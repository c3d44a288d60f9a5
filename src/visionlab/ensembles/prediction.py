"""Predictions of members of an ensemble for the same samples, in one or several views."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from visionlab.ensembles.saved_predictions import (
    SavedPredictions,
    prediction_digest,
    read_predictions,
    save_predictions,
)
from visionlab.images.views import View
from visionlab.task import Autocast, Batch, Split, Task

PLAIN = "plain"  # the name of images as they are


class MultiViewSplit(Protocol):
    """A split that yields several views of each image, which it decodes once."""

    def view_batches(self, *, batch_size: int, views: Sequence[View]) -> Iterator[list[Batch]]:
        """Yield, for each batch, one batch per view."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A member of an ensemble.

    Attributes:
        name: a name of a folder.
        task: its task; of tasks with equal settings, members may share one.
        weights: of `task.evaluated`.
        cache_key: whatever else its predictions depend on.
        folder: where its predictions are saved, one `<view>.pt` per view.
    """

    name: str
    task: Task
    weights: Mapping[str, Tensor]
    cache_key: Mapping[str, Any]
    folder: Path

    @property
    def num_parameters(self) -> int:
        """Number of its parameters."""
        return sum(each.numel() for each in self.task.evaluated.parameters())


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The samples of a split, in its order.

    Attributes:
        targets: of each batch.
        keys: of each batch.
    """

    targets: Sequence[Any]
    keys: Sequence[Tensor]

    @property
    def all_keys(self) -> Tensor:
        """The keys of all samples, (N,) int64, on the CPU."""
        return torch.cat(list(self.keys)).cpu()


@dataclass(frozen=True, kw_only=True)
class Inference:
    """How members predict.

    Attributes:
        split: the name of a split in each member's task.
        views: by name; None for images as they are.
        batch_size: samples per forward pass.
        autocast: makes the context of a forward pass.
        check: called between batches; may raise to end the prediction.
    """

    split: str
    views: Mapping[str, View] | None
    batch_size: int
    autocast: Autocast
    check: Callable[[], None]

    @property
    def shown(self) -> Mapping[str, View | None]:
        """The views by name, None for images as they are."""
        return self.views or {PLAIN: None}


Predicted = Mapping[str, Mapping[str, SavedPredictions]]  # by member and view


def predict_members(members: Sequence[Member], inference: Inference) -> tuple[Predicted, Samples]:
    """Predict a split with each member in each view, unless its predictions are saved already.

    Returns:
        Predictions by member and view, and the samples as the first member's task has them.

    Raises:
        ValueError: a member's split has other samples, or predictions that cannot be saved.
    """
    samples: Samples | None = None
    predicted = {}
    for member in members:
        predicted[member.name], samples = _saved_or_predicted(member, inference, samples)
    assert samples is not None
    return predicted, samples


def _saved_or_predicted(
    member: Member, inference: Inference, samples: Samples | None
) -> tuple[Mapping[str, SavedPredictions], Samples]:
    """Return the predictions of a member by view, and the samples if they were not known."""
    saved = _read(member, inference)
    needed = [name for name in inference.shown if not _is_of(saved.get(name), samples)]
    if samples is None or needed:
        own = _predict(member, inference, needed)
        if samples is not None and not _equal_keys(own.all_keys, samples.all_keys):
            raise ValueError(
                f"ensemble.members must have the same samples in {inference.split}, "
                f"got others for {member.name}"
            )
        samples = samples or own
        others = set(inference.shown) - set(needed)
        if stale := [name for name in others if not _is_of(saved[name], samples)]:
            _predict(member, inference, stale)
        saved = _read(member, inference)
    return saved, samples


def _read(member: Member, inference: Inference) -> dict[str, SavedPredictions]:
    found = {
        name: read_predictions(member.folder / f"{name}.pt", digest=digest)
        for name, digest in _digests(member, inference).items()
    }
    return {name: each for name, each in found.items() if each is not None}


def _digests(member: Member, inference: Inference) -> dict[str, str]:
    return {
        name: prediction_digest(member.weights, view, member.cache_key)
        for name, view in inference.shown.items()
    }


def _is_of(saved: SavedPredictions | None, samples: Samples | None) -> bool:
    """Return whether predictions are there, and those of the samples if these are known."""
    return saved is not None and (samples is None or _equal_keys(saved.keys, samples.all_keys))


def _equal_keys(keys: Tensor, others: Tensor) -> bool:
    """Return whether there are the same keys, in any order."""
    return torch.equal(keys.sort().values, others.sort().values)


@torch.no_grad()
def _predict(member: Member, inference: Inference, names: Sequence[str]) -> Samples:
    """Save a member's predictions in some views; return the samples, also without a view."""
    task, model = member.task, member.task.evaluated
    was_training = model.training
    model.load_state_dict(member.weights)
    model.eval()
    predictions: dict[str, list[Any]] = {name: [] for name in names}
    targets, keys = [], []
    started = time.monotonic()
    for batches in _view_batches(task.splits[inference.split], inference, names):
        inference.check()
        for name, batch in zip(names, batches, strict=False):
            with inference.autocast():
                outputs = task.forward(model, batch)
            predictions[name].append(task.predict(outputs, batch))
        targets.append(batches[0].targets)
        keys.append(batches[0].keys)
    model.train(was_training)
    samples = Samples(targets=targets, keys=keys)
    seconds = (time.monotonic() - started) / max(1, len(names))
    digests = _digests(member, inference)
    for name, parts in predictions.items():
        path = member.folder / f"{name}.pt"
        save_predictions(path, parts, keys=samples.all_keys, digest=digests[name], seconds=seconds)
    return samples


def _view_batches(
    split: Split, inference: Inference, names: Sequence[str]
) -> Iterator[Sequence[Batch]]:
    """Yield for each batch one batch per view, or one for its targets if there is no view."""
    size = inference.batch_size
    if inference.views is None:
        for batch in split.batches(batch_size=size, epoch=0, first_batch=0):
            yield [batch]
    else:
        shown = [inference.views[name] for name in names or [*inference.views][:1]]
        viewed: MultiViewSplit = split  # type: ignore[assignment]
        yield from viewed.view_batches(batch_size=size, views=shown)


class Evaluated(NamedTuple):
    """Result of an evaluation of predictions.

    Attributes:
        metrics: values of the task's metric.
        samples: `keys`, and the metric's per-sample results, on the CPU.
        predictions: (N, ...) on the CPU, None unless those of a batch are a tensor.
    """

    metrics: dict[str, float]
    samples: dict[str, Tensor]
    predictions: Tensor | None


def evaluate_predictions(task: Task, predictions: Iterable[Any], samples: Samples) -> Evaluated:
    """Evaluate predictions, batch by batch in the order of the samples, with the task's metric."""
    task.metric.reset()
    tensors = []
    for batch, targets in zip(predictions, samples.targets, strict=True):
        task.metric.update(batch, targets)
        if isinstance(batch, Tensor):
            tensors.append(batch.cpu())
    metrics = task.metric.compute()
    results = {"keys": samples.all_keys, **task.metric.samples()}
    return Evaluated(
        metrics=metrics,
        samples={name: values.cpu() for name, values in results.items()},
        predictions=torch.cat(tensors) if tensors else None,
    )


def batches_of(predictions: SavedPredictions, samples: Samples) -> Iterator[Any]:
    """Yield saved predictions in the batches of the samples, on their device."""
    for keys in samples.keys:
        yield predictions.of(keys)


def fused_batches(
    task: Task,
    predictions: Sequence[SavedPredictions],
    weights: Sequence[float],
    samples: Samples,
) -> Iterator[Any]:
    """Yield several predictions fused into one, in the batches of the samples.

    Predictions with a weight of 0 are left out.
    """
    assert task.fuse is not None
    counted = [(one, weight) for one, weight in zip(predictions, weights, strict=True) if weight]
    for keys in samples.keys:
        members = [one.of(keys) for one, _ in counted]
        yield task.fuse(members, [weight for _, weight in counted])


def check_fuse(task: Task, *, key: str) -> None:
    """Refuse the setting `key` for a task whose predictions cannot be fused.

    Raises:
        ValueError: it is such a task.
    """
    if task.fuse is None:
        raise ValueError(
            f"{key} must be null for task {task.name}, whose predictions cannot be fused, got some"
        )
