"""Test-time augmentation: the weighted mean of a model's predictions over views of each image.

The predictions of each view are saved in units of the sample, so that other view weights or fewer
views need no forward pass.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from visionlab.files.atomic import write_text
from visionlab.files.documents import read_text
from visionlab.images.views import View
from visionlab.task import Autocast, Batch, Task

_MUCH_WORSE = 0.8  # times the better metric


class MultiViewSplit(Protocol):
    """A split that yields several views of each image, which it decodes once."""

    def view_batches(self, *, batch_size: int, views: Sequence[View]) -> Iterator[list[Batch]]:
        """Yield, for each batch, one batch per view."""


@dataclass(frozen=True, kw_only=True)
class ViewResult:
    """Result of an evaluation with views.

    Attributes:
        alone: metrics of each view alone, by view name.
        running: metrics of the weighted mean of this view and all before it, by view name.
        samples: `keys`, and the metric's per-sample results for the mean of all views.
    """

    alone: dict[str, dict[str, float]]
    running: dict[str, dict[str, float]]
    samples: dict[str, Tensor]

    def worse_alone(self, metric: str, *, mode: str) -> dict[str, float]:
        """Return the values of views that alone are much worse than the first one, by name."""
        first, *others = ((name, metrics[metric]) for name, metrics in self.alone.items())
        if mode == "max":
            return {name: value for name, value in others if value < _MUCH_WORSE * first[1]}
        return {name: value for name, value in others if _MUCH_WORSE * value > first[1]}

    def describe_gain(self, metric: str) -> str:
        """Return a sentence that compares all views with the first one alone."""
        first, last = next(iter(self.alone)), list(self.running)[-1]
        before, after = self.alone[first][metric], self.running[last][metric]
        change = f" ({after / before - 1.0:+.2%})" if before else ""
        return f"{metric} is {before:.4f} in view {first} and {after:.4f} in all{change}"


def check_views(views: Mapping[str, View]) -> None:
    """Refuse views without a weighted mean.

    Raises:
        ValueError: there is no view, or the weights do not sum to more than 0.
    """
    if not views:
        raise ValueError("views must have at least one view, got none")
    if not sum(view.weight for view in views.values()) > 0:
        weights = ", ".join(f"{name}={view.weight:g}" for name, view in views.items())
        raise ValueError(f"views must have weights with a sum above 0, got {weights}")


@torch.no_grad()
def evaluate_views(
    task: Task,
    model: nn.Module,
    split: MultiViewSplit,
    views: Mapping[str, View],
    *,
    folder: Path,
    cache_key: Mapping[str, Any],
    batch_size: int,
    autocast: Autocast,
    check: Callable[[], None],
) -> ViewResult:
    """Evaluate the weighted means of a model's predictions over views of a split.

    Args:
        task: provides prediction and metric; predictions of a batch are one tensor that can be
            averaged.
        model: any module with the signature of the task's model; put in eval mode.
        split: the samples.
        views: by name, in the order of the running mean.
        folder: where to save predictions, one `<view>.npy` per view, in the order of the split.
        cache_key: whatever else the predictions depend on; saved predictions are reused if it and
            the samples of the split are unchanged.
        batch_size: samples per forward pass.
        autocast: makes the context of a forward pass.
        check: called between batches; may raise to end the evaluation.

    Raises:
        ValueError: the predictions are not tensors, or `check_views` refuses the views.
    """
    check_views(views)
    digests = {name: _view_digest(view, cache_key, model) for name, view in views.items()}
    was_training = model.training

    def predict(names: Sequence[str]) -> tuple[list[Any], list[Tensor]]:
        """Save the predictions of some views; return targets and keys."""
        predictions: dict[str, list[Tensor]] = {name: [] for name in names}
        targets, keys = [], []
        shown = [views[name] for name in names] or list(views.values())[:1]  # only for targets
        model.eval()
        for batches in split.view_batches(batch_size=batch_size, views=shown):
            check()
            for name, batch in zip(names, batches, strict=False):
                predictions[name].append(_predict(task, model, batch, autocast))
            targets.append(batches[0].targets)
            keys.append(batches[0].keys)
        model.train(was_training)
        folder.mkdir(parents=True, exist_ok=True)
        for name, parts in predictions.items():
            _save_predictions(folder / f"{name}.npy", torch.cat(parts), digests[name], keys)
        return targets, keys

    saved = {name: _saved_samples(folder / f"{name}.npy", digests[name]) for name in views}
    targets, keys = predict([name for name, samples in saved.items() if samples is None])
    current = (_keys_digest(keys), sum(map(len, keys)))
    stale = [name for name, samples in saved.items() if samples not in (None, current)]
    if stale:
        targets, keys = predict(stale)
    return _combine(task, views, folder, targets=targets, keys=keys)


def _predict(task: Task, model: nn.Module, batch: Batch, autocast: Autocast) -> Tensor:
    with autocast():
        outputs = task.forward(model, batch)
    predictions = task.predict(outputs, batch)
    if not isinstance(predictions, Tensor):
        raise ValueError(
            f"views must be null for task {task.name}: its predictions cannot be averaged, got some"
        )
    return predictions.cpu()


def _combine(
    task: Task,
    views: Mapping[str, View],
    folder: Path,
    *,
    targets: Sequence[Any],
    keys: Sequence[Tensor],
) -> ViewResult:
    sizes = [len(part) for part in keys]
    bounds = list(itertools.pairwise([0, *itertools.accumulate(sizes)]))
    device = keys[0].device
    alone, running = dict[str, dict[str, float]](), dict[str, dict[str, float]]()
    total, weight = 0.0, 0.0
    for name, view in views.items():
        predictions = np.load(folder / f"{name}.npy", mmap_mode="r")

        def compute_metrics(values: NDArray[np.float32]) -> dict[str, float]:
            task.metric.reset()
            for (start, end), target in zip(bounds, targets, strict=True):
                task.metric.update(torch.tensor(values[start:end], device=device), target)
            return task.metric.compute()

        alone[name] = compute_metrics(predictions)
        total = total + view.weight * predictions.astype(np.float64)
        weight += view.weight
        if weight:
            running[name] = compute_metrics((total / weight).astype(np.float32))
    samples = {"keys": torch.cat(list(keys)).cpu(), **task.metric.samples()}
    return ViewResult(alone=alone, running=running, samples=samples)


def _view_digest(view: View, cache_key: Mapping[str, Any], model: nn.Module) -> str:
    """Hash everything that the predictions of a view depend on, which excludes its weight."""
    settings = {key: value for key, value in asdict(view).items() if key != "weight"}
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([settings, cache_key], sort_keys=True, default=list).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _keys_digest(keys: Sequence[Tensor]) -> str:
    return hashlib.blake2b(torch.cat(list(keys)).cpu().numpy().tobytes()).hexdigest()[:32]


def _saved_samples(path: Path, digest: str) -> tuple[str, int] | None:
    """Return the digest of the samples of saved predictions, and their number.

    None if the predictions are missing, damaged, or have another view digest.
    """
    try:
        saved_digest, keys_digest = read_text(path.with_suffix(".digest")).split()
        count = len(np.lib.format.open_memmap(path, mode="r"))
    except (OSError, ValueError, TypeError):  # TypeError: no rows, but a single number
        return None
    return (keys_digest, count) if saved_digest == digest else None


def _save_predictions(path: Path, predictions: Tensor, digest: str, keys: Sequence[Tensor]) -> None:
    """Save predictions, then their digests, so that predictions with digests are complete."""
    path.with_suffix(".digest").unlink(missing_ok=True)
    np.save(path, predictions.numpy())
    write_text(path.with_suffix(".digest"), f"{digest} {_keys_digest(keys)}\n")
