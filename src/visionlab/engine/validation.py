"""Validation after an epoch: metrics of the model and its averages, and the best weights."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from visionlab.core import seeding
from visionlab.core.interrupt import Signals
from visionlab.core.processes import shard_rows
from visionlab.engine.checkpoints import best_name
from visionlab.engine.distributed.data_parallel import broadcast_buffers
from visionlab.engine.evaluation import Result, evaluate_models
from visionlab.engine.hparams import Evaluation, Hparams
from visionlab.engine.shared_runs import CheckpointWriter
from visionlab.engine.state import Best, TrainState
from visionlab.optim.averaging import Average, recompute_buffers, weight_distance, weight_norm
from visionlab.task import Autocast, Batch, Task, model_input


def named_models(model: nn.Module, averages: Sequence[Average]) -> dict[str, nn.Module]:
    """Return the model in training as `model`, and its averages by name."""
    return {"model": model} | {average.name: average.module for average in averages}


def validate(
    task: Task,
    averages: Sequence[Average],
    *,
    state: TrainState,
    hparams: Hparams,
    evaluation: Evaluation,
    signals: Signals,
    autocast: Autocast,
    seed: int,
) -> dict[str, Result]:
    """Validate the model and every average; return results by name, empty without `val`.

    Buffers of averages with `buffers=recomputed` are recomputed even without `val`, because the
    averages are saved afterwards.
    """
    for average in averages:
        if average.buffers == "recomputed":
            seeding.seed_everything(seeding.derive(seed, "recompute", state.step))
            batches = task.splits["train"].batches(
                batch_size=hparams.batch_size, epoch=state.epoch, first_batch=0, shard=shard_rows
            )
            with autocast():
                inputs = _inputs(average.module, batches, signals)
                recompute_buffers(average.module, inputs)
            broadcast_buffers(average.module)
    if "val" not in task.splits:
        return {}
    return evaluate_models(
        task,
        named_models(task.evaluated, averages),
        task.splits["val"],
        batch_size=evaluation.batch_size,
        autocast=autocast,
        check=signals.check,
    )


def _inputs(model: nn.Module, batches: Iterator[Batch], signals: Signals) -> Iterator[tuple[Any]]:
    """Yield the argument of the model for each batch; raise if a signal came meanwhile."""
    for batch in batches:
        signals.check()
        yield (model_input(model, batch),)


def metrics_row(
    state: TrainState,
    model: nn.Module,
    averages: Sequence[Average],
    results: Mapping[str, Result],
    *,
    epoch: float,
    lr: float,
) -> dict[str, float]:
    """Return one row of `metrics.jsonl`; nothing in it depends on time or machine.

    `epoch` is whole unless a rule stopped training within an epoch; `lr` is the rate of the last
    step.
    """
    row = {"epoch": int(epoch) if epoch == int(epoch) else epoch, "step": state.step, "lr": lr}
    row |= {f"train/{name}": value for name, value in state.means.means().items()}
    row["norm/model"] = weight_norm(model).item()
    for average in averages:
        row[f"norm/{average.name}"] = weight_norm(average.module).item()
        row[f"norm/model_minus_{average.name}"] = weight_distance(average.module, model).item()
    for name, result in results.items():
        row |= {f"val/{name}/{metric}": value for metric, value in result.metrics.items()}
    return row


def save_best(
    task: Task,
    averages: Sequence[Average],
    results: Mapping[str, Result],
    *,
    state: TrainState,
    checkpoints: CheckpointWriter,
) -> None:
    """Save each model whose monitored metric is its best so far; ties keep the first."""
    models = named_models(task.evaluated, averages)
    for name, result in results.items():
        value, best = result.metrics[task.monitor], state.best.get(name)
        if not math.isnan(value) and (best is None or task.is_better(value, best.value)):
            state.best[name] = Best(value=value, epoch=state.epoch)
            checkpoints.save_model(best_name(name), models[name], step=state.step)


def best_so_far(state: TrainState, results: Mapping[str, Result]) -> dict[str, float]:
    """Return `best/<name>` of each model after validation: 1 if this epoch is its best, else 0."""
    return {
        f"best/{name}": int(name in state.best and state.best[name].epoch == state.epoch)
        for name in results
    }


def save_epoch(
    task: Task,
    averages: Sequence[Average],
    results: Mapping[str, Result],
    *,
    state: TrainState,
    checkpoints: CheckpointWriter,
) -> None:
    """Save each model's weights after an epoch, where they are due."""
    for name, model in named_models(task.evaluated, averages).items():
        value = results[name].metrics[task.monitor] if name in results else math.nan
        score = None if math.isnan(value) else value if task.mode == "max" else -value
        checkpoints.save_epoch(name, model, epoch=state.epoch, step=state.step, score=score)
