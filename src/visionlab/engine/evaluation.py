"""Evaluation: one model on one split, whatever the task and whatever the model is."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from visionlab.core.processes import num_processes, rank, shard_batches
from visionlab.engine.distributed.collectives import broadcast_object, gather_objects
from visionlab.engine.reduction import loss_per_sample, reduced
from visionlab.task import Autocast, Split, Task

_log = logging.getLogger(__name__)
MetricsTable = dict[str, dict[str, dict[str, float]]]  # by split, model, number


@dataclass(frozen=True, kw_only=True)
class Result:
    """What an evaluation found.

    Attributes:
        metrics: `loss`, each named loss, and those of the task's metric.
        samples: `keys`, `loss` (N,) float32 where losses are per sample, and what the metric knows
            of the samples, arrays by name; all on the CPU.
    """

    metrics: dict[str, float]
    samples: dict[str, Tensor]


@torch.no_grad()
def evaluate(
    task: Task,
    model: nn.Module,
    split: Split,
    *,
    batch_size: int,
    autocast: Autocast,
    check: Callable[[], None],
    epoch: int = 0,
) -> Result:
    """Evaluate a model of a task on a split, in eval mode; its weights and buffers stay.

    Processes that share a run evaluate batches by turns, so that nothing depends on their number.
    All get the numbers; the samples are only in the first one, which writes them.

    Args:
        task: gives loss, prediction and metric.
        model: any module that is called like the task's own.
        split: the samples.
        batch_size: samples of one forward pass.
        autocast: makes the context of the forward pass.
        check: called between batches; may raise to end the evaluation.
        epoch: which epoch's augmentation to use, where the split has one.
    """
    task.metric.reset()
    parts = []
    outputs = _outputs(
        task, model, split, batch_size=batch_size, autocast=autocast, check=check, epoch=epoch
    )
    for part in gather_objects(outputs):
        task.metric.update(part.predictions, part.targets)
        parts.append(part._replace(predictions=None, targets=None))
    numbers = broadcast_object(lambda: _numbers(task, parts))
    if rank() > 0:
        return Result(metrics=numbers, samples={})
    keys = torch.cat([part.keys for part in parts])
    samples = {"keys": keys, **_joined([part.sample_losses for part in parts])}
    samples |= task.metric.samples()
    return Result(metrics=numbers, samples={name: values.cpu() for name, values in samples.items()})


class _Part(NamedTuple):
    """What a model makes of a batch."""

    keys: Tensor
    losses: dict[str, Tensor]
    sample_losses: Tensor | None
    predictions: Any
    targets: Any


def _outputs(
    task: Task,
    model: nn.Module,
    split: Split,
    *,
    batch_size: int,
    autocast: Autocast,
    check: Callable[[], None],
    epoch: int,
) -> Iterator[_Part]:
    """Yield what a model, in eval mode, makes of each batch."""
    training = model.training
    model.eval()
    num_turns = math.ceil(split.num_batches(batch_size) / num_processes())
    batches = split.batches(batch_size=batch_size, epoch=epoch, first_batch=0, share=shard_batches)
    for batch in batches:
        check()
        num_turns -= 1
        with autocast():
            outputs = model(batch.inputs)
        named = task.loss(outputs, batch.targets)
        yield _Part(
            keys=batch.keys,
            losses=reduced(named) if named else {},
            sample_losses=loss_per_sample(named),
            predictions=task.predict(outputs, batch),
            targets=batch.targets,
        )
    for _ in range(num_turns):
        check()  # processes check together, though in the last turn not all have a batch
    model.train(training)


def _numbers(task: Task, parts: Sequence[_Part]) -> dict[str, float]:
    """Return the means of the losses and the metric's numbers."""
    rows = [torch.stack(list(part.losses.values())) for part in parts if part.losses]
    means = _weighted_means(rows, [len(part.keys) for part in parts])
    measured = task.metric.compute()
    if all(map(math.isnan, measured.values())):  # nothing is known of these samples
        means = [math.nan] * len(means)
    return {**dict(zip(parts[0].losses, means, strict=True)), **measured}


def evaluate_saved(
    task: Task,
    models: Mapping[str, Mapping[str, Tensor]],
    split: str,
    *,
    batch_size: int,
    autocast: Autocast,
    check: Callable[[], None],
    epoch: int,
) -> dict[str, Result]:
    """Evaluate weights, by model name, on a split; the task's model holds the last of them after.

    Equal weights are evaluated once: often the last epoch was the best.
    See `evaluate` for the other arguments.
    """
    results: dict[str, Result] = {}
    for name, weights in models.items():
        task.model.load_state_dict(weights)
        twins = [other for other in results if _are_equal(models[other], weights)]
        results[name] = (
            results[twins[0]]
            if twins
            else evaluate(
                task,
                task.model,
                task.splits[split],
                batch_size=batch_size,
                autocast=autocast,
                check=check,
                epoch=epoch,
            )
        )
    return results


def _are_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def export(task: Task, results: Mapping[str, Result], folder: Path, split: str) -> None:
    """Write what models, by name, found on a split in the field's own format, if there is one."""
    if task.export is not None:
        for name, result in results.items():
            path = task.export(
                folder / "predictions" / name, label(split), result.samples, task.splits[split]
            )
            _log.info("wrote %s", path)


def label(split: str) -> str:
    """Return what the numbers of a split are called everywhere."""
    return "train_augmented" if split == "train" else split


def _joined(sample_losses: Sequence[Tensor | None]) -> dict[str, Tensor]:
    """Return the losses of all samples by their name; nothing where some batch has none."""
    known = [losses for losses in sample_losses if losses is not None]
    return {"loss": torch.cat(known)} if known and len(known) == len(sample_losses) else {}


def _weighted_means(rows: Sequence[Tensor], weights: Sequence[int]) -> list[float]:
    """Return the weighted mean of each column, in double precision and in a fixed order."""
    if not rows:
        return []
    columns = zip(*torch.stack(list(rows)).tolist(), strict=True)
    return [
        sum(value * weight for value, weight in zip(column, weights, strict=True)) / sum(weights)
        for column in columns
    ]
