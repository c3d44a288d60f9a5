"""Predictions are read as far as they are there, samples in the order of their keys."""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import write_run

from visionlab.analysis.predictions import (
    at_common_epochs,
    load_correctness,
    load_last_predictions,
    prediction_files,
)
from visionlab.analysis.records import RunRecord, read_run


def run(folder: Path, **given: Any) -> RunRecord:
    return read_run(write_run(folder / "run", **given))


def npz(record: RunRecord, epoch: int, name: str = "model") -> Path:
    return record.folder / "predictions" / f"{epoch:04d}_{name}.npz"


def test_correctness_is_what_the_files_say(tmp_path: Path) -> None:
    record = run(tmp_path, epochs=4)
    found = load_correctness(record, "ema_0.9", None)
    assert found is not None
    assert found.epochs.tolist() == [1, 2, 3, 4]
    for row, epoch in enumerate(found.epochs):
        with np.load(npz(record, epoch, "ema_0.9")) as file:
            assert found.correct[row].tolist() == (file["label"] == file["predicted"]).tolist()
            assert found.labels.tolist() == file["label"].tolist()
            assert found.keys.tolist() == file["keys"].tolist()


def test_samples_are_aligned_by_key(tmp_path: Path) -> None:
    record = run(tmp_path, epochs=3)
    before = load_correctness(record, "model", None)
    for epoch in (1, 2, 3):
        with np.load(npz(record, epoch)) as file:
            order = np.random.default_rng(epoch).permutation(len(file["keys"]))
            moved = {name: file[name][order] for name in file}
        np.savez_compressed(npz(record, epoch), **moved)
    after = load_correctness(record, "model", None)
    assert before is not None
    assert after is not None
    assert after.keys.tolist() == before.keys.tolist()
    assert after.correct.tolist() == before.correct.tolist()
    assert after.labels.tolist() == before.labels.tolist()


def test_epochs_without_a_file_and_outside_the_range_are_left_out(tmp_path: Path) -> None:
    record = run(tmp_path, epochs=6)
    npz(record, 3).unlink()
    found = load_correctness(record, "model", (2, 5))
    assert found is not None
    assert found.epochs.tolist() == [2, 4, 5]
    assert load_correctness(record, "model", (7, 9)) is None
    assert load_correctness(record, "ema_0.5", None) is None
    assert list(prediction_files(record, "ema_0.9")) == [1, 2, 3, 4, 5, 6]


def test_two_models_meet_at_the_epochs_that_both_have(tmp_path: Path) -> None:
    record = run(tmp_path, epochs=4)
    npz(record, 1).unlink()
    npz(record, 4, "ema_0.9").unlink()
    one, other = load_correctness(record, "model", None), load_correctness(record, "ema_0.9", None)
    assert one is not None
    assert other is not None
    first, second = at_common_epochs(one, other)
    assert first.epochs.tolist() == second.epochs.tolist() == [2, 3]
    assert first.correct.tolist() == one.correct[:2].tolist()
    assert second.correct.tolist() == other.correct[1:].tolist()


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "bits"])
def test_a_file_that_cannot_be_read_is_told_and_left_out(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = run(tmp_path, epochs=3)
    content = npz(record, 3).read_bytes()
    bits = content[:150] + bytes(60) + content[210:]
    broken = {"cut": content[:300], "empty": b"", "text": b"oops", "bits": bits}[damage]
    npz(record, 3).write_bytes(broken)
    with caplog.at_level(logging.WARNING):
        found = load_correctness(record, "model", None)
        last = load_last_predictions(record, "model", ("keys", "predicted"))
    assert found is not None
    assert found.epochs.tolist() == [1, 2]
    with np.load(npz(record, 2)) as file:
        assert last is not None
        assert last["predicted"].tolist() == file["predicted"].tolist()
    (line,) = (each.getMessage() for each in caplog.records)
    assert line.startswith(f"{npz(record, 3)} cannot be read and is left out: ")
    assert "\n" not in line


def test_a_file_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    record = run(tmp_path, epochs=2)
    assert load_last_predictions(record, "model", ("label",)) is not None
    np.savez(npz(record, 2), label=np.array([2]))
    again = load_last_predictions(record, "model", ("label",))
    assert again is not None
    assert again["label"].tolist() == [2]


def test_arrays_that_older_runs_did_not_write_are_none(tmp_path: Path) -> None:
    assert load_last_predictions(run(tmp_path), "model", ("label", "outcomes")) is None


def test_a_run_without_predictions_has_none(tmp_path: Path) -> None:
    record = run(tmp_path)
    shutil.rmtree(record.folder / "predictions")
    assert load_correctness(record, "model", None) is None
    assert load_last_predictions(record, "model", ("label",)) is None


def test_other_samples_in_one_epoch_are_refused(tmp_path: Path) -> None:
    record = run(tmp_path, epochs=2)
    with np.load(npz(record, 2)) as file:
        changed = {name: file[name] for name in file} | {"keys": file["keys"] + 1}
    np.savez(npz(record, 2), **changed)
    with pytest.raises(
        ValueError, match=r"^predictions must have the same samples, got others in .*0002_model"
    ):
        load_correctness(record, "model", None)
