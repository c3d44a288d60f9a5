"""Weights of single epochs: which are written, which stay, and what a kill does to them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from siblings import boxes
from torch import Tensor, nn

from visionlab.engine.checkpoints import Checkpoints, saved_models
from visionlab.engine.epoch_files import epoch_files, epoch_name
from visionlab.engine.shared_runs import SharedCheckpoints
from visionlab.files.tensors import read_tensors
from visionlab.testing.training import NO_EPOCH_FILES, PLAN, averages_of, train

FIVE = replace(PLAN, epochs=5)
EVERY = replace(NO_EPOCH_FILES, every_epochs=1)


def names(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "checkpoints").glob("*epoch_*.pt")}


def contents(folder: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "checkpoints").glob("*epoch_*.pt")}


def equal(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_weights_of_every_other_epoch_are_those_that_a_shorter_run_ends_with(
    tmp_path: Path,
) -> None:
    settings = replace(NO_EPOCH_FILES, every_epochs=2)
    train(boxes, tmp_path / "five", hparams=FIVE, checkpointing=settings)
    stems = [
        epoch_name(model, epoch) for model in ("model", "ema_0.5", "ema_0.9") for epoch in (2, 4)
    ]
    assert stems[:3] == ["epoch_0002", "epoch_0004", "ema_0.5_epoch_0002"]
    assert names(tmp_path / "five") == set(stems)
    folder = tmp_path / "five" / "checkpoints"
    assert names(tmp_path / "five").isdisjoint(saved_models(folder))
    found = saved_models(folder, ["epoch_0004", "best", "ema_0.5_epoch_0004"])
    assert [*found] == ["epoch_0004", "best", "ema_0.5_epoch_0004"]
    train(boxes, tmp_path / "four", hparams=replace(FIVE, epochs=4))
    shorter = saved_models(tmp_path / "four" / "checkpoints")
    assert equal(found["epoch_0004"], shorter["model"])
    assert equal(found["ema_0.5_epoch_0004"], shorter["ema_0.5"])
    content = read_tensors(folder / "epoch_0004.pt", require_checksum=True)
    assert (content["name"], content["step"]) == ("epoch_0004", 12)


def test_without_resume_checkpoints_there_are_the_other_models(tmp_path: Path) -> None:
    train(boxes, tmp_path / "run", hparams=replace(PLAN, epochs=2), checkpointing=EVERY)
    folder = tmp_path / "run" / "checkpoints"
    before = saved_models(folder)
    for name in ("last.pt", "previous.pt"):
        (folder / name).unlink(missing_ok=True)
    (folder / "ema_0.5.pt").unlink()
    found = saved_models(folder)
    assert before.keys() - found.keys() == {"model", "ema_0.5"}
    assert all(equal(found[name], before[name]) for name in found)
    for path in folder.iterdir():
        if "epoch_" not in path.name:
            path.unlink()
    assert saved_models(folder).keys() == names(tmp_path / "run")
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"last\.pt does not exist"):
        saved_models(folder)


def test_a_model_that_was_not_saved_is_refused_by_name(tmp_path: Path) -> None:
    train(boxes, tmp_path / "run", hparams=replace(PLAN, epochs=1), checkpointing=EVERY)
    with pytest.raises(ValueError, match=r"^models must be of model, .*epoch_0001.*, got epoch_07"):
        saved_models(tmp_path / "run" / "checkpoints", ["model", "epoch_0700"])


@pytest.mark.parametrize("keep", ["all", "last:2", "best:2"])
def test_a_run_killed_after_any_file_leaves_those_of_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    settings = replace(EVERY, keep=keep)
    train(boxes, tmp_path / "whole", hparams=FIVE, checkpointing=settings)
    expected = contents(tmp_path / "whole")
    assert len(expected) == 3 * (5 if keep == "all" else 2)
    save = Checkpoints.save_epoch
    for number in (2, 8):  # after the second file of epochs 1 and 3
        left = number

        def save_and_die(self: Checkpoints, *model: Any, **when: Any) -> None:
            nonlocal left
            save(self, *model, **when)
            left -= 1
            if left == 0:
                raise RuntimeError("killed")

        folder = tmp_path / f"killed_{number}"
        with monkeypatch.context() as patched:
            patched.setattr(Checkpoints, "save_epoch", save_and_die)
            with pytest.raises(RuntimeError, match="killed"):
                train(boxes, folder, hparams=FIVE, checkpointing=settings)
        train(boxes, folder, hparams=FIVE, checkpointing=settings, resume=number > 3)
        assert contents(folder) == expected


def save_scores(folder: Path, scores: Mapping[int, float | None], keep: str) -> list[int]:
    """Save a model after epochs with some scores; return the epochs whose files stay."""
    checkpoints = Checkpoints(
        folder, metadata={}, settings=replace(EVERY, keep=keep), snapshot_epochs=[]
    )
    for epoch, score in scores.items():
        checkpoints.save_epoch("model", nn.Linear(1, 1), epoch=epoch, step=epoch, score=score)
    return sorted(epoch_files(folder, "model", until=10**6))


@pytest.mark.parametrize(
    ("keep", "stay"),
    [
        ("all", [1, 2, 3, 4, 5, 10000]),
        ("last:1", [10000]),
        ("last:3", [4, 5, 10000]),
        ("last:9", [1, 2, 3, 4, 5, 10000]),
        ("best:1", [2]),
        ("best:2", [2, 4]),  # of the equal ones 4 and 10000, the first
        ("best:3", [2, 4, 10000]),
        ("best:4", [1, 2, 4, 10000]),
    ],
)
def test_what_stays(tmp_path: Path, keep: str, stay: list[int]) -> None:
    scores = {1: -0.5, 2: 0.9, 3: None, 4: 0.7, 5: -0.6, 10000: 0.7}
    assert save_scores(tmp_path, scores, keep) == stay


def test_a_damaged_file_is_the_first_to_go(tmp_path: Path) -> None:
    save_scores(tmp_path, {1: 0.9, 2: 0.1}, "best:2")
    (tmp_path / "epoch_0001.pt").write_bytes(b"damaged")
    assert save_scores(tmp_path, {3: 0.0}, "best:2") == [2, 3]


def test_a_smaller_loss_is_better(tmp_path: Path) -> None:
    def by_loss() -> Any:
        return replace(boxes(), monitor="loss", mode="min")

    done = train(
        by_loss, tmp_path / "run", hparams=FIVE, checkpointing=replace(EVERY, keep="best:1")
    )
    assert epoch_name("model", done.state.best["model"].epoch) in names(tmp_path / "run")


def test_runs_that_share_a_training_each_get_their_own_files(tmp_path: Path) -> None:
    settings = [replace(EVERY, keep="last:1"), replace(NO_EPOCH_FILES, every_epochs=2)]
    own = [{"model": "model", "ema_0.5": "ema_0.5"}, {"model": "model", "ema_0.5#2": "ema_0.5"}]
    shared = SharedCheckpoints(
        [
            (
                names,
                Checkpoints(
                    tmp_path / f"run{number}" / "checkpoints",
                    metadata={},
                    settings=each,
                    snapshot_epochs=[],
                ),
            )
            for number, (names, each) in enumerate(zip(own, settings, strict=True))
        ]
    )
    for epoch in (1, 2, 3):
        for name in ("model", "ema_0.5", "ema_0.5#2"):
            shared.save_epoch(name, nn.Linear(1, 1), epoch=epoch, step=epoch, score=None)
    assert names(tmp_path / "run0") == {"epoch_0003", "ema_0.5_epoch_0003"}
    assert names(tmp_path / "run1") == {"epoch_0002", "ema_0.5_epoch_0002"}


def test_averages_with_long_names_keep_their_own_files(tmp_path: Path) -> None:
    averaged = averages_of(decay=[0.5], uniform=True)
    train(boxes, tmp_path / "run", averaged=averaged, checkpointing=replace(EVERY, keep="last:1"))
    assert {name.removesuffix("epoch_0003") for name in names(tmp_path / "run")} == {
        "",
        "ema_0.5_",
        "uniform_",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"every_minutes": -1.0}, "every_minutes must be >= 0 or null, got -1.0"),
        ({"every_minutes": float("nan")}, "every_minutes must be >= 0 or null, got nan"),
        ({"every_epochs": 0}, "every_epochs must be > 0, got 0"),
        ({"keep": "newest"}, "keep must be all, last:N or best:N .*, got 'newest'"),
        ({"keep": "last:0"}, "keep must be all, last:N or best:N .*, got 'last:0'"),
        ({"keep": "all:3"}, "keep must be all, last:N or best:N .*, got 'all:3'"),
    ],
)
def test_what_is_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        replace(NO_EPOCH_FILES, **changes)


def snapshots(folder: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("checkpoints/*snapshot_*.pt")}


def test_snapshots_are_kept_of_the_model_and_each_average(tmp_path: Path) -> None:
    settings = replace(NO_EPOCH_FILES, snapshots="every:2", snapshots_last_epochs=4)
    train(boxes, tmp_path / "five", hparams=FIVE, checkpointing=settings)
    stems = [f"{start}snapshot_{n:02d}" for start in ("", "ema_0.5_", "ema_0.9_") for n in (1, 2)]
    assert set(snapshots(tmp_path / "five")) == {f"{stem}.pt" for stem in stems}
    folder = tmp_path / "five" / "checkpoints"
    assert not set(stems) & set(saved_models(folder))
    found = saved_models(folder, stems)
    train(boxes, tmp_path / "four", hparams=replace(FIVE, epochs=4))
    shorter = saved_models(tmp_path / "four" / "checkpoints")
    assert equal(found["snapshot_02"], shorter["model"])
    assert equal(found["ema_0.9_snapshot_02"], shorter["ema_0.9"])


def test_a_run_killed_at_a_snapshot_leaves_those_of_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(NO_EPOCH_FILES, snapshots="every:2")
    train(boxes, tmp_path / "whole", hparams=FIVE, checkpointing=settings)

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save_last", _until_epoch(4, Checkpoints.save_last))
        with pytest.raises(RuntimeError, match="killed"):
            train(boxes, tmp_path / "killed", hparams=FIVE, checkpointing=settings)
    assert "snapshot_02.pt" in snapshots(tmp_path / "killed")
    train(boxes, tmp_path / "killed", hparams=FIVE, checkpointing=settings, resume=True)
    assert snapshots(tmp_path / "killed") == snapshots(tmp_path / "whole")


def _until_epoch(epoch: int, save: Any) -> Any:
    """Return `save_last` that is killed before it saves the state after an epoch."""

    def save_or_die(self: Checkpoints, state: Any, *rest: Any) -> None:
        if state.epoch >= epoch:
            raise RuntimeError("killed")
        save(self, state, *rest)

    return save_or_die


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"snapshots": "each"}, "snapshots must be cycles, every:N or null, got 'each'"),
        ({"snapshots": "every:0"}, "snapshots must be .*every:0"),
        ({"snapshots": "every:2", "snapshots_last_epochs": 0}, "snapshots_last_epochs must be > 0"),
        ({"snapshots": "cycles", "snapshots_last_epochs": 3}, "snapshots_last_epochs .* got 3"),
    ],
)
def test_wrong_settings_of_snapshots(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(NO_EPOCH_FILES, **changes)


def test_epochs_of_snapshots() -> None:
    def epochs_of(ends: list[int], **changes: Any) -> list[int]:
        return replace(NO_EPOCH_FILES, **changes).snapshot_epochs(
            epochs=10, cycle_ends=ends, steps_per_epoch=5
        )

    assert epochs_of([10, 25]) == []
    assert epochs_of([10, 25], snapshots="cycles") == [2, 5]
    assert epochs_of([], snapshots="every:3") == [3, 6, 9]
    assert epochs_of([], snapshots="every:3", snapshots_last_epochs=4) == [9]
    with pytest.raises(ValueError, match=r"snapshots=cycles .* run of 10 epochs, got none"):
        epochs_of([], snapshots="cycles")
    with pytest.raises(ValueError, match="an end after step 12"):
        epochs_of([10, 12], snapshots="cycles")
    with pytest.raises(ValueError, match="run of 10 epochs, got every:11"):
        epochs_of([], snapshots="every:11")
