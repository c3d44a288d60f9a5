"""A damaged run is named with file and reason, and hides no other."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figure_inputs import inputs, lines, points
from run_folders import write_run
from test_plots import options, run_plot

from visionlab.analysis.figures.curves import draw_curves
from visionlab.analysis.figures.losses import draw_losses
from visionlab.analysis.predictions import load_correctness, load_last_predictions
from visionlab.analysis.records import read_run, read_runs

ROW = {"epoch": 1, "step": 10, "lr": 0.1}
RECORD = (
    *("started", "updated", "status", "error", "seed", "labels", "choices", "overrides", "options"),
    *("versions", "commit", "hardware", "epoch", "step", "train_seconds", "stopped", "results"),
    *("samples", "shares_training_with"),
)
DAMAGE = [
    ("config.yaml", "", "config.yaml must hold settings, got nothing"),
    ("config.yaml", "task: {name: classification", "config.yaml must be YAML"),
    ("config.yaml", "a: \x00", "config.yaml must be YAML"),
    ("config.yaml", "[]", "config.yaml must hold settings, got a list"),
    ("config.yaml", "task: 3", "config.yaml must have settings by name as task, got int"),
    ("config.yaml", "a: &a [*a]", "config.yaml must be YAML, got aliases"),
    ("run.json", "", "run.json must be JSON"),
    ("run.json", "null", "run.json must hold an object, got nothing"),
    ("run.json", "[]", "run.json must hold an object, got a list"),
    ("run.json", '{"results": []}', "run.json must have settings by name or null as results"),
    ("run.json", '{"results": {"test": {"model": {"top1": "x"}}}}', "as results, got dict"),
    ("run.json", '{"labels": [1]}', "run.json must have a list .* or null as labels, got list"),
    ("run.json", '{"status": "fine"}', "run.json must have one of .* as status, got str"),
    ("run.json", '{"options": "x"}', "run.json must have a list .* or null as options, got str"),
    ("run.json", '{"commit": {"hash": []}}', "run.json must have .* or null as commit, got dict"),
    ("run.json", '{"samples": {"val": 3}}', "run.json must have .* or null as samples, got dict"),
    ("metrics.jsonl", '{"step": 1}\n', "metrics.jsonl line 1 must have a number as epoch"),
    ("metrics.jsonl", json.dumps(ROW) + '\n{"a}\n', "metrics.jsonl line 2 must be JSON"),
    ("metrics.jsonl", '{"epoch": 1, "val/model/top1": []}\n', "or null as val/model/top1"),
    ("metrics.jsonl", b"\xff}\n", "metrics.jsonl must be text in UTF-8"),
]


@pytest.mark.parametrize(("name", "content", "reason"), DAMAGE)
def test_the_others_are_read(name: str, content: str | bytes, reason: str, tmp_path: Path) -> None:
    good, bad = write_run(tmp_path / "good"), write_run(tmp_path / "bad")
    (bad / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    scan = read_runs([tmp_path])
    assert [run.folder for run in scan.runs] == [good]
    assert list(scan.unreadable) == [bad]
    assert re.search(reason, scan.unreadable[bad])
    assert "\n" not in scan.unreadable[bad]
    with pytest.raises(
        ValueError, match=rf"^runs must be folders .*{bad} cannot be read: .*{reason}"
    ):
        read_runs([bad])


def test_a_record_may_lack_keys(tmp_path: Path) -> None:
    (write_run(tmp_path / "run") / "run.json").write_text("{}")
    (run,) = read_runs([tmp_path]).runs
    assert (run.state, run.labels) == ("waiting", [])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, None) for key in RECORD),
        ("commit", {"hash": "abc"}),
        ("commit", {"hash": None}),
        ("commit", {}),
        ("hardware", {"cores": 2}),
        ("hardware", {"cpu": 2}),
        ("hardware", {}),
    ],
)
def test_whatever_a_record_lacks_all_is_written(key: str, value: Any, tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "good", seed=2)
    path = write_run(tmp_path / "runs" / "bad") / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    given = options(tmp_path / "runs", tmp_path / "out", report=True)
    assert "report.html" in run_plot(given)
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('class="folder"') == 4


def test_rows_without_a_step_have_no_place_on_an_axis_of_steps(tmp_path: Path) -> None:
    path = write_run(tmp_path / "runs" / "bad") / "metrics.jsonl"
    path.write_text(path.read_text().replace('"step"', '"steps"'))
    write_run(tmp_path / "runs" / "good", seed=2)
    models, given = inputs(tmp_path / "runs", x="step")
    (axis,) = draw_curves(models, given)["curves"].axes
    assert points(lines(axis)["raw model"])[0] == [10, 20, 30]
    assert draw_losses(models, given)


def arrays_of(path: Path) -> dict[str, Any]:
    with np.load(path) as content:
        return dict(content)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("label", lambda column: column[:3]),
        ("label", lambda column: column.astype(float)),
        ("label", lambda column: column.astype(np.int64) + 1000),
        ("label", lambda column: -column.astype(np.int64) - 1),
        ("correct", lambda column: column.astype(str)),
        ("correct", lambda column: np.array(True)),
        ("keys", lambda column: np.zeros((3, 3), np.int64)),
    ],
)
def test_arrays_of_another_form_are_left_out(
    name: str, change: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_run(tmp_path / "run", epochs=2)
    path = folder / "predictions" / "0002_model.npz"
    arrays = arrays_of(path)
    np.savez_compressed(path, **{**arrays, name: change(arrays[name])})
    found = load_correctness(read_run(folder), "model", None)
    assert found is not None
    assert found.epochs.tolist() == [1]
    assert f"{path} cannot be read and is left out" in caplog.text


def test_an_array_that_claims_512_gib_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_run(tmp_path / "run", epochs=1)
    path = folder / "predictions" / "0001_model.npz"
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (68719476736,), }"
    header += b" " * (117 - len(header)) + b"\n"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(
            "label.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        )
    assert load_last_predictions(read_run(folder), "model", ("label",)) is None
    assert f"{path} cannot be read and is left out" in caplog.text
