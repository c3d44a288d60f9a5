"""Two processes that share a run do what one does, resume exactly, and end alike."""

import math
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from groups import together
from siblings import TASKS
from torch import Tensor, nn

from visionlab.core.interrupt import Interrupted, Signals
from visionlab.core.processes import rank, shard_rows
from visionlab.engine.distributed.collectives import (
    all_reduce_max,
    all_reduce_sum,
    broadcast_object,
    gather_objects,
)
from visionlab.engine.distributed.data_parallel import (
    all_reduce_gradients,
    broadcast_buffers,
    check_divisible,
    process_group,
    rank_seed,
)
from visionlab.engine.evaluation import Result, evaluate
from visionlab.engine.hparams import Hparams
from visionlab.engine.state import TrainState
from visionlab.files.run_folder import read_rows
from visionlab.runs.processes import torchrun_variables
from visionlab.task import Task
from visionlab.testing.training import NO_STOP, PLAN, Trained, assert_same, averages_of, train

pytestmark = pytest.mark.integration

MakeTask = Callable[[], Task]
SHARED = replace(PLAN, batch_size=12)  # 16 would leave classification a last batch of 1
NO_AUTOCAST = partial(torch.autocast, "cpu", enabled=False)
every_task = pytest.mark.parametrize("name", TASKS)


class Seen:
    """Keeps what an observer is told of each step."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, float, float, int]] = []

    def on_step(self, state: TrainState, *, lr: float, loss: Tensor, num_samples: int) -> None:
        self.steps.append((state.step, lr, loss.item(), num_samples))

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        pass

    def close(self) -> None:
        pass


def _assert_replicas_equal(trained: Trained) -> None:
    """Demand that all processes have the weights, buffers, averages and clock of the first."""
    ours = trained.tensors()
    first = broadcast_object(lambda: ours)
    assert [name for name, value in ours.items() if not torch.equal(value, first[name])] == []
    assert trained.state.seconds == broadcast_object(lambda: trained.state.seconds)
    assert vars(trained.state.plateau) == broadcast_object(lambda: vars(trained.state.plateau))
    assert trained.state.best == broadcast_object(lambda: trained.state.best)


def _resume(name: str, folder: Path, **settings: Any) -> None:
    settings = {"hparams": SHARED, **settings}
    unbroken = train(TASKS[name], folder / "unbroken", **settings)
    _assert_replicas_equal(unbroken)
    for step in (2, 5):  # within the first epoch, and within the second
        broken = folder / f"broken_{step}"
        stop = replace(NO_STOP, max_steps=step)
        assert train(TASKS[name], broken, stop=stop, **settings).state.step == step
        resumed = train(TASKS[name], broken, resume=True, **settings)
        _assert_replicas_equal(resumed)
        if rank() == 0:
            assert_same(unbroken, resumed)
            assert resumed.state.best == unbroken.state.best


@every_task
def test_a_run_of_two_processes_resumes_exactly(name: str, tmp_path: Path) -> None:
    together(_resume, name, tmp_path)


def test_recomputed_averages_of_two_processes_are_equal_and_resume(tmp_path: Path) -> None:
    averaged = averages_of(buffers="recomputed")
    resume = partial(_resume, averaged=averaged, sync_batch_norm=False)
    together(resume, "classification", tmp_path)


def _train_shared(folder: Path, hparams: Hparams, expected: list[tuple[float, ...]]) -> None:
    seen = Seen()
    trained = train(TASKS["classification"], folder, hparams=hparams, observers=[seen])
    _assert_replicas_equal(trained)
    if rank() == 0:
        for ours, theirs in zip(seen.steps, expected, strict=True):
            assert ours[0] == theirs[0]
            assert ours[1] == theirs[1]
            assert ours[2] == pytest.approx(theirs[2], rel=1e-4)
            assert ours[3] == theirs[3]


@pytest.mark.parametrize(
    "hparams",
    [
        SHARED,
        replace(SHARED, accumulate_steps=2),
        replace(SHARED, batch_size=6, grad_clip_max_norm=0.1),
        replace(SHARED, freeze_backbone_epochs=1),
    ],
    ids=["plain", "accumulated", "clipped", "frozen_backbone"],
)
def test_two_processes_train_as_one_does(hparams: Hparams, tmp_path: Path) -> None:
    seen = Seen()
    alone = train(TASKS["classification"], tmp_path / "one", hparams=hparams, observers=[seen])
    together(_train_shared, tmp_path / "two", hparams, seen.steps)
    for ours, theirs in zip(read_rows(tmp_path / "two" / "metrics.jsonl"), alone.rows, strict=True):
        assert ours.keys() == theirs.keys()
        close = {name: pytest.approx(value, rel=2e-3, abs=2e-3) for name, value in theirs.items()}
        assert {name: value for name, value in ours.items() if "top1" not in name} == {
            name: value for name, value in close.items() if "top1" not in name
        }


def _evaluate(name: str, batch_size: int, expected: Result) -> None:
    task = TASKS[name]()
    result = evaluate(
        task,
        task.evaluated,
        task.splits["val"],
        batch_size=batch_size,
        autocast=NO_AUTOCAST,
        check=Signals(all_reduce=all_reduce_max).check,
    )
    assert result.metrics == expected.metrics
    if rank() == 0:
        assert result.samples.keys() == expected.samples.keys()
        for key, value in result.samples.items():
            torch.testing.assert_close(value, expected.samples[key], rtol=0, atol=0, equal_nan=True)


@every_task
@pytest.mark.parametrize("batch_size", [4, 100])  # an odd number of batches; one for two processes
def test_two_processes_find_the_same_bits_in_an_evaluation(name: str, batch_size: int) -> None:
    task = TASKS[name]()
    expected = evaluate(
        task,
        task.evaluated,
        task.splits["val"],
        batch_size=batch_size,
        autocast=NO_AUTOCAST,
        check=lambda: None,
    )
    together(_evaluate, name, batch_size, expected)


@every_task
def test_shares_of_a_split_are_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def keys(count: int) -> list[list[int]]:
        split = TASKS[name]().splits["train"]
        batches = split.batches(batch_size=12, epoch=1, first_batch=1, shard=shard_rows)
        return [batch.keys.tolist() for batch in batches]

    whole = keys(1)
    shares = []
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("WORLD_SIZE", "3")
    for number in range(3):
        monkeypatch.setenv("RANK", str(number))
        shares.append(keys(3))
    for batch, parts in zip(whole, zip(*shares, strict=True), strict=True):
        assert [batch[number::3] for number in range(3)] == list(parts)


class _SignalAt:
    """Sends a signal to its own process after a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def __call__(self, step: int) -> float:
        if rank() == 1 and step == self._step:
            os.kill(os.getpid(), signal.SIGTERM)
        return 0.5


def _interrupt(folder: Path) -> None:
    whole = train(TASKS["boxes"], folder / "whole", hparams=SHARED, schedule=lambda step: 0.5)
    with Signals(all_reduce=all_reduce_max) as signals, pytest.raises(Interrupted, match="SIGTERM"):
        train(
            TASKS["boxes"],
            folder / "broken",
            hparams=SHARED,
            schedule=_SignalAt(5),
            signals=signals,
        )
    resumed = train(
        TASKS["boxes"],
        folder / "broken",
        hparams=SHARED,
        schedule=lambda step: 0.5,
        resume=True,
    )
    if rank() == 0:
        assert_same(whole, resumed)


def test_a_signal_to_one_process_ends_both_at_the_same_step(tmp_path: Path) -> None:
    together(_interrupt, tmp_path)


def _diverge(folder: Path) -> None:
    with pytest.raises(FloatingPointError, match="at step 2 of epoch 1"):
        train(
            TASKS["classification"],
            folder,
            hparams=SHARED,
            schedule=lambda step: math.nan if step == 0 else 1.0,
        )


def test_a_loss_that_is_not_finite_ends_both_processes(tmp_path: Path) -> None:
    together(_diverge, tmp_path)


def _say(folder: Path) -> None:
    assert all_reduce_sum(rank() + 1) == 3
    assert all_reduce_max(rank() + 0.25) == 1.25
    assert broadcast_object(lambda: {"rank": rank()}) == {"rank": 0}
    items = list(gather_objects([f"{rank()}{number}" for number in range(3 - rank())]))
    assert items == (["00", "10", "01", "11", "02"] if rank() == 0 else [])
    draws = torch.rand(4, generator=torch.Generator().manual_seed(rank_seed(3)))
    assert torch.equal(draws, broadcast_object(lambda: draws)) == (rank() == 0)


def test_what_processes_say_to_each_other(tmp_path: Path) -> None:
    together(_say, tmp_path)


def _add_up() -> None:
    model = nn.ModuleDict({name: nn.Linear(2, 1, bias=False) for name in ("both", "one", "none")})
    model["both"].weight.grad = torch.tensor([[1.0, 2.0]]) * (rank() + 1)
    if rank() == 1:
        model["one"].weight.grad = torch.tensor([[5.0, 6.0]])
    sums = all_reduce_gradients(
        model, {"loss": torch.tensor(rank() + 0.5), "curve": torch.tensor(2.0)}
    )
    assert {name: value.item() for name, value in sums.items()} == {"loss": 2.0, "curve": 4.0}
    assert model["both"].weight.grad.tolist() == [[3.0, 6.0]]
    assert model["one"].weight.grad.tolist() == [[5.0, 6.0]]
    assert model["none"].weight.grad is None


def test_gradients_are_added_up_and_none_stays_none() -> None:
    together(_add_up)


def _share_buffers() -> None:
    module = nn.Module()
    for name, dtype in (("whole", torch.int64), ("real", torch.float32), ("flag", torch.bool)):
        module.register_buffer(name, torch.tensor([[rank(), 1]], dtype=dtype))
    broadcast_buffers(module)
    assert all(torch.equal(each.long(), torch.tensor([[0, 1]])) for each in module.buffers())
    assert dist.get_world_size() == 2


def test_buffers_are_those_of_the_first_process() -> None:
    together(_share_buffers)


@pytest.mark.parametrize(
    ("hparams", "num_samples", "message"),
    [
        (
            replace(PLAN, batch_size=15),
            30,
            "hparams.batch_size must be a multiple of 2 processes times accumulate_steps 1, got 15",
        ),
        (
            replace(PLAN, batch_size=12, accumulate_steps=4),
            30,
            "hparams.batch_size must be a multiple of 2 processes times accumulate_steps 4, got 12",
        ),
        (
            PLAN,
            33,
            "hparams.batch_size must leave a sample of the last batch for each of 2 processes, "
            "got 16 for 33 samples",
        ),
        (
            replace(PLAN, hard_examples=[0.1, 0.6]),
            32,
            "hparams.hard_examples must be null for several processes, "
            r"each of which sees a part of the batch, got \[0.1, 0.6\]",
        ),
    ],
)
def test_what_cannot_be_divided_is_refused(
    hparams: Hparams, num_samples: int, message: str
) -> None:
    check_divisible(hparams, num_samples, count=1)
    check_divisible(PLAN, 34, count=2)
    with pytest.raises(ValueError, match=message):
        check_divisible(hparams, num_samples, count=2)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("auto", "device must be cpu for more processes than GPUs, got 'auto' for 2 on .* with 1"),
        ("cuda:0", "device must be auto, cpu or cuda for several processes, got 'cuda:0'"),
    ],
)
def test_more_processes_than_gpus_are_refused_by_all(
    device: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in torchrun_variables(2, port=1)[0].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=message), process_group(device):
        pass
