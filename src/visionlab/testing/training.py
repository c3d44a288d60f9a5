"""Train a small task in one call, for tests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from visionlab.core.interrupt import Signals
from visionlab.core.processes import rank
from visionlab.engine.checkpoints import Checkpoints, load_last, restore
from visionlab.engine.distributed.collectives import all_reduce_max, broadcast_object
from visionlab.engine.distributed.data_parallel import prepare_model
from visionlab.engine.epoch_files import Checkpointing
from visionlab.engine.hparams import Evaluation, Hparams, Stop
from visionlab.engine.loop import fit, steps_per_epoch
from visionlab.engine.observers import MetricsFile, Observer
from visionlab.engine.resume_points import common_resume_points, rewind
from visionlab.engine.state import TrainState
from visionlab.engine.validation import named_models
from visionlab.files.run_folder import read_rows
from visionlab.optim.averaging import Average, Averages
from visionlab.optim.optimizers import Sgd
from visionlab.optim.plateau import make_plateau_tracker
from visionlab.optim.schedules import Constant, Schedule
from visionlab.task import Task

NO_STOP = Stop(patience_epochs=None, max_steps=None, max_minutes=None)
NO_EPOCH_FILES = Checkpointing(
    every_minutes=None, every_epochs=None, keep="all", snapshots=None, snapshots_last_epochs=None
)
PLAN = Hparams(
    epochs=3,
    batch_size=16,
    accumulate_steps=1,
    grad_clip_max_norm=None,
    hard_examples=None,
    freeze_backbone_epochs=0,
)
EACH_EPOCH = Evaluation(every_epochs=1, batch_size=8, test=True, train="none")
NO_PLATEAU = Constant(warmup_steps=0, warmup_epochs=0, warmup_ratio=0.0)


@dataclass
class Trained:
    """Outcome of a training."""

    task: Task  # with its last weights
    averages: list[Average]
    state: TrainState
    rows: list[dict[str, float]]  # of `metrics.jsonl`

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return every tensor of the model, all of it, and of the averages, by name."""
        modules = named_models(self.task.model, self.averages)
        return {
            f"{name}.{key}": value
            for name, module in modules.items()
            for key, value in module.state_dict().items()
        }


def averages_of(**settings: Any) -> Averages:
    """Return averages with some settings changed; by default two exponential ones."""
    defaults: dict[str, Any] = {
        "decay": [0.5, 0.9],
        "uniform": False,
        "start_step": 0,
        "interval_steps": 1,
        "warmup_power": None,
        "buffers": "averaged",
    }
    return Averages(**{**defaults, **settings})


def train(
    make_task: Callable[[], Task],
    folder: Path,
    *,
    hparams: Hparams = PLAN,
    stop: Stop = NO_STOP,
    evaluation: Evaluation = EACH_EPOCH,
    averaged: Averages | None = None,
    observers: Sequence[Observer] = (),
    schedule: Callable[[int], float] = lambda step: 1.0 / (1 + 0.1 * step),
    plateau: Schedule = NO_PLATEAU,
    signals: Signals | None = None,
    checkpointing: Checkpointing = NO_EPOCH_FILES,
    resume: bool = False,
    sync_batch_norm: bool = True,
    lr: float = 0.05,
    optimizer: Callable[[nn.Module], Optimizer] | None = None,
    change: Callable[[Task], None] | None = None,
) -> Trained:
    """Train a task in `folder`, from its last checkpoint if it is to be resumed."""
    folder.mkdir(exist_ok=True)
    task = make_task()
    if change is not None:
        change(task)
    prepare_model(task, sync_batch_norm=sync_batch_norm)
    sgd = Sgd(
        lr=lr,
        weight_decay=1e-4,
        momentum=0.9,
        nesterov=False,
        decay_norms_and_biases=True,
        layer_decay=None,
    )
    steps = (optimizer or sgd)(task.model)
    averages = (averages_of() if averaged is None else averaged)(task.evaluated)
    state, epoch_steps = TrainState(), steps_per_epoch(task.splits["train"], hparams)
    if resume:
        last = broadcast_object(lambda: _last(folder / "checkpoints"))
        assert last is not None
        by_name = {average.name: average for average in averages}
        state = restore(last, model=task.model, optimizer=steps, averages=by_name)
    rows = MetricsFile(folder / "metrics.jsonl", epoch=state.epoch)
    fit(
        task,
        steps,
        schedule,
        state=state,
        hparams=hparams,
        stop=stop,
        evaluation=evaluation,
        checkpoints=Checkpoints(
            folder / "checkpoints",
            metadata={"config": {}},
            settings=checkpointing,
            snapshot_epochs=checkpointing.snapshot_epochs(
                epochs=hparams.epochs, cycle_ends=[], steps_per_epoch=epoch_steps
            ),
        ),
        signals=signals or Signals(all_reduce=all_reduce_max),
        autocast=partial(torch.autocast, "cpu", enabled=False),
        seed=5,
        plateau=make_plateau_tracker(
            plateau,
            total_steps=hparams.epochs * epoch_steps,
            steps_per_epoch=epoch_steps,
            every_epochs=evaluation.every_epochs,
        ),
        averages=averages,
        observers=[] if rank() else [rows, *observers],
    )
    return Trained(task, averages, state, read_rows(folder / "metrics.jsonl"))


def _last(folder: Path) -> dict[str, Any] | None:
    ((position, _),) = common_resume_points([folder])
    rewind(folder, position=position)
    return load_last(folder)


def assert_same(ours: Trained, theirs: Trained) -> None:
    """Demand equal weights, averages and rows, bit for bit.

    Raises:
        AssertionError: they differ.
    """
    assert ours.rows == theirs.rows, "metrics rows differ"
    first, second = ours.tensors(), theirs.tensors()
    assert first.keys() == second.keys(), "names of tensors differ"
    different = [name for name, value in first.items() if not torch.equal(value, second[name])]
    assert not different, f"tensors differ: {', '.join(different)}"
