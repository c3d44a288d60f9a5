"""What observers write down."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hparams_tab import differing, listed, num_written
from markdown_it import MarkdownIt
from nasty import NASTY
from siblings import classification
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from visionlab.config.run_config import to_yaml
from visionlab.engine.evaluation import Result
from visionlab.engine.observers import MetricsFile, Predictions, TensorBoard
from visionlab.engine.state import RunningMeans
from visionlab.files.run_folder import read_rows
from visionlab.testing.training import train


def test_rows_after_the_checkpoint_and_a_torn_line_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = [{"epoch": epoch, "step": epoch} for epoch in (1, 2, 2.5, 3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"epoch": 4, "st')
    observer = MetricsFile(path, epoch=2)
    observer.on_epoch({"epoch": 3, "step": 3}, {})
    assert [row["epoch"] for row in read_rows(path)] == [1, 2, 3]


def test_a_number_that_is_not_finite_is_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsFile(path, epoch=0).on_epoch({"epoch": 1, "val/model/loss": math.nan}, {})
    assert json.loads(path.read_text()) == {"epoch": 1, "val/model/loss": None}


def test_predictions_are_kept_by_sample_epoch_and_model(tmp_path: Path) -> None:
    samples = {"keys": torch.tensor([5, 3]), "correct": torch.tensor([True, False])}
    result = Result(metrics={}, samples=samples)
    Predictions(tmp_path).on_epoch({"epoch": 2}, {"model": result, "ema_0.9": result})
    Predictions(tmp_path).on_epoch({"epoch": 2.5}, {"model": result})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0002_ema_0.9.npz",
        "0002_model.npz",
        "0003_model.npz",
    ]
    with np.load(tmp_path / "0002_model.npz") as arrays:
        assert arrays["keys"].tolist() == [5, 3]
        assert arrays["correct"].tolist() == [True, False]


def test_predictions_agree_with_the_rows(tmp_path: Path) -> None:
    trained = train(classification, tmp_path, observers=[Predictions(tmp_path / "predictions")])
    for row in trained.rows:
        for name in ("model", "ema_0.5", "ema_0.9"):
            path = tmp_path / "predictions" / f"{row['epoch']:04.0f}_{name}.npz"
            with np.load(path) as arrays:
                assert arrays["correct"].mean() == row[f"val/{name}/top1"]
                assert set(arrays["keys"]) == set(trained.task.splits["val"].samples.tolist())


def test_tensorboard_draws_the_rows_under_their_names(tmp_path: Path) -> None:
    observer = TensorBoard(tmp_path, step=0, config="lr: 1", settings={})
    trained = train(classification, tmp_path / "run", observers=[observer])
    observer.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    drawn = set(trained.rows[0]) - {"step"}
    assert drawn <= set(events.Tags()["scalars"])
    points = events.Scalars("val/ema_0.5/top1")
    assert [point.step for point in points] == [3, 6, 9]
    assert [point.value for point in points] == pytest.approx(
        [row["val/ema_0.5/top1"] for row in trained.rows]
    )


def test_tensorboard_hides_what_was_drawn_after_the_checkpoint(tmp_path: Path) -> None:
    for start, values in ((0, {3: 1.0, 6: 2.0}), (3, {6: 5.0, 9: 6.0})):
        observer = TensorBoard(tmp_path, step=start, config="", settings={})
        for step, value in values.items():
            observer.on_epoch({"epoch": step // 3, "step": step, "loss": value}, {})
        observer.close()
    points = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [(point.step, point.value) for point in points] == [(3, 1.0), (6, 5.0), (9, 6.0)]


def test_tensorboard_has_text_of_users_as_text(tmp_path: Path) -> None:
    config = to_yaml({text: {"values": [text]} for text in NASTY})
    settings = {text: text for text in NASTY}
    observer = TensorBoard(tmp_path / "run", step=0, config=config, settings=settings)
    observer.on_epoch({"step": 1, **{f"val/model/AP/{text}": 0.5 for text in NASTY}}, {})
    observer.finish({"step": 1})
    observer.close()
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert set(events.Tags()["scalars"]) == {f"val/model/AP/{text}" for text in NASTY}
    (shown,) = events.Tensors("config/text_summary")
    (code,) = MarkdownIt().parse(shown.tensor_proto.string_val[0].decode())
    assert (code.type, code.content) == ("code_block", config)
    (row,) = listed(tmp_path).values()
    assert row.settings.items() >= settings.items()


def test_runs_are_listed_with_their_settings_and_numbers(tmp_path: Path) -> None:
    for number, scheduler in enumerate(("cosine", "linear")):
        settings = {"scheduler": scheduler, "optimizer.lr": 0.1, "averaged.decay": "[0.5, 0.9]"}
        observer = TensorBoard(tmp_path / scheduler, step=0, config="", settings=settings)
        observer.on_epoch({"epoch": 1, "step": 3, "val/model/top1": 0.5}, {})
        assert listed(tmp_path)[scheduler].status == "unknown"
        observer.finish({"step": 3, "test/model/top1": 0.25 + number})
        observer.close()
    found = listed(tmp_path)
    assert found.keys() == {"cosine", "linear"}
    assert differing(tmp_path) == {"scheduler"}
    assert found["linear"].settings == {
        "scheduler": "linear",
        "optimizer.lr": 0.1,
        "averaged.decay": "[0.5, 0.9]",
    }
    assert found["linear"].metrics == {"epoch": 1, "val/model/top1": 0.5, "test/model/top1": 1.25}
    assert found["linear"].status == "success"


@pytest.mark.parametrize("step", [0, 3])
def test_a_run_that_goes_on_is_listed_once(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # files are read in the order of their names, which end in this number: 10 would precede 9
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))
    folder = tmp_path / "run"
    killed = TensorBoard(folder, step=0, config="a: 1", settings={"lr": 0.1})
    killed.on_epoch({"epoch": 1, "step": 3, "loss": 2.0}, {})
    killed.close()
    observer = TensorBoard(folder, step=step, config="a: 1", settings={"lr": 0.1})
    observer.on_epoch({"epoch": 2, "step": 6, "loss": 1.0}, {})
    observer.finish({"step": 6, "test/model/loss": 1.5})
    observer.close()
    assert len(list(folder.glob("events.*"))) == 2
    (row,) = listed(tmp_path).values()
    assert row.settings == {"lr": 0.1}
    assert row.metrics == {"epoch": 2, "loss": 1, "test/model/loss": 1.5}
    written = num_written(folder)
    for name in ("_hparams_/session_start_info", "_hparams_/session_end_info"):
        assert written[name] == 1
    assert written["config/text_summary"] == 1


def test_running_means_do_not_depend_on_when_they_are_looked_at() -> None:
    often, once = RunningMeans(), RunningMeans()
    for step in range(40):
        scalars = {"loss": torch.tensor(0.1) * step, "box": torch.tensor(1.0 / (step + 1))}
        for means in (often, once):
            means.add(scalars, where="", num_samples=step % 3 + 1)
        often.flush()
    assert often.means() == once.means()
    assert RunningMeans.from_state_dict(once.state_dict()).means() == once.means()


def test_a_value_that_is_not_finite_is_named_with_its_own_step() -> None:
    means = RunningMeans()
    for step in range(5):
        loss = torch.tensor(math.inf if step >= 2 else 1.0)
        means.add({"loss": loss}, where=f"step {step}", num_samples=1)
    with pytest.raises(FloatingPointError, match="losses must be finite, got loss=inf at step 2"):
        means.means()
