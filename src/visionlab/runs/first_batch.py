"""A trial of the model on a few training images, before training begins."""

import itertools

import torch

from visionlab.core.processes import num_processes
from visionlab.engine.freezing import set_train_mode
from visionlab.engine.hparams import Hparams
from visionlab.task import Batch, Split, Task

_TOO_FEW_VALUES = "Expected more than 1 value per channel"  # torch's words of batch norm


def check_first_batch(task: Task, hparams: Hparams, *, sync_batch_norm: bool) -> None:
    """Refuse a model that cannot take the images, or the smallest batch of training.

    The model makes one forward pass in training mode and is left as it was.

    Raises:
        ValueError: the message names the size of the images or of the batch.
    """
    is_synchronised = sync_batch_norm and bool(task.synchronised)
    smallest = _smallest_batch(task.splits["train"], hparams, sync_batch_norm=is_synchronised)
    batches = task.splits["train"].batches(
        batch_size=min(smallest, 2),
        epoch=0,
        first_batch=0,
        shard=lambda rows: itertools.islice(rows, 1),
    )
    is_frozen = hparams.freeze_backbone_epochs == hparams.epochs
    set_train_mode(task, [], is_frozen=is_frozen)
    for batch in batches:
        try:
            _forward(task, batch)
        except (RuntimeError, AssertionError, ValueError) as error:
            if _TOO_FEW_VALUES in str(error):
                raise ValueError(
                    "hparams.batch_size must leave more than one image for every batch where a "
                    f"batch norm sees one value per channel, got {hparams.batch_size} for "
                    f"{len(task.splits['train'])} images; take another batch size, larger images "
                    "or a model without batch norm"
                ) from error
            if isinstance(error, ValueError | torch.OutOfMemoryError):
                raise
            raise ValueError(
                f"model must take images of {_size(batch)}, got {type(task.model).__name__} with: "
                f"{(str(error).splitlines() or [type(error).__name__])[0]}"
            ) from error


def _smallest_batch(train: Split, hparams: Hparams, *, sync_batch_norm: bool) -> int:
    """Return the fewest images over which a batch norm takes its mean."""
    part_size = hparams.batch_size // hparams.accumulate_steps
    last = len(train) - (train.num_batches(part_size) - 1) * part_size
    smallest = min(part_size, last)
    return smallest if sync_batch_norm else max(1, smallest // num_processes())


@torch.no_grad()
def _forward(task: Task, batch: Batch) -> None:
    before = [buffer.clone() for buffer in task.model.buffers()]
    try:
        task.forward(task.model, batch)
    finally:
        for buffer, value in zip(task.model.buffers(), before, strict=True):
            buffer.copy_(value)


def _size(batch: Batch) -> str:
    shape: tuple[int, ...] = getattr(batch.inputs, "shape", ())
    return f"{shape[-1]}x{shape[-2]}" if len(shape) in (4, 5) else "the data set's size"
