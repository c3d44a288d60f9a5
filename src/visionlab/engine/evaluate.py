"""Evaluation: one model on one split, whatever the task and whatever the model is."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from visionlab.engine.state import total
from visionlab.task import Split, Task

Autocast = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What an evaluation found.

    Attributes:
        numbers: `loss`, each named loss, and the metric's numbers.
        samples: arrays with a row a sample, `keys` first.
    """

    numbers: dict[str, float]
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

    Args:
        task: gives loss, prediction and metric.
        model: any module that is called like the task's own.
        split: the samples.
        batch_size: samples of one forward pass.
        autocast: makes the context of the forward pass.
        check: called between batches; may raise to end the evaluation.
        epoch: which epoch's augmentation to use, where the split has one.
    """
    training = model.training
    model.eval()
    task.metric.reset()
    names: list[str] = []
    losses, keys = [], []
    for batch in split.batches(batch_size=batch_size, epoch=epoch, first_batch=0):
        check()
        with autocast():
            outputs = model(batch.inputs)
        named = task.loss(outputs, batch.targets)
        if named:
            names = ["loss", *named]
            losses.append(torch.stack([total(list(named.values())), *named.values()]))
        task.metric.update(task.predict(outputs, batch), batch.targets)
        keys.append(batch.keys)
    model.train(training)
    means = _weighted_means(losses, [len(batch_keys) for batch_keys in keys])
    return Result(
        numbers={**dict(zip(names, means, strict=True)), **task.metric.compute()},
        samples={"keys": torch.cat(keys), **task.metric.samples()},
    )


def _weighted_means(rows: Sequence[Tensor], weights: Sequence[int]) -> list[float]:
    """Return the weighted mean of each column, in double precision and in a fixed order."""
    if not rows:
        return []
    columns = zip(*torch.stack(list(rows)).tolist(), strict=True)
    return [
        sum(value * weight for value, weight in zip(column, weights, strict=True)) / sum(weights)
        for column in columns
    ]
