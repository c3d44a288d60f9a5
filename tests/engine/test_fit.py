"""The loop: steps, stops, signals, checkpoints."""

import math
import os
import signal
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from siblings import boxes, classification, two_views
from torch import Tensor, nn

from visionlab.backbones.weights import freeze
from visionlab.core.interrupt import Interrupted, Signals
from visionlab.core.processes import Shard, unsharded
from visionlab.engine.checkpoints import LAST, PREVIOUS, load_last
from visionlab.engine.evaluation import Result
from visionlab.engine.freezing import set_train_mode
from visionlab.engine.hparams import Evaluation, Stop
from visionlab.engine.loop import steps_per_epoch
from visionlab.engine.state import TrainState
from visionlab.optim.averaging import weight_distance, weight_norm
from visionlab.task import Batch, Split, Task
from visionlab.testing.training import (
    EACH_EPOCH,
    NO_EPOCH_FILES,
    NO_STOP,
    PLAN,
    assert_same,
    averages_of,
    train,
)


def linear() -> Task:
    task = classification()
    return replace(task, model=nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 2)))


@dataclass
class At:
    """Calls something after a step."""

    step: int
    call: object

    def on_step(self, state: TrainState, *, lr: float, loss: Tensor, num_samples: int) -> None:
        if state.step == self.step:
            self.call()  # type: ignore[operator]

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        pass

    def close(self) -> None:
        pass


def test_accumulated_steps_equal_whole_batches(tmp_path: Path) -> None:
    whole = train(linear, tmp_path / "whole")
    parts = train(linear, tmp_path / "parts", hparams=replace(PLAN, accumulate_steps=4))
    assert parts.state.step == whole.state.step
    for ours, theirs in zip(parts.tensors().values(), whole.tensors().values(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert parts.rows[-1]["train/loss"] == pytest.approx(whole.rows[-1]["train/loss"], rel=1e-4)


def test_a_last_group_of_parts_counts_each_sample_once(tmp_path: Path) -> None:
    # 33 samples: batches of 16, 16 and 1; the last step has a single part of one sample
    assert len(linear().splits["train"]) == 33
    trained = train(linear, tmp_path, hparams=replace(PLAN, epochs=1, accumulate_steps=2))
    assert trained.state.step == 3


@pytest.mark.parametrize(("batch_size", "accumulate_steps"), [(16, 1), (16, 4), (8, 8), (64, 2)])
def test_steps_per_epoch_are_those_that_happen(
    batch_size: int, accumulate_steps: int, tmp_path: Path
) -> None:
    hparams = replace(PLAN, epochs=1, batch_size=batch_size, accumulate_steps=accumulate_steps)
    trained = train(linear, tmp_path, hparams=hparams)
    assert trained.state.step == steps_per_epoch(linear().splits["train"], hparams)
    assert trained.state.epoch == 1


def test_resuming_is_exact_with_accumulation_and_clipping(tmp_path: Path) -> None:
    hparams = replace(PLAN, accumulate_steps=2, grad_clip_max_norm=0.5)
    whole = train(boxes, tmp_path / "whole", hparams=hparams)
    stop = replace(NO_STOP, max_steps=5)
    train(boxes, tmp_path / "broken", hparams=hparams, stop=stop)
    assert_same(whole, train(boxes, tmp_path / "broken", hparams=hparams, resume=True))


def test_a_clipped_step_is_no_longer_than_allowed(tmp_path: Path) -> None:
    hparams = replace(PLAN, epochs=1, batch_size=64, grad_clip_max_norm=1e-3)
    before = linear().model
    after = train(linear, tmp_path, hparams=hparams, lr=1.0, schedule=lambda step: 1.0).task.model
    with torch.no_grad():
        moved = weight_distance(after, before)
        decay = 1e-4 * weight_norm(before)
    assert float(moved) <= 1e-3 + float(decay) + 1e-6


def test_the_row_has_the_rate_of_the_last_step(tmp_path: Path) -> None:
    trained = train(linear, tmp_path, lr=0.5, schedule=lambda step: 1.0 / (step + 1))
    assert [row["lr"] for row in trained.rows] == [0.5 / 3, 0.5 / 6, 0.5 / 9]
    assert [row["step"] for row in trained.rows] == [3, 6, 9]


def test_train_means_weigh_each_sample_alike(tmp_path: Path) -> None:
    seen: list[tuple[float, int]] = []

    def make() -> Task:
        task = linear()

        def loss(outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
            losses = task.loss(outputs, targets)
            if torch.is_grad_enabled():
                seen.append((float(losses["cross_entropy"].detach().mean()), len(targets)))
            return losses

        return replace(task, loss=loss)

    row = train(make, tmp_path, hparams=replace(PLAN, epochs=1)).rows[0]
    mean = sum(value * count for value, count in seen) / sum(count for _, count in seen)
    assert row["train/loss"] == pytest.approx(mean, rel=1e-12)
    median = statistics.median(value for value, _ in seen)
    assert row["train/loss_median"] == pytest.approx(median, rel=1e-12) != mean


def test_a_row_says_whether_each_model_is_the_best_so_far(tmp_path: Path) -> None:
    hparams = replace(PLAN, epochs=6)
    evaluation = replace(EACH_EPOCH, every_epochs=2)
    rows = train(linear, tmp_path, lr=4.0, hparams=hparams, evaluation=evaluation).rows
    assert [[key for key in row if key.startswith("best/")] for row in rows[::2]] == [[]] * 3
    for name in ("model", "ema_0.5"):
        values = [row[f"val/{name}/{linear().monitor}"] for row in rows[1::2]]
        expected = [value > max(values[:place], default=-1) for place, value in enumerate(values)]
        assert [row[f"best/{name}"] for row in rows[1::2]] == expected
    assert not all(row[f"best/{name}"] for row in rows[1::2])


def test_frozen_layers_stay_with_their_statistics(tmp_path: Path) -> None:
    def make() -> Task:
        task = classification()
        return replace(task, frozen_norms=freeze(task.model, ["conv1.*", "bn1.*", "layer1.*"]))

    before = make().model.state_dict()
    after = train(make, tmp_path).task.model.state_dict()
    for name, value in after.items():
        is_frozen = name.startswith(("conv1", "bn1", "layer1"))
        assert torch.equal(value, before[name]) == is_frozen, name


def test_train_mode_leaves_norms_without_weights_in_training() -> None:
    norm = nn.BatchNorm2d(3, affine=False)
    set_train_mode(replace(linear(), model=nn.Sequential(norm.eval())), [], is_frozen=False)
    assert norm.training


def test_validation_every_second_epoch_and_after_the_last(tmp_path: Path) -> None:
    hparams = replace(PLAN, epochs=5)
    rows = train(
        linear, tmp_path, hparams=hparams, evaluation=replace(EACH_EPOCH, every_epochs=2)
    ).rows
    assert [row["epoch"] for row in rows if "val/model/loss" in row] == [2, 4, 5]


def test_a_task_without_validation_trains(tmp_path: Path) -> None:
    def make() -> Task:
        task = linear()
        return replace(task, splits={"train": task.splits["train"]})

    trained = train(make, tmp_path)
    assert trained.state.best == {}
    assert not any(key.startswith("val") for key in trained.rows[-1])


def test_a_run_stopped_within_an_epoch_has_a_row_with_a_fraction(tmp_path: Path) -> None:
    trained = train(linear, tmp_path, stop=replace(NO_STOP, max_steps=4))
    assert trained.state.stopped == "stop.max_steps=4"
    assert [row["epoch"] for row in trained.rows] == [1, 1 + 1 / 3]
    assert "val/model/top1" in trained.rows[-1]
    assert trained.state.best["model"].epoch == 1


def test_a_stopped_run_does_not_move_when_it_is_started_again(tmp_path: Path) -> None:
    stop = replace(NO_STOP, max_steps=4)
    first = train(linear, tmp_path, stop=stop)
    again = train(linear, tmp_path, stop=stop, resume=True)
    assert again.state.step == first.state.step == 4


def test_a_row_that_a_kill_left_out_is_written_when_the_run_is_started_again(
    tmp_path: Path,
) -> None:
    stop = replace(NO_STOP, max_steps=4)
    unbroken = train(linear, tmp_path / "unbroken", stop=stop)
    with pytest.raises(RuntimeError, match="crash"):
        train(
            linear,
            tmp_path / "killed",
            stop=stop,
            checkpointing=replace(NO_EPOCH_FILES, every_minutes=0.0),
            change=crash_in_the_second_validation,
        )
    assert_same(unbroken, train(linear, tmp_path / "killed", stop=stop, resume=True))


def crash_in_the_second_validation(task: Task) -> None:
    """Let the validation after the fourth step fail, where the run stops."""
    reads: list[int] = []
    batches = task.splits["val"].batches

    def failing(**arguments: Any) -> Iterator[Batch]:
        reads.append(1)
        if len(reads) == 2:
            raise RuntimeError("crash")
        return batches(**arguments)

    object.__setattr__(task.splits["val"], "batches", failing)  # a frozen dataclass


def test_a_run_that_stops_at_an_epochs_end_is_validated(tmp_path: Path) -> None:
    stop = replace(NO_STOP, max_steps=3)
    evaluation = replace(EACH_EPOCH, every_epochs=2)
    trained = train(linear, tmp_path, stop=stop, evaluation=evaluation)
    assert "val/model/top1" in trained.rows[-1]
    assert trained.state.best["model"].epoch == 1


def test_averages_are_recomputed_without_validation_too(tmp_path: Path) -> None:
    def make() -> Task:
        task = classification()
        return replace(task, splits={"train": task.splits["train"]})

    trained = train(make, tmp_path, averaged=averages_of(decay=0.5, buffers="recomputed"))
    ours = trained.averages[0].module.state_dict()
    theirs = trained.task.model.state_dict()
    assert not torch.equal(ours["bn1.running_mean"], theirs["bn1.running_mean"])


def test_after_damage_the_good_checkpoint_stays_until_a_new_one_is_there(tmp_path: Path) -> None:
    train(linear, tmp_path, stop=replace(NO_STOP, max_steps=4))
    last, previous = (tmp_path / "checkpoints" / name for name in (LAST, PREVIOUS))
    last.write_bytes(b"torn")
    good = previous.read_bytes()
    train(linear, tmp_path, stop=replace(NO_STOP, max_steps=4), resume=True)
    assert previous.read_bytes() == good


def test_minutes_stop_a_run(tmp_path: Path) -> None:
    trained = train(linear, tmp_path, stop=replace(NO_STOP, max_minutes=1e-9))
    assert trained.state.step == 1


def test_patience_counts_epochs_without_gain_of_any_model(tmp_path: Path) -> None:
    # with rate 0 nothing changes after the first epoch
    stop = replace(NO_STOP, patience_epochs=2)
    hparams = replace(PLAN, epochs=9)
    trained = train(linear, tmp_path, stop=stop, hparams=hparams, schedule=lambda step: 0.0)
    assert trained.state.epoch == 3
    assert trained.state.stopped == "stop.patience_epochs=2"


def _terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("step", [1, 3, 5, 9])
def test_a_signal_finishes_the_step_and_the_run_goes_on_exactly(step: int, tmp_path: Path) -> None:
    whole = train(boxes, tmp_path / "whole")
    with Signals() as signals, pytest.raises(Interrupted, match="SIGTERM") as caught:
        train(boxes, tmp_path / "broken", observers=[At(step, _terminate)], signals=signals)
    assert caught.value.exit_code == 128 + signal.SIGTERM
    last = load_last(tmp_path / "broken" / "checkpoints")
    assert last is not None
    assert last["state"]["step"] == step
    assert_same(whole, train(boxes, tmp_path / "broken", resume=True))


@dataclass(frozen=True)
class Interrupting:
    """A split that sends a signal when it is read for the second time."""

    split: Split
    reads: list[int]

    def __len__(self) -> int:
        return len(self.split)

    def num_batches(self, batch_size: int) -> int:
        return self.split.num_batches(batch_size)

    def batches(
        self, *, batch_size: int, epoch: int, first_batch: int, shard: Shard = unsharded
    ) -> Iterator[Batch]:
        self.reads.append(epoch)
        if len(self.reads) == 2:
            _terminate()
        return self.split.batches(
            batch_size=batch_size, epoch=epoch, first_batch=first_batch, shard=shard
        )


def test_a_signal_in_validation_loses_no_step(tmp_path: Path) -> None:
    def make() -> Task:
        task = boxes()
        return replace(task, splits={**task.splits, "val": Interrupting(task.splits["val"], [])})

    whole = train(boxes, tmp_path / "whole")
    with Signals() as signals, pytest.raises(Interrupted):
        train(make, tmp_path / "broken", signals=signals)
    last = load_last(tmp_path / "broken" / "checkpoints")
    assert last is not None
    assert last["state"]["epoch_step"] == 3
    assert_same(whole, train(boxes, tmp_path / "broken", resume=True))


@pytest.fixture
def listening() -> Iterator[None]:
    """SIGINT as in the foreground: a shell has what it starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_second_signal_is_not_caught(listening: None) -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):
            signals.check()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_who_else_handles_a_preemption_comes_to_it_when_the_state_is_saved(tmp_path: Path) -> None:
    seen: list[int] = []

    def queue_again(number: int, frame: object) -> None:
        last = load_last(tmp_path / "broken" / "checkpoints")
        assert last is not None
        seen.append(last["state"]["step"])

    def warn() -> None:
        os.kill(os.getpid(), signal.SIGUSR2)

    before = signal.signal(signal.SIGUSR2, queue_again)
    term = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(Interrupted, match="SIGUSR2"), Signals() as signals:
            train(boxes, tmp_path / "broken", observers=[At(4, warn)], signals=signals)
        assert seen == [4]
        assert signal.getsignal(signal.SIGUSR2) is queue_again
    finally:
        signal.signal(signal.SIGUSR2, before)
        signal.signal(signal.SIGTERM, term)


@pytest.mark.parametrize("step", [2, 7])
def test_last_is_written_within_an_epoch_when_it_is_old(step: int, tmp_path: Path) -> None:
    def crash() -> None:
        raise RuntimeError("crash")

    whole = train(two_views, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="crash"):
        train(
            two_views,
            tmp_path / "broken",
            observers=[At(step, crash)],
            checkpointing=replace(NO_EPOCH_FILES, every_minutes=0.0),
        )
    last = load_last(tmp_path / "broken" / "checkpoints")
    assert last is not None
    assert last["state"]["step"] == step - 1
    assert_same(whole, train(two_views, tmp_path / "broken", resume=True))


@pytest.mark.parametrize("damage", ["cut", "altered", "missing"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = train(boxes, tmp_path / "whole")
    train(boxes, tmp_path / "broken", stop=replace(NO_STOP, max_steps=7))
    last = tmp_path / "broken" / "checkpoints" / LAST
    content = bytearray(last.read_bytes())
    if damage == "cut":
        last.write_bytes(content[: len(content) // 2])
    elif damage == "altered":
        content[len(content) // 2] ^= 1
        last.write_bytes(content)
    else:
        last.unlink()
    assert_same(whole, train(boxes, tmp_path / "broken", resume=True))
    assert (str(last) in caplog.text) == (damage != "missing")


def test_when_all_checkpoints_are_damaged_the_run_does_not_start_over(tmp_path: Path) -> None:
    train(linear, tmp_path)
    for name in (LAST, PREVIOUS):
        (tmp_path / "checkpoints" / name).write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"last\.pt is cut short.*previous\.pt is cut short"):
        load_last(tmp_path / "checkpoints")


def test_a_loss_that_is_not_finite_stops_the_run_and_harms_no_checkpoint(tmp_path: Path) -> None:
    calls: list[int] = []

    def make() -> Task:
        task = linear()

        def loss(outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
            calls.extend([1] * torch.is_grad_enabled())
            factor = math.nan if torch.is_grad_enabled() and len(calls) == 5 else 1.0
            return {"cross_entropy": task.loss(outputs, targets)["cross_entropy"] * factor}

        return replace(task, loss=loss)

    message = (
        r"losses must be finite, got loss=nan, cross_entropy=nan, top1=.* at step 5 of epoch 2"
    )
    with pytest.raises(FloatingPointError, match=message):
        train(make, tmp_path, averaged=averages_of(decay=[]))
    last = load_last(tmp_path / "checkpoints")
    assert last is not None
    assert last["state"]["step"] == 3
    assert all(value.isfinite().all() for value in last["model"].values())


def test_the_best_is_the_first_of_the_best(tmp_path: Path) -> None:
    trained = train(classification, tmp_path, hparams=replace(PLAN, epochs=6))
    for name in ("model", "ema_0.5"):
        values = [row[f"val/{name}/top1"] for row in trained.rows]
        best = trained.state.best[name]
        assert best.value == max(values)
        assert best.epoch == 1 + values.index(best.value)


def test_settings_name_what_is_out_of_range() -> None:
    with pytest.raises(ValueError, match="epochs must be > 0, got 0"):
        replace(PLAN, epochs=0)
    with pytest.raises(ValueError, match="grad_clip_max_norm must be > 0, got -1"):
        replace(PLAN, grad_clip_max_norm=-1)
    with pytest.raises(ValueError, match="accumulate_steps must divide batch_size 16, got 3"):
        replace(PLAN, accumulate_steps=3)
    with pytest.raises(ValueError, match="max_steps must be > 0, got 0"):
        Stop(patience_epochs=None, max_steps=0, max_minutes=None)
    with pytest.raises(ValueError, match="train must be one of none, plain, augmented, got 'x'"):
        Evaluation(every_epochs=1, batch_size=1, test=True, train="x")  # type: ignore[arg-type]
