"""Evaluation of any model on a split of any task."""

import copy
import functools
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from visionlab.core.processes import num_processes, rank, shard_batches
from visionlab.engine.distributed.collectives import broadcast_object, gather_objects
from visionlab.engine.reduction import loss_per_sample, reduce_losses
from visionlab.engine.speed import SILENT_SECONDS, describe_speed
from visionlab.task import Autocast, Batch, Metric, Split, Task

_log = logging.getLogger(__name__)
MetricsTable = dict[str, dict[str, dict[str, float]]]  # by split, model, metric


@dataclass(frozen=True, kw_only=True)
class Result:
    """Result of an evaluation.

    Attributes:
        metrics: `loss`, each named loss, and the values of the task's metric.
        samples: per-sample arrays by name, on the CPU: `keys`, `loss` (N,) float32 if losses are
            per sample, and those of the metric.
    """

    metrics: dict[str, float]
    samples: dict[str, Tensor]


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
    """Evaluate one model on a split; see `evaluate_models`."""
    results = evaluate_models(
        task,
        {"model": model},
        split,
        batch_size=batch_size,
        autocast=autocast,
        check=check,
        epoch=epoch,
    )
    return results["model"]


@torch.no_grad()
def evaluate_models(
    task: Task,
    models: Mapping[str, nn.Module],
    split: Split,
    *,
    batch_size: int,
    autocast: Autocast,
    check: Callable[[], None],
    epoch: int = 0,
) -> dict[str, Result]:
    """Evaluate models on a split in eval mode; their weights and buffers do not change.

    All of them see a batch before the next one is made. Processes that share a run take batches in
    turn, so results do not depend on their number. All processes get the metrics; only rank 0,
    which writes files, gets the samples.

    Args:
        task: provides loss, prediction and metric, which each model gets a copy of.
        models: by name, modules with the signature of `task.evaluated`.
        split: the samples.
        batch_size: samples per forward pass.
        autocast: makes the context of a forward pass.
        check: called between batches; may raise to end the evaluation.
        epoch: selects the augmentation of an augmented split.
    """
    task.metric.reset()
    metrics = {name: copy.deepcopy(task.metric) for name in models}
    evaluated = functools.partial(
        _evaluate_batches,
        task,
        models,
        batch_size=batch_size,
        autocast=autocast,
        check=check,
        epoch=epoch,
    )
    bank: Split | None = getattr(split, "bank", None)
    for parts in gather_objects(evaluated(bank)) if bank else ():
        for name, part in parts.items():
            metrics[name].remember(part.predictions, part.targets)  # type: ignore[attr-defined]
    kept: dict[str, list[_BatchResult]] = {name: [] for name in models}
    for parts in gather_objects(evaluated(split)):
        for name, part in parts.items():
            metrics[name].update(part.predictions, part.targets)
            kept[name].append(part._replace(predictions=None, targets=None))
    return {name: _result(metrics[name], kept[name]) for name in models}


def _result(metric: Metric, parts: Sequence["_BatchResult"]) -> Result:
    """Return the result of one model; all processes call this at the same point."""
    metrics = broadcast_object(lambda: _compute_metrics(metric, parts))
    if rank() > 0:
        return Result(metrics=metrics, samples={})
    keys = torch.cat([part.keys for part in parts])
    samples = {"keys": keys, **_concatenate_losses([part.sample_losses for part in parts])}
    samples |= metric.samples()
    return Result(metrics=metrics, samples={name: values.cpu() for name, values in samples.items()})


class _BatchResult(NamedTuple):
    """Losses and predictions of a batch."""

    keys: Tensor
    losses: dict[str, Tensor]
    sample_losses: Tensor | None
    predictions: Any
    targets: Any


def _evaluate_batches(
    task: Task,
    models: Mapping[str, nn.Module],
    split: Split,
    *,
    batch_size: int,
    autocast: Autocast,
    check: Callable[[], None],
    epoch: int,
) -> Iterator[dict[str, _BatchResult]]:
    """Yield the results of each batch of this rank by model, with the models in eval mode."""
    were_training = [model for model in models.values() if model.training]
    for model in models.values():
        model.eval()
    started = logged = time.monotonic()
    num_done = 0
    num_rounds = math.ceil(split.num_batches(batch_size) / num_processes())
    batches = split.batches(batch_size=batch_size, epoch=epoch, first_batch=0, shard=shard_batches)
    for batch in batches:
        check()
        num_rounds -= 1
        if (now := time.monotonic()) - logged >= SILENT_SECONDS:
            logged, speed = now, describe_speed(num_done, now - started)
            _log.info("evaluating: %d of %d images  %s", num_done, len(split), speed)
        num_done += len(batch.keys) * num_processes()
        yield {
            name: _evaluate_batch(task, model, batch, autocast) for name, model in models.items()
        }
    for _ in range(num_rounds):
        check()  # a collective, also for ranks without a batch in the last round
    for model in were_training:
        model.train()


def _evaluate_batch(task: Task, model: nn.Module, batch: Batch, autocast: Autocast) -> _BatchResult:
    with autocast():
        outputs = task.forward(model, batch)
    named = task.loss(outputs, batch.targets)
    return _BatchResult(
        keys=batch.keys,
        losses=reduce_losses(named) if named else {},
        sample_losses=loss_per_sample(named),
        predictions=task.predict(outputs, batch),
        targets=batch.targets,
    )


def _compute_metrics(metric: Metric, parts: Sequence[_BatchResult]) -> dict[str, float]:
    rows = [torch.stack(list(part.losses.values())) for part in parts if part.losses]
    means = _weighted_means(rows, [len(part.keys) for part in parts])
    values = metric.compute()
    if all(map(math.isnan, values.values())):  # the samples have no labels
        means = [math.nan] * len(means)
    return {**dict(zip(parts[0].losses, means, strict=True)), **values}


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
    """Evaluate saved weights on a split; `task.evaluated` holds the last of them afterwards.

    Equal weights are evaluated once, since the last epoch is often the best. One after another, so
    that one model at a time takes memory. `models` holds weights by model name; see `evaluate` for
    the other arguments.
    """
    results: dict[str, Result] = {}
    same_as = equal_models(models)
    for name, weights in models.items():
        task.evaluated.load_state_dict(weights)
        if name in same_as:
            results[name] = results[same_as[name]]
            continue
        results[name] = evaluate(
            task,
            task.evaluated,
            task.splits[split],
            batch_size=batch_size,
            autocast=autocast,
            check=check,
            epoch=epoch,
        )
    return results


def equal_models(models: Mapping[str, Mapping[str, Tensor]]) -> dict[str, str]:
    """Return the models whose weights are those of one before, each with the name of that one."""
    same_as: dict[str, str] = {}
    for name, weights in models.items():
        for other in models:
            if other == name:
                break
            if other not in same_as and _are_equal(models[other], weights):
                same_as[name] = other
                break
    return same_as


def _are_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def export_predictions(task: Task, results: Mapping[str, Result], folder: Path, split: str) -> None:
    """Write the predictions of models on a split in the format of the field, if there is one."""
    if task.export is not None:
        for name, result in results.items():
            target, samples = folder / "predictions" / name, result.samples
            path = task.export(target, split_label(split), samples, task.splits[split])
            _log.info("wrote %s", path)


def split_label(split: str) -> str:
    """Return the label of a split in metrics, files and tables."""
    return "train_augmented" if split == "train" else split


def _concatenate_losses(sample_losses: Sequence[Tensor | None]) -> dict[str, Tensor]:
    """Return the losses of all samples as `loss`; empty if a batch has no per-sample losses."""
    known = [losses for losses in sample_losses if losses is not None]
    return {"loss": torch.cat(known)} if known and len(known) == len(sample_losses) else {}


def _weighted_means(rows: Sequence[Tensor], weights: Sequence[int]) -> list[float]:
    """Return the weighted mean of each column, in double precision and fixed order."""
    if not rows:
        return []
    columns = zip(*torch.stack(list(rows)).tolist(), strict=True)
    return [
        sum(value * weight for value, weight in zip(column, weights, strict=True)) / sum(weights)
        for column in columns
    ]
