"""Test-time views: one model sees each image several times, and its predictions are averaged.

The predictions of each view are kept, in the sample's own units: other weights, or fewer views,
then take no model.
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
from torch import Tensor, nn

from visionlab.files.atomic import write_text
from visionlab.images.views import View
from visionlab.task import Autocast, Batch, Task

_Array = np.ndarray[Any, np.dtype[np.float32]]


class MultiViewSplit(Protocol):
    """A split that shows each image in several views, decoded once."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def view_batches(self, *, batch_size: int, views: Sequence[View]) -> Iterator[list[Batch]]:
        """Yield each batch as it is seen in each view."""


@dataclass(frozen=True, kw_only=True)
class ViewResult:
    """What views gave.

    Attributes:
        alone: the metric's numbers of each view, by its name.
        running: those of the weighted mean of this view and all before it.
        samples: `keys`, and what the metric knows of the samples under the mean of all views.
    """

    alone: dict[str, dict[str, float]]
    running: dict[str, dict[str, float]]
    samples: dict[str, Tensor]

    def describe_gain(self, number: str) -> str:
        """Return in words what all views give beside the first one alone."""
        first, last = next(iter(self.alone)), list(self.running)[-1]
        before, after = self.alone[first][number], self.running[last][number]
        change = f" ({after / before - 1.0:+.2%})" if before else ""
        return f"{number} is {before:.4f} in view {first} and {after:.4f} in all{change}"


def check_views(views: Mapping[str, View]) -> None:
    """Refuse views that no mean can be made of.

    Raises:
        ValueError: there is none, or the weights add up to nothing.
    """
    if not views:
        raise ValueError("views must have at least one view, got none")
    if not sum(view.weight for view in views.values()) > 0:
        weights = ", ".join(f"{name}={view.weight:g}" for name, view in views.items())
        raise ValueError(f"views must have weights that add up to more than 0, got {weights}")


@torch.no_grad()
def evaluate_views(
    task: Task,
    model: nn.Module,
    split: MultiViewSplit,
    views: Mapping[str, View],
    *,
    folder: Path,
    about: Mapping[str, Any],
    batch_size: int,
    autocast: Autocast,
    check: Callable[[], None],
) -> ViewResult:
    """Evaluate the weighted means of a model's predictions over views of a split.

    Args:
        task: gives prediction and metric; its predictions are one tensor a batch, of which a mean
            makes sense.
        model: called like the task's own, in eval mode.
        split: the samples.
        views: by name, in the order in which the running mean takes them in.
        folder: where predictions are kept, one `<view>.npy` each, in the order of the split.
        about: what else the predictions depend on; kept ones are used where it is the same and the
            split has the same samples.
        batch_size: samples of one forward pass.
        autocast: makes the context of the forward pass.
        check: called between batches; may raise to end the evaluation.

    Raises:
        ValueError: the predictions are no tensors, or `check_views` finds something.
    """
    check_views(views)
    digests = {name: _digest(view, about, model) for name, view in views.items()}
    was_training = model.training

    def look(names: Sequence[str]) -> tuple[list[Any], list[Tensor]]:
        """Keep predictions of some views, and return targets and keys."""
        written: dict[str, list[Tensor]] = {name: [] for name in names}
        targets, keys = [], []
        shown = [views[name] for name in names] or list(views.values())[:1]  # for targets alone
        model.eval()
        for batches in split.view_batches(batch_size=batch_size, views=shown):
            check()
            for name, batch in zip(names, batches, strict=False):
                written[name].append(_predict(task, model, batch, autocast))
            targets.append(batches[0].targets)
            keys.append(batches[0].keys)
        model.train(was_training)
        folder.mkdir(parents=True, exist_ok=True)
        for name, predictions in written.items():
            _keep(folder / f"{name}.npy", torch.cat(predictions), digests[name], keys)
        return targets, keys

    kept_of = {name: _kept_keys(folder / f"{name}.npy", digests[name]) for name in views}
    targets, keys = look([name for name, kept in kept_of.items() if kept is None])
    stale = [name for name, kept in kept_of.items() if kept not in (None, _digest_of(keys))]
    if stale:
        targets, keys = look(stale)
    return _combine(task, views, folder, targets=targets, keys=keys)


def _predict(task: Task, model: nn.Module, batch: Batch, autocast: Autocast) -> Tensor:
    with autocast():
        outputs = model(batch.inputs)
    predictions = task.predict(outputs, batch)
    if not isinstance(predictions, Tensor):
        raise ValueError(
            f"views must be null for task {task.name}, whose predictions have no mean, got some"
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
    """Return the numbers of kept predictions, alone and together."""
    sizes = [len(part) for part in keys]
    bounds = list(itertools.pairwise([0, *itertools.accumulate(sizes)]))
    device = keys[0].device
    alone, running = dict[str, dict[str, float]](), dict[str, dict[str, float]]()
    total, weight = 0.0, 0.0
    for name, view in views.items():
        predictions = np.load(folder / f"{name}.npy", mmap_mode="r")

        def numbers(values: _Array) -> dict[str, float]:
            task.metric.reset()
            for (start, end), target in zip(bounds, targets, strict=True):
                task.metric.update(torch.tensor(values[start:end], device=device), target)
            return task.metric.compute()

        alone[name] = numbers(predictions)
        total = total + view.weight * predictions.astype(np.float64)
        weight += view.weight
        if weight:
            running[name] = numbers((total / weight).astype(np.float32))
    return ViewResult(
        alone=alone,
        running=running,
        samples={"keys": torch.cat(list(keys)).cpu(), **task.metric.samples()},
    )


def _digest(view: View, about: Mapping[str, Any], model: nn.Module) -> str:
    """Return what the predictions of a view follow from, without its weight, as one word."""
    settings = {key: value for key, value in asdict(view).items() if key != "weight"}
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([settings, about], sort_keys=True, default=list).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _digest_of(keys: Sequence[Tensor]) -> str:
    """Return which samples come in which order, as one word."""
    return hashlib.blake2b(torch.cat(list(keys)).cpu().numpy().tobytes()).hexdigest()[:32]


def _kept_keys(path: Path, digest: str) -> str | None:
    """Return the digest of the keys that kept predictions belong to.

    None if they are not there, not whole, or of something else than the digest says.
    """
    mark = path.with_suffix(".digest")
    if not (path.is_file() and mark.is_file()):
        return None
    kept, *of_keys = mark.read_text().split()
    return of_keys[0] if kept == digest and of_keys else None


def _keep(path: Path, predictions: Tensor, digest: str, keys: Sequence[Tensor]) -> None:
    """Write predictions; the mark comes last, so that what is marked is whole."""
    path.with_suffix(".digest").unlink(missing_ok=True)
    np.save(path, predictions.numpy())
    write_text(path.with_suffix(".digest"), f"{digest} {_digest_of(keys)}\n")
