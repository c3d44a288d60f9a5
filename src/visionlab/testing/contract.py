"""The contract: every task trains, is evaluated and resumes by the same loop, unchanged."""

import copy
import functools
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from visionlab.backbones.weights import batch_norms
from visionlab.engine.checkpoints import best_name, saved_models
from visionlab.engine.evaluation import Result, evaluate
from visionlab.engine.observers import Observer, Predictions, TensorBoard
from visionlab.engine.progress import Terminal
from visionlab.engine.reduction import reduce_losses
from visionlab.engine.state import TrainState
from visionlab.engine.validation import named_models
from visionlab.task import Task
from visionlab.testing.training import (
    EACH_EPOCH,
    NO_STOP,
    PLAN,
    Trained,
    assert_same,
    averages_of,
    train,
)

MakeTask = Callable[[], Task]
Check = Callable[[MakeTask, Path], None]
_STEPS = (1, 2, 3, 4, 7)  # at and within epochs of three steps
_TOLERANCE = 1e-6


@functools.cache
def _unbroken(make_task: MakeTask) -> Trained:
    with tempfile.TemporaryDirectory() as folder:
        return train(make_task, Path(folder))


def gradients_reach_what_is_trained(make_task: MakeTask, folder: Path) -> None:
    """Demand finite losses, and gradients for every trained parameter and no other."""
    task = make_task()
    batch = next(iter(task.splits["train"].batches(batch_size=16, epoch=0, first_batch=0)))
    losses, extra_scalars = task.losses(batch)
    shapes = ((), batch.keys.shape)
    assert all(value.shape in shapes for value in losses.values()), "losses must be () or (B,)"
    scalars = reduce_losses(losses)
    scalars["loss"].backward()  # type: ignore[no-untyped-call]
    for name, value in {**scalars, **extra_scalars}.items():
        assert math.isfinite(value.detach()), f"{name} must be finite"
    for name, parameter in task.model.named_parameters():
        has_gradient = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert has_gradient == parameter.requires_grad, f"gradient of {name}"


def a_few_batches_are_learnt(make_task: MakeTask, folder: Path) -> None:
    """Demand that 60 steps lower the training loss by two fifths."""
    rows = train(
        make_task,
        folder,
        hparams=replace(PLAN, epochs=20),
        evaluation=replace(EACH_EPOCH, every_epochs=20),
        averaged=averages_of(decay=[]),
    ).rows
    # from the second epoch: before, a queue holds noise instead of keys
    assert rows[-1]["train/loss"] < 0.6 * rows[1]["train/loss"]


def evaluation_changes_nothing(make_task: MakeTask, folder: Path) -> None:
    """Demand that evaluating leaves weights, buffers and mode alone, and repeats its metrics."""
    task = make_task()
    task.model.train()
    before = copy.deepcopy(task.model.state_dict())
    assert _metrics(task, batch_size=8) == _metrics(task, batch_size=8)
    assert task.model.training
    for key, value in task.model.state_dict().items():
        assert torch.equal(before[key], value), key


def evaluation_batch_size_changes_no_metric(make_task: MakeTask, folder: Path) -> None:
    """Demand metrics that do not depend on how samples are batched."""
    task = make_task()
    first, *others = [_metrics(task, batch_size=batch_size) for batch_size in (1, 5, 100)]
    for other in others:
        _assert_close({name: first[name] for name in task.metric.names}, other)


def observers_change_nothing(make_task: MakeTask, folder: Path) -> None:
    """Demand equal bits with and without observers, even one that draws random numbers."""
    task = make_task()
    observers: list[Observer] = [
        _Greedy(),
        Terminal(TrainState(), total_steps=9, epochs=3, monitor=task.monitor),
        Predictions(folder / "predictions"),
        TensorBoard(folder / "events", step=0, config="", settings={}),
    ]
    watched = train(make_task, folder / "watched", observers=observers)
    for observer in observers:
        observer.close()
    assert_same(_unbroken(make_task), watched)
    assert len(list((folder / "predictions").glob("*.npz"))) == 3 * 3


def resuming_is_exact(make_task: MakeTask, folder: Path) -> None:
    """Demand that a run stopped at some step and resumed equals an unbroken one, bit for bit."""
    unbroken = _unbroken(make_task)
    for step in _STEPS:
        own = folder / str(step)
        stopped = train(make_task, own, stop=replace(NO_STOP, max_steps=step))
        assert stopped.state.step == step
        resumed = train(make_task, own, resume=True)
        assert_same(unbroken, resumed)
        assert resumed.state.best == unbroken.state.best


def averages_do_not_change_the_training(make_task: MakeTask, folder: Path) -> None:
    """Demand equal weights with and without averages."""
    with_averages = _unbroken(make_task).task.model.state_dict()
    without = train(make_task, folder, averaged=averages_of(decay=[]))
    for key, value in without.task.model.state_dict().items():
        assert torch.equal(value, with_averages[key]), key


def an_average_with_decay_zero_is_the_model(make_task: MakeTask, folder: Path) -> None:
    """Demand that an average that forgets everything is validated like the model."""
    trained = train(make_task, folder, averaged=averages_of(decay=0.0))
    for row in trained.rows:
        for name in trained.task.metric.names:
            assert row[f"val/ema_0.0/{name}"] == row[f"val/model/{name}"], name
        assert row.get("val/ema_0.0/loss") == row.get("val/model/loss"), "loss"
        assert row["norm/model_minus_ema_0.0"] == 0.0


def a_seed_repeats_a_run(make_task: MakeTask, folder: Path) -> None:
    """Demand that two runs of a seed are equal whatever the global generators were."""
    first = _unbroken(make_task)
    torch.manual_seed(2)
    assert_same(first, train(make_task, folder))


def only_frozen_norms_keep_their_statistics(make_task: MakeTask, folder: Path) -> None:
    """Demand that running statistics move in training, but for those of frozen norms."""
    before = {name: norm.state_dict() for name, norm in _norms(make_task())}
    task = _unbroken(make_task).task
    for name, norm in _norms(task):
        is_equal = all(
            torch.equal(value, before[name][key]) for key, value in norm.state_dict().items()
        )
        assert is_equal == any(norm is each for each in task.frozen_norms), name


def what_is_saved_is_what_is_evaluated(make_task: MakeTask, folder: Path) -> None:
    """Demand that the saved model and averages are those of `evaluated`."""
    trained = train(make_task, folder)
    saved = saved_models(folder / "checkpoints")
    for name, module in named_models(trained.task.evaluated, trained.averages).items():
        weights = module.state_dict()
        assert weights.keys() == saved[name].keys(), name
        assert all(torch.equal(value, saved[name][key]) for key, value in weights.items()), name
    best = saved[best_name("model")]
    assert best.keys() == saved["model"].keys()


def fusing_keeps_its_laws(make_task: MakeTask, folder: Path) -> None:
    """Demand that equal predictions fuse to themselves, and that the order of members is free."""
    task = make_task()
    if task.fuse is None:
        return
    first = task.evaluated.eval()
    second = copy.deepcopy(first)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.mul_(1.1)
    alone = _fused_metrics(task, [first], [1.0])
    for members, weights in (([first] * 3, [1.0, 2.0, 0.5]), ([first, second], [1.0, 0.0])):
        _assert_close(alone, _fused_metrics(task, members, weights))
    both = _fused_metrics(task, [first, second], [3.0, 1.0])
    _assert_close(both, _fused_metrics(task, [second, first], [2.0, 6.0]))


CONTRACT: Mapping[str, Check] = {
    check.__name__: check
    for check in (
        gradients_reach_what_is_trained,
        a_few_batches_are_learnt,
        evaluation_changes_nothing,
        evaluation_batch_size_changes_no_metric,
        observers_change_nothing,
        resuming_is_exact,
        averages_do_not_change_the_training,
        an_average_with_decay_zero_is_the_model,
        a_seed_repeats_a_run,
        only_frozen_norms_keep_their_statistics,
        what_is_saved_is_what_is_evaluated,
        fusing_keeps_its_laws,
    )
}


class _Greedy(Observer):
    """An observer that draws random numbers, reads everything and keeps it."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def on_step(self, state: TrainState, *, lr: float, loss: Tensor, num_samples: int) -> None:
        self.seen.append((torch.rand(3), state.step, lr, loss.item(), num_samples))

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        self.seen.append((torch.rand(3), dict(row), dict(results)))

    def close(self) -> None:
        self.seen.clear()


def _norms(task: Task) -> list[tuple[str, nn.Module]]:
    norms = {id(norm) for norm in batch_norms(task.model)}
    return [(name, each) for name, each in task.model.named_modules() if id(each) in norms]


def _metrics(task: Task, *, batch_size: int) -> dict[str, float]:
    return evaluate(
        task,
        task.evaluated,
        task.splits["val"],
        batch_size=batch_size,
        autocast=functools.partial(torch.autocast, "cpu", enabled=False),
        check=lambda: None,
    ).metrics


@torch.no_grad()
def _fused_metrics(
    task: Task, members: Sequence[nn.Module], weights: Sequence[float]
) -> dict[str, float]:
    """Return the metrics of predictions of several models for the validation samples, fused."""
    assert task.fuse is not None
    task.metric.reset()
    for batch in task.splits["val"].batches(batch_size=8, epoch=0, first_batch=0):
        found = [task.predict(task.forward(member, batch), batch) for member in members]
        task.metric.update(task.fuse(found, weights), batch.targets)
    return task.metric.compute()


def _assert_close(expected: Mapping[str, float], found: Mapping[str, float]) -> None:
    for name, value in expected.items():
        assert math.isclose(value, found[name], abs_tol=_TOLERANCE, rel_tol=_TOLERANCE), name
