"""Files of ensembles are read as they are, and damaged ones named and left out."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ensemble_folders import content, write_classes, write_ensemble, write_overlap
from nasty import NASTY

from visionlab.analysis.ensemble_tables import read_class_table, read_overlap
from visionlab.analysis.ensembles import (
    load_class_table,
    load_ensembles,
    load_overlap,
    read_ensemble,
)

MEMBERS = ["a", "b", "c"]
ROW = [0.5, 0.25, 0.75, 0.0, 1.0, 7, 0.875]
HEADER = "class,mean,0.25,0.75,min,max,nr_occur,WBF\n"


def test_each_split_is_an_ensemble(tmp_path: Path) -> None:
    written = write_ensemble(tmp_path, MEMBERS)
    write_ensemble(tmp_path, MEMBERS, split="val", best_member=None)
    (tmp_path / "evaluation_test.json").write_text("{}")
    test, val = load_ensembles(tmp_path)
    assert (test.split, val.split) == ("test", "val")
    assert (test.task, test.samples) == ("classification", (360, "1babd454"))
    assert (test.members, test.best_member, val.best_member) == (MEMBERS, "c", None)
    assert test.metrics == written["metrics"]
    assert list(test.pairs) == ["disagreement"]
    assert test.pairs["disagreement"].tolist() == written["diversity"]["pairs"]["disagreement"]
    curve, by_size = test.by_size, written["by_size"]
    assert curve is not None
    assert curve.metric == "top1"
    assert curve.subsets.tolist() == [
        [each[key] for key in ("size", "mean", "low", "high")] for each in by_size["subsets"]
    ]
    assert curve.spread.tolist() == [[each["size"], each["value"]] for each in by_size["spread"]]
    assert list(test.reliability) == [*MEMBERS, "ensemble", "greedy", "fitted", "soup"]
    bins = written["calibration"]["b"]["reliability"]
    assert test.reliability["b"].high.tolist() == bins["high"]


def test_null_is_nan(tmp_path: Path) -> None:
    written = content(MEMBERS)
    written["metrics"]["a"]["top1"] = None
    written["by_size"]["last"][0]["value"] = None
    written["diversity"]["pairs"]["disagreement"][0][1] = None
    written["calibration"]["a"]["reliability"]["low"][0] = None
    (tmp_path / "ensemble_test.json").write_text(json.dumps(written))
    (found,) = load_ensembles(tmp_path)
    assert found.by_size is not None
    numbers = [
        found.metrics["a"]["top1"],
        found.by_size.last[0, 1],
        found.pairs["disagreement"][0, 1],
        found.reliability["a"].low[0],
    ]
    assert np.isnan(numbers).all()


def test_without_labels_there_is_less(tmp_path: Path) -> None:
    written = {key: content(MEMBERS)[key] for key in ("members", "best_member", "metrics")}
    (tmp_path / "ensemble_test.json").write_text(json.dumps(written))
    (found,) = load_ensembles(tmp_path)
    assert (found.by_size, found.reliability, found.pairs) == (None, {}, {})


def changed(*keys: str | int, value: Any) -> str:
    """Return the content with another value at a place."""
    whole: Any = content(MEMBERS)
    place = whole
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return json.dumps(whole)


DAMAGE = [
    ("", "must be JSON"),
    ("[]", "must hold an object, got a list"),
    (changed("members", value=3), "must have a list of texts as members, got 3"),
    (changed("members", value=[1]), r"must have a list of texts as members, got \[1\]"),
    (changed("members", value=["a"]), "must have 1 x 1 numbers as diversity.pairs.disagreement"),
    (changed("best_member", value=3), "must have text as best_member, got 3"),
    (changed("task", value=3), "must have text as task, got 3"),
    (changed("samples", value=[360]), r"must have a count and a fingerprint as samples, got \[360"),
    (changed("metrics", value=[]), r"must have an object or null as metrics, got \[\]"),
    (
        changed("metrics", "a", "top1", value="x"),
        "must have a number or null as metrics.a.top1, got 'x'",
    ),
    (
        changed("metrics", "a", "top1", value={"_target_": "b"}),
        "must have a number or null as metrics.a.top1, got {'_target_'",
    ),
    (changed("by_size", value={"metric": 1}), "must have text as by_size.metric, got 1"),
    (
        changed("by_size", "last", value=3),
        "must have a list of objects with size, value as by_size.last",
    ),
    (
        changed("by_size", "subsets", 0, value={"size": 1}),
        "must have a list of objects with size, mean, low, high as by_size.subsets",
    ),
    (
        changed("by_size", "last", 0, "value", value=10**400),
        "must have a number or null as by_size.last.value, got 1000",
    ),
    (
        changed("calibration", "a", "reliability", "low", value=[0.5]),
        "must have 15 numbers as calibration.a.reliability.low, as many as counts, got 1",
    ),
    (
        changed("calibration", "a", "reliability", "low", value=None),
        "must have a list of numbers as calibration.a.reliability.low, got None",
    ),
]


@pytest.mark.parametrize(("text", "reason"), DAMAGE)
def test_a_damaged_file_is_one_line_and_left_out(
    text: str, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_ensemble(tmp_path, MEMBERS)
    path = tmp_path / "ensemble_val.json"
    path.write_text(text)
    for _ in range(2):
        assert [found.split for found in load_ensembles(tmp_path)] == ["test"]
    (line,) = caplog.messages
    assert re.match(rf"{path} {reason}.*; it is left out$", line)
    assert "\n" not in line
    with pytest.raises(ValueError, match=f"^{path} {reason}"):
        read_ensemble(path)


def test_tables_are_read(tmp_path: Path) -> None:
    write_ensemble(tmp_path, MEMBERS)
    (found,) = load_ensembles(tmp_path)
    assert load_overlap(found) is load_class_table(found) is None
    write_overlap(tmp_path, MEMBERS, [[1, 0.5, 0.25], [0.75, 1, np.nan], [0, 0.125, 1]])
    overlap = load_overlap(found)
    assert overlap is not None
    assert overlap.names == MEMBERS
    assert overlap.values[1, 0] == 0.75
    write_classes(tmp_path, {"cat": ROW, "none": [*[""] * 5, 0, ""]})
    table = load_class_table(found)
    assert table is not None
    assert (table.metric, table.classes) == ("top-1 accuracy", ["cat", "none"])
    assert {name: values[0] for name, values in table.members.items()} == {
        **{"min": 0.0, "0.25": 0.25, "mean": 0.5, "0.75": 0.75, "max": 1.0}
    }
    assert (table.counts.tolist(), table.ensemble[0]) == ([7, 0], 0.875)
    assert np.isnan([table.ensemble[1], table.members["mean"][1]]).all()


def test_names_are_those_of_users(tmp_path: Path) -> None:
    write_classes(tmp_path, dict.fromkeys(NASTY, ROW))
    path = write_classes(tmp_path, dict.fromkeys(NASTY, ROW), name="IOU_0-5_class_wise_APs.csv")
    assert read_class_table(path).classes == [text.replace("\r", "\n") for text in NASTY]
    path = write_overlap(tmp_path, NASTY, np.eye(len(NASTY)))
    assert list(read_overlap(path).names) == [text.replace("\r", "\n") for text in NASTY]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must have rows of 0 cells below a header"),
        ("model,a,b\na,1,2\n", r"must have rows named as its columns \['a', 'b'\], got \['a'\]"),
        ("model,a,b\na,1\nb,2\n", r"must have rows of 3 cells below a header, got \[2, 2\]"),
        ("model,a\na,x\n", r"must have numbers as cells, got \['x'\]"),
        ('model,a\n"a,1\n', "must be CSV, got unexpected end of data"),
        (b"\xff", "must be text in UTF-8"),
    ],
)
def test_a_damaged_overlap_is_one_line(text: str | bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "overlap_matrix.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=f"^{path} {reason}"):
        read_overlap(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("class,mean\ncat,1\n", "must have columns min, 0.25, mean, .*, got"),
        (HEADER, r"must have rows of 8 cells below a header, got \[\]"),
        (HEADER + "cat,1,1,1,1,1,many,1\n", "must have numbers as cells, got"),
    ],
)
def test_a_damaged_table_of_classes_is_left_out(
    text: str, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_ensemble(tmp_path, MEMBERS)
    path = write_classes(tmp_path, {"cat": ROW}, name="IOU_0-5_class_wise_APs.csv")
    path.write_text(text)
    assert load_class_table(load_ensembles(tmp_path)[0]) is None
    (line,) = caplog.messages
    assert re.match(rf"{path} {reason}.*; it is left out$", line)
