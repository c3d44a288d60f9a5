"""A damaged run is named with file and reason, and hides no other."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import write_run

from visionlab.analysis.predictions import load_correctness, load_last_predictions
from visionlab.analysis.records import read_run, read_runs

ROW = {"epoch": 1, "step": 10, "lr": 0.1}
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
