"""The training loop for every task; it depends on none of them.

A step asks the task for named losses and sums them. Randomness in a step depends only on (seed,
step), and in the data only on (seed, epoch, sample), so a run resumes bit-exactly. If several
processes share a run, each takes the same steps with its shard of every batch; only rank 0 has
observers and writes checkpoints.
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
from visionlab.engine.distributed.collectives import all_reduce_max, all_reduce_sum
from visionlab.engine.distributed.data_parallel import (
    all_reduce_gradients,
    broadcast_buffers,
    rank_seed,
)
from visionlab.engine.freezing import set_train_mode, trainable_parameters
from visionlab.engine.hparams import Evaluation, Hparams, Stop
from visionlab.engine.observers import Observer
from visionlab.engine.reduction import reduce_losses
from visionlab.engine.shared_runs import CheckpointWriter
from visionlab.engine.state import TrainState
from visionlab.engine.validation import best_so_far, metrics_row, save_best, save_epoch, validate
from visionlab.optim.averaging import Average
from visionlab.optim.plateau import NO_PLATEAU, PlateauTracker
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
    plateau: PlateauTracker = NO_PLATEAU,
    averages: Sequence[Average] = (),
    observers: Sequence[Observer] = (),
) -> None:
    """Train a task from `state` to its last epoch, or until a rule or a signal stops it.

    Args:
        task: the parts of the task.
        optimizer: for the parameters of `task.model`; each group has its base rate in `initial_lr`.
        schedule: maps the number of steps done to the factor on every `initial_lr`.
        state: where to start; updated in place.
        hparams: training length, batch size, gradient clipping, hard examples and freezing.
        stop: early-stopping rules.
        evaluation: how often to validate.
        checkpoints: saves the state and weights.
        signals: checked between steps for requests to end the run.
        autocast: makes the context of forward passes.
        seed: seed of the randomness in steps.
        plateau: feeds losses and rows to a schedule that lowers the rate on a plateau.
        averages: averages of `task.evaluated`, updated after each step and validated like it.
        observers: called after every step and epoch; they change nothing.

    Raises:
        FloatingPointError: a loss is not finite; the last good checkpoint stays.
        Interrupted: a signal came; `last.pt` is saved.
        OSError: a checkpoint cannot be written.
    """
    epoch_steps = steps_per_epoch(task.splits["train"], hparams)
    backbone = trainable_parameters(task.backbone)
    seed = rank_seed(seed)
    started = time.monotonic() - state.seconds
    try:
        while not _is_finished(state, stop, epochs=hparams.epochs):
            set_train_mode(task, backbone, is_frozen=state.epoch < hparams.freeze_backbone_epochs)
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
                task.after_step()
                broadcast_buffers(task.evaluated)
                seconds = all_reduce_max(time.monotonic() - started)
                state.finish_step(scalars, num_samples, seconds=seconds)
                plateau.after_step(state.plateau, scalars["loss"], step=state.step)
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
            row = metrics_row(
                state, task.evaluated, averages, results, epoch=epoch, lr=_lr(optimizer)
            )
            plateau.after_epoch(state.plateau, row)
            if state.epoch_step == epoch_steps:
                state.finish_epoch()
                save_best(task, averages, results, state=state, checkpoints=checkpoints)
                row |= best_so_far(state, results)
                save_epoch(task, averages, results, state=state, checkpoints=checkpoints)
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
    """Return the optimizer steps per epoch; the last one may have fewer samples."""
    num_parts = train.num_batches(hparams.batch_size // hparams.accumulate_steps)
    return math.ceil(num_parts / hparams.accumulate_steps)


def _is_finished(state: TrainState, stop: Stop, *, epochs: int) -> bool:
    """Return whether training is done; after a stop, the last metrics row must be written too."""
    return state.epoch == epochs or (state.check_stop(stop) and state.row_step == state.step)


def _steps(train: Split, state: TrainState, hparams: Hparams) -> Iterator[list[Batch]]:
    """Yield the remaining micro-batches of the epoch, one optimizer step at a time."""
    if state.stopped:
        return
    batches = train.batches(
        batch_size=hparams.batch_size // hparams.accumulate_steps,
        epoch=state.epoch,
        first_batch=state.epoch_step * hparams.accumulate_steps,
        shard=shard_rows,
    )
    while parts := list(islice(batches, hparams.accumulate_steps)):
        yield parts


def _backward(
    task: Task, parts: Sequence[Batch], autocast: Autocast, band: Sequence[float] | None
) -> tuple[dict[str, Tensor], int]:
    """Accumulate the gradients of one step; return its scalars and its number of samples.

    If processes share a step, gradients and scalars are this rank's summand.
    """
    num_samples = all_reduce_sum(sum(len(part.keys) for part in parts))
    scalars: dict[str, Tensor] = {}
    for part in parts:
        with autocast():
            losses, extra_scalars = task.losses(part)
        losses = reduce_losses(losses, band=band)
        weight = len(part.keys) / num_samples
        (losses["loss"] * weight).backward()  # type: ignore[no-untyped-call]
        for name, value in {**losses, **extra_scalars}.items():
            scalars[name] = scalars.get(name, 0.0) + value.detach() * weight
    return scalars, num_samples


def _lr(optimizer: Optimizer) -> float:
    """Return the learning rate of the last step, the highest one with layer-wise decay."""
    return float(max(group["lr"] for group in optimizer.param_groups))
