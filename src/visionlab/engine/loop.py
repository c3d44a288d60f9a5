"""The loop. It trains every task and knows none of them.

A step asks the task for named losses and sums them. What is random in a step follows from (seed,
step), what is random in the data from (seed, epoch, sample): a run goes on from a checkpoint as if
it had never stopped. Where several processes share a run, each goes through the same steps with its
share of every batch, and only the first has observers and writes checkpoints.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from torch import Tensor, nn
from torch.optim import Optimizer

from visionlab.core import seeding
from visionlab.core.interrupt import Interrupted, Signals
from visionlab.core.processes import shard_rows
from visionlab.engine.checkpoints import CheckpointWriter
from visionlab.engine.distributed.collectives import all_reduce_max, all_reduce_sum
from visionlab.engine.distributed.data_parallel import (
    all_reduce_gradients,
    broadcast_buffers,
    rank_seed,
)
from visionlab.engine.freezing import train_mode, trained_parameters
from visionlab.engine.hparams import Evaluation, Hparams, Stop
from visionlab.engine.observers import Observer
from visionlab.engine.reduction import reduced
from visionlab.engine.state import TrainState
from visionlab.engine.validation import keep_best, metrics_row, validate
from visionlab.optim.averaging import Average
from visionlab.optim.plateau import NO_WATCH, Watch
from visionlab.task import Autocast, Batch, Split, Task


def fit(  # noqa: C901 - the one loop, read from top to bottom
    task: Task,
    optimizer: Optimizer,
    schedule: Callable[[int], float],
    *,
    state: TrainState,
    hparams: Hparams,
    stop: Stop,
    evaluation: Evaluation,
    checkpoints: CheckpointWriter,
    signals: Signals,
    autocast: Autocast,
    seed: int,
    watch: Watch = NO_WATCH,
    averages: Sequence[Average] = (),
    observers: Sequence[Observer] = (),
) -> None:
    """Train a task from `state` to its last epoch, or until a rule or a signal stops it.

    Args:
        task: the parts.
        optimizer: over the parameters of `task.model`; each group has its rate in `initial_lr`.
        schedule: maps the number of steps done to the factor on every `initial_lr`.
        state: where to start; it moves along.
        hparams: length and batch size, clipping, which samples count and what is frozen.
        stop: when to end early.
        evaluation: how often to validate.
        checkpoints: where weights are saved.
        signals: asked between steps whether the run should end.
        autocast: makes the context of forward passes.
        seed: of what is random in the steps.
        watch: looks at losses and rows for a schedule that lowers the rate on a plateau.
        averages: of the model's weights, updated after each step and validated beside the model.
        observers: see every step and epoch, and change nothing.

    Raises:
        FloatingPointError: a loss is not finite; the last good checkpoint stays.
        Interrupted: a signal came, and `last.pt` was saved.
        OSError: a checkpoint cannot be written.
    """
    epoch_steps = steps_per_epoch(task.splits["train"], hparams)
    backbone = trained_parameters(task.backbone)
    seed = rank_seed(seed)
    started = time.monotonic() - state.seconds
    try:
        while not _is_over(state, stop, epochs=hparams.epochs):
            train_mode(task, backbone, is_frozen=state.epoch < hparams.freeze_backbone_epochs)
            for parts in _steps(task.splits["train"], state, hparams):
                seeding.seed_everything(seeding.derive(seed, "step", state.step))
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * schedule(state.step) * state.plateau.factor
                optimizer.zero_grad()
                scalars, num_samples = _backward(task, parts, autocast, hparams.hard_examples)
                scalars = all_reduce_gradients(task.model, scalars)
                if hparams.grad_clip_max_norm:
                    nn.utils.clip_grad_norm_(task.model.parameters(), hparams.grad_clip_max_norm)
                optimizer.step()
                broadcast_buffers(task.model)
                seconds = all_reduce_max(time.monotonic() - started)
                state.finish_step(scalars, num_samples, seconds=seconds)
                watch.after_step(state.plateau, scalars["loss"], step=state.step)
                for average in averages:
                    average.update(state.step)
                for observer in observers:
                    observer.on_step(
                        state, lr=_lr(optimizer), loss=scalars["loss"], num_samples=num_samples
                    )
                if checkpoints.due():
                    checkpoints.save_last(state, task.model, optimizer, averages)
                signals.check()
                if state.check_stop(stop):
                    break
            epoch = state.epoch + state.epoch_step / epoch_steps
            results = {}
            if evaluation.is_due(epoch, epochs=hparams.epochs) or state.stopped:
                results = validate(
                    task,
                    averages,
                    state=state,
                    hparams=hparams,
                    evaluation=evaluation,
                    signals=signals,
                    autocast=autocast,
                    seed=seed,
                )
            row = metrics_row(state, task.model, averages, results, epoch=epoch, lr=_lr(optimizer))
            watch.after_epoch(state.plateau, row)
            if state.epoch_step == epoch_steps:
                state.finish_epoch()
                keep_best(task, averages, results, state=state, checkpoints=checkpoints)
            for observer in observers:
                observer.on_epoch(row, results)
            state.row_step = state.step
            checkpoints.save_last(state, task.model, optimizer, averages)
    except Interrupted:
        checkpoints.save_last(state, task.model, optimizer, averages)
        raise
    for average in averages:
        checkpoints.save_model(average.name, average.module, step=state.step)


def steps_per_epoch(train: Split, hparams: Hparams) -> int:
    """Return the optimizer steps of one epoch; the last one may have fewer samples."""
    num_parts = train.num_batches(hparams.batch_size // hparams.accumulate_steps)
    return math.ceil(num_parts / hparams.accumulate_steps)


def _is_over(state: TrainState, stop: Stop, *, epochs: int) -> bool:
    """Return whether nothing is left to do; where a rule stopped, a row may still be missing."""
    return state.epoch == epochs or (state.check_stop(stop) and state.row_step == state.step)


def _steps(train: Split, state: TrainState, hparams: Hparams) -> Iterator[list[Batch]]:
    """Yield what is left of the epoch, the batches of one optimizer step at a time."""
    if state.stopped:
        return
    batches = train.batches(
        batch_size=hparams.batch_size // hparams.accumulate_steps,
        epoch=state.epoch,
        first_batch=state.epoch_step * hparams.accumulate_steps,
        share=shard_rows,
    )
    while parts := list(islice(batches, hparams.accumulate_steps)):
        yield parts


def _backward(
    task: Task, parts: Sequence[Batch], autocast: Autocast, band: Sequence[float] | None
) -> tuple[dict[str, Tensor], int]:
    """Add up the gradients of one step; return its scalars and its number of samples.

    Where processes share a step, gradients and scalars are this one's part of the sum over all.
    """
    num_samples = all_reduce_sum(sum(len(part.keys) for part in parts))
    scalars: dict[str, Tensor] = {}
    for part in parts:
        with autocast():
            losses, extra_scalars = task.losses(part)
        losses = reduced(losses, band=band)
        share = len(part.keys) / num_samples
        (losses["loss"] * share).backward()  # type: ignore[no-untyped-call]
        for name, value in {**losses, **extra_scalars}.items():
            scalars[name] = scalars.get(name, 0.0) + value.detach() * share
    return scalars, num_samples


def _lr(optimizer: Optimizer) -> float:
    """Return the learning rate of the step just done; with layer-wise decay the all_reduce_max."""
    return float(max(group["lr"] for group in optimizer.param_groups))
