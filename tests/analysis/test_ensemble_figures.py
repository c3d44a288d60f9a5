"""Figures of ensembles show what the files say."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ensemble_folders import (
    NUM_BINS,
    content,
    spread,
    write_classes,
    write_ensemble,
    write_overlap,
)
from figure_inputs import band, legend_texts, panel_groups, panels, points, titles
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgba
from nasty import NASTY
from run_folders import write_run

from visionlab.analysis.ensembles import Reliability
from visionlab.analysis.figures.class_spread import draw_class_ap
from visionlab.analysis.figures.ensemble_panels import STYLES, Panel
from visionlab.analysis.figures.ensemble_size import draw_ensemble_size
from visionlab.analysis.figures.lines import LeftOut
from visionlab.analysis.figures.overlap import MAX_NUMBERED, draw_overlap
from visionlab.analysis.figures.reliability import (
    EDGES,
    confidence_histogram,
    draw_reliability,
)
from visionlab.analysis.figures.style import save

MEMBERS = ["snapshot_01", "snapshot_02", "snapshot_03"]
MANY = [f"snapshot_{number:02d}" for number in range(1, 31)]
ROW = [0.5, 0.25, 0.75, 0.0, 1.0, 7, 0.875]
CLASSES = {"cat": [0.5, 0.25, 0.75, 0.0, 1.0, 7, 0.875], "dog": [0.4, 0.3, 0.5, 0.2, 0.6, 9, 0.1]}
DETECTION = {"task": {"name": "detection", "monitor": "AP", "mode": "max"}}
DRAW = (draw_ensemble_size, draw_reliability, draw_overlap, draw_class_ap)


def write_all(
    folder: Path,
    members: list[str] = MEMBERS,
    *,
    split: str = "test",
    has_run: bool = True,
    **changes: Any,
) -> Path:
    """Write all files of an ensemble, of one run or of several ones."""
    if has_run and not folder.exists():
        write_run(folder, **changes)
    write_ensemble(folder, members, split=split)
    write_overlap(folder, members, np.eye(len(members)), split=split)
    write_classes(folder, CLASSES, split=split)
    return folder


def test_curves_over_sizes_are_those_of_the_file(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    written = write_ensemble(folder, MEMBERS)
    (figure,) = draw_ensemble_size(panels(folder)).values()
    (axis,) = figure.axes
    assert axis.get_title() == "test"
    assert axis.get_ylabel() == "test accuracy"
    assert axis.get_xlabel() == "number of members (equal weights)"
    assert legend_texts(figure) == [
        *("any subset: mean", "any subset: 5-95 %", "last members", "evenly spread"),
        *("best member", "soup", "greedy weights", "fitted weights"),
    ]
    by_size = written["by_size"]
    mean, last, spread, *levels = axis.lines
    assert points(mean) == ([1, 2, 3], [each["mean"] for each in by_size["subsets"]])
    for line, key in ((last, "last"), (spread, "spread")):
        assert points(line) == tuple(
            [each[column] for each in by_size[key]] for column in ("size", "value")
        )
    assert band(axis, 0) == tuple(
        [each[key] for each in by_size["subsets"]] for key in ("low", "high")
    )
    names = {"best member": MEMBERS[-1], "soup": "soup", "greedy weights": "greedy"}
    names["fitted weights"] = "fitted"
    drawn = {line.get_color(): line.get_ydata()[0] for line in levels}
    assert drawn == {
        STYLES[label]["color"]: written["metrics"][name]["top1"] for label, name in names.items()
    }


def test_of_equal_sizes_the_widest_spread_counts(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    by_size = content(MEMBERS)["by_size"]
    rows = [(1, 0.1), (2, 0.2), (2, 0.9), (3, 0.4)]
    by_size["spread"] = [{"size": size, "value": value} for size, value in rows]
    write_ensemble(folder, MEMBERS, by_size=by_size)
    (axis,) = draw_ensemble_size(panels(folder))["ensemble_size"].axes
    assert points(axis.lines[2]) == ([1, 2, 3], [0.1, 0.2, 0.4])


def test_panels_have_room_for_all_but_the_band_of_the_smallest_of_many(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    by_size = content(MANY)["by_size"]
    for row in by_size["subsets"]:
        row |= {"low": 0.4, "mean": 0.5, "high": 0.6}
    for row in by_size["subsets"][:3]:
        row["low"] = -9.0
    write_ensemble(folder, MANY, by_size=by_size)
    (axis,) = draw_ensemble_size(panels(folder))["ensemble_size"].axes
    low, high = axis.get_ylim()
    values = [float(y) for line in axis.lines for y in line.get_ydata()]
    assert -1 < low < min([0.4, *values])
    assert high > max([0.6, *values])
    assert axis.get_xlim() == (0.5, 30.5)


def test_what_is_null_is_not_drawn(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    written = content(MEMBERS)
    written["metrics"]["soup"]["top1"] = None
    for row in written["by_size"]["subsets"]:
        row |= dict.fromkeys(("mean", "low", "high"))
    for bins in written["calibration"].values():
        bins["reliability"]["accuracy"] = [None] * NUM_BINS
        bins["reliability"]["confidence"][0] = None
    written |= {"best_member": None}
    written["diversity"]["pairs"]["disagreement"] = [[None] * 3] * 3
    del written["members"]
    write_ensemble(folder, MEMBERS, **written)
    sizes = draw_ensemble_size(panels(folder))["ensemble_size"]
    assert not {"soup", "best member"} & set(legend_texts(sizes))
    reliability = draw_reliability(panels(folder))["reliability"]
    assert "best member" not in legend_texts(reliability)
    overlap = draw_overlap(panels(folder))["overlap"]
    assert not overlap.axes[0].texts
    for figure in (sizes, reliability, overlap):
        save(figure, tmp_path, "figure")


def test_accuracy_against_confidence_is_that_of_the_file(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    written = write_ensemble(folder, MEMBERS)["calibration"]
    (figure,) = draw_reliability(panels(folder)).values()
    axis, below = figure.axes
    assert (axis.get_title(), axis.get_ylabel()) == ("test", "accuracy")
    assert (below.get_xlabel(), below.get_ylabel()) == ("confidence", "samples")
    assert legend_texts(figure) == [
        *("calibrated", "best member", "ensemble", "soup", "greedy weights", "fitted weights"),
        "other members",
    ]
    order = [*MEMBERS[:2], "fitted", "greedy", "soup", "ensemble", MEMBERS[2]]
    assert len(axis.lines) == len(order) + 1
    for name, line in zip(order, axis.lines, strict=False):
        bins = written[name]["reliability"]
        assert points(line) == (bins["confidence"], bins["accuracy"])
    assert points(axis.lines[-1]) == ([0, 1], [0, 1])
    colours = [STYLES[label]["color"] for label in ("ensemble", "best member")]
    for number, (name, colour) in enumerate(zip(("ensemble", MEMBERS[2]), colours, strict=True)):
        bins = written[name]["reliability"]
        assert band(axis, number) == (bins["low"], bins["high"])
        assert np.allclose(axis.collections[number].get_facecolor()[0][:3], to_rgba(colour)[:3])
    outlines = [patch.get_data() for patch in below.patches]
    assert len(outlines) == len(order)
    for values, edges, _ in outlines:
        assert values.sum() == pytest.approx(24 * NUM_BINS)
        assert edges.tolist() == EDGES.tolist()


def test_of_detectors_it_is_the_precision_of_boxes(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", changes=DETECTION)
    write_ensemble(folder, MEMBERS)
    axis, below = draw_reliability(panels(folder))["reliability"].axes
    assert (axis.get_ylabel(), below.get_ylabel()) == ("precision (IoU 0.50)", "detections")


def test_of_landmarks_it_is_the_error_against_the_spread(tmp_path: Path) -> None:
    tables = {"ensemble": spread(), "fitted": spread(seed=2)}
    calibration = {name: {"error_against_spread": table} for name, table in tables.items()}
    write_ensemble(tmp_path / "a", MEMBERS, calibration=calibration | {MEMBERS[0]: {}})
    write_ensemble(tmp_path / "b", MEMBERS, calibration={"ensemble": calibration["ensemble"]})
    (figure,) = draw_reliability(panels(tmp_path)).values()
    first, second = figure.axes
    assert titles(figure.axes) == ["a, test", "b, test"]
    assert (first.get_xlabel(), first.get_ylabel()) == ("spread of members (px)", "error (px)")
    assert legend_texts(figure) == ["ensemble", "fitted weights", "spread as large as error"]
    for line, table in zip(first.lines, tables.values(), strict=False):
        assert points(line) == (table["spread"], table["error"])
    assert points(second.lines[0]) == points(first.lines[0])
    x, y = points(first.lines[-1])
    assert x == y != [0, 0]
    for limits, column in (("get_xlim", "spread"), ("get_ylim", "error")):
        low, high = getattr(first, limits)()
        assert getattr(second, limits)() == (low, high)
        assert low == 0
        assert high > max(max(table[column]) for table in tables.values())


def reliability(confidence: list[float], counts: list[float]) -> Reliability:
    zeros = np.zeros(len(counts))
    return Reliability(np.array(counts), np.array(confidence), zeros, zeros, zeros)


def test_a_histogram_checked_by_eye() -> None:
    in_order = confidence_histogram(reliability([0.15, 0.25, 0.35], [2, 4, 8]))
    assert in_order == pytest.approx([0, 2, 4, 8, 0, 0, 0, 0, 0, 0])
    # 0.0 to 0.2, 0.2 to 0.5 and 0.5 to 0.7
    wide = confidence_histogram(reliability([0.6, 0.1, 0.3], [5, 2, 4]))
    assert wide.sum() == pytest.approx(11)
    assert wide[:2] == pytest.approx([1, 1])
    single = confidence_histogram(reliability([0.55], [3]))
    assert single == pytest.approx([0, 0, 0, 0, 0, 3, 0, 0, 0, 0])
    assert confidence_histogram(reliability([np.nan], [3])).tolist() == [0] * 10


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 1000)),
        min_size=1,
        max_size=30,
    )
)
def test_a_histogram_loses_no_sample(bins: list[tuple[float, int]]) -> None:
    confidence, counts = zip(*bins, strict=True)
    found = confidence_histogram(reliability(list(confidence), list(counts)))
    assert found.sum() == pytest.approx(sum(counts))
    assert (found >= 0).all()


@pytest.mark.parametrize(
    ("changes", "label", "axes", "texts"),
    [
        (DETECTION, "AP (IoU 0.50)", ("ground truth", "prediction"), ["1.00", "0.25", "0.75"]),
        ({}, "same prediction (% of samples)", ("member", "member"), ["100", "25", "75"]),
        (
            {"task": {"name": "keypoints", "monitor": "nme", "mode": "min"}},
            *("mean distance (px)", ("member", "member"), ["1", "0.25", "0.75"]),
        ),
    ],
)
def test_cells_are_those_of_the_table(
    changes: Any, label: str, axes: Any, texts: list[str], tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "run", changes=changes)
    write_ensemble(folder, ["a", "b"], diversity={})
    write_overlap(folder, ["a", "b"], [[1, 0.25], [0.75, 1]])
    axis, bar = draw_overlap(panels(folder))["overlap"].axes
    assert (axis.get_xlabel(), axis.get_ylabel()) == axes
    assert bar.get_ylabel() == label
    assert [text.get_text() for text in axis.texts] == [*texts, texts[0]]
    assert [tuple(text.get_position()) for text in axis.texts][1] == (1, 0)  # column 1, row 0
    assert [text.get_text() for text in axis.get_yticklabels()] == ["a", "b"]
    scale = 100 if not changes else 1
    assert axis.images[0].get_clim() == (0.25 * scale, 0.75 * scale)  # not those of one model


def test_without_a_table_it_is_the_disagreement_of_pairs(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    write_ensemble(folder, ["a", "b"], diversity={"pairs": {"disagreement": [[0, 0.3], [0.3, 0]]}})
    axis, bar = draw_overlap(panels(folder))["overlap"].axes
    assert bar.get_ylabel() == "exactly one is right (% of samples)"
    assert [text.get_text() for text in axis.texts] == ["0", "30", "30", "0"]
    write_ensemble(folder, ["a", "b"], diversity={"pairs": {"distance_px": [[0, 1.25], [1.25, 0]]}})
    axis, bar = draw_overlap(panels(folder))["overlap"].axes
    assert bar.get_ylabel() == "mean distance (px)"
    assert [text.get_text() for text in axis.texts] == ["0", "1.25", "1.25", "0"]
    write_ensemble(folder, ["a", "b"], diversity={})
    assert draw_overlap(panels(folder)) == {}


@pytest.mark.parametrize(("count", "num_texts"), [(1, 1), (MAX_NUMBERED, 400), (60, 0)])
def test_of_many_models_there_are_colours_alone(count: int, num_texts: int, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    names = [f"member {number}" for number in range(count)]
    write_ensemble(folder, names)
    figure = draw_overlap(panels(folder))["overlap"]
    assert len(figure.axes[0].texts) == num_texts
    assert np.asarray(figure.axes[0].images[0].get_array()).shape == (count, count)


def test_classes_have_their_range_most_frequent_first(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    write_ensemble(folder, MEMBERS)
    write_classes(folder, CLASSES)
    (figure,) = draw_class_ap(panels(folder)).values()
    (axis,) = figure.axes
    assert axis.get_xlabel() == "top-1 accuracy"
    assert [text.get_text() for text in axis.get_yticklabels()] == ["dog (9)", "cat (7)"]
    assert axis.get_ylim()[0] > axis.get_ylim()[1]
    assert legend_texts(figure) == ["min to max", "quartiles", "mean of members", "ensemble"]
    ranges, quartiles = (
        [np.asarray(segment).tolist() for segment in each.get_segments()]
        for each in axis.collections
    )
    assert ranges == [[[0.2, 0], [0.6, 0]], [[0.0, 1], [1.0, 1]]]
    assert quartiles == [[[0.3, 0], [0.5, 0]], [[0.25, 1], [0.75, 1]]]
    mean, ensemble = axis.lines
    assert points(mean) == ([0.4, 0.5], [0, 1])
    assert points(ensemble) == ([0.1, 0.875], [0, 1])


def test_classes_and_points_of_other_tasks(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", changes=DETECTION)
    write_ensemble(folder, MEMBERS)
    path = write_classes(folder, {"none": [*[""] * 5, 0, ""]}, name="IOU_0-5_class_wise_APs.csv")
    figure = draw_class_ap(panels(folder))["class_ap"]
    assert figure.axes[0].get_xlabel() == "AP (IoU 0.50)"
    save(figure, tmp_path, "class_ap")
    path.rename(path.with_name("point_wise_errors_px.csv"))
    assert draw_class_ap(panels(folder))["class_ap"].axes[0].get_xlabel() == "mean error (px)"


def test_more_classes_than_anybody_reads_are_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    write_ensemble(folder, MEMBERS)
    write_classes(folder, {f"class {number}": ROW for number in range(401)})
    with pytest.raises(LeftOut, match=r"^class_ap is left out: 401 bars, at most 400"):
        draw_class_ap(panels(folder))


@pytest.mark.parametrize("draw", DRAW)
def test_names_of_users_are_drawn_as_text(draw: Any, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    write_ensemble(folder, NASTY)
    write_classes(folder, dict.fromkeys(NASTY, ROW))
    (figure,) = draw(panels(folder)).values()
    save(figure, tmp_path, "figure")


@pytest.mark.parametrize("draw", DRAW)
def test_there_is_a_panel_for_each_setting_seed_and_split(draw: Any, tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        write_all(tmp_path / str(lr), lr=lr)
    write_all(tmp_path / "other", MANY, lr=0.2, seed=2)
    write_all(tmp_path / "other", split="val")
    (figure,) = draw(panels(tmp_path)).values()
    assert list(filter(None, titles(figure.axes))) == [
        "learning rate 0.1, test",
        "learning rate 0.2, seed 1, test",
        "learning rate 0.2, seed 2, test",
        "learning rate 0.2, seed 2, validation",
    ]


def test_copies_of_a_run_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_all(tmp_path / name)
    (figure,) = draw_ensemble_size(panels(tmp_path)).values()
    assert titles(figure.axes) == ["one, test", "two, test"]


@pytest.mark.parametrize("draw", DRAW)
def test_ensembles_of_several_runs_have_panels_named_by_their_folders(
    draw: Any, tmp_path: Path
) -> None:
    for place in ("a/ensemble", "b/ensemble", "b/run"):
        write_all(tmp_path / place, has_run=False)
    (figure,) = draw(panels(tmp_path)).values()
    found = list(filter(None, titles(figure.axes)))
    assert found == ["a/ensemble, test", "b/ensemble, test", "b/run, test"]


def test_ensembles_of_the_same_samples_are_in_one_figure(tmp_path: Path) -> None:
    run = write_all(tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"samples": {"test": [360, "1babd454"]}}))
    write_all(tmp_path / "same", has_run=False)
    for name in ("other", "others"):
        write_ensemble(tmp_path / name, MEMBERS, samples=[361, "1babd454"])
    write_ensemble(tmp_path / "old", MEMBERS, samples=None, task=None)
    groups = {group.ending: titles_of(group.panels) for group in panel_groups(tmp_path)}
    assert groups == {
        "": ["test", "same, test"],
        "old": ["old, test"],
        "other": ["other, test", "others, test"],
    }


def titles_of(found: Sequence[Panel]) -> list[str]:
    return [panel.title for panel in found]


def test_panels_have_one_scale(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        by_size = content(MEMBERS, seed=number)["by_size"]
        write_ensemble(tmp_path / name, MEMBERS, by_size=by_size)
        write_overlap(tmp_path / name, ["x", "y"], [[1, 0.25 + 0.5 * number], [0.5, 1]])
        write_classes(tmp_path / name, {"cat": [0.5, 0.5, 0.5, 0.4, 0.6 + 0.2 * number, 7, 0.5]})
    size, classes, overlap = (
        next(iter(draw(panels(tmp_path)).values())).axes
        for draw in (draw_ensemble_size, draw_class_ap, draw_overlap)
    )
    assert size[0].get_ylim() == size[1].get_ylim()
    assert classes[0].get_xlim() == classes[1].get_xlim()
    assert classes[0].get_xlim()[1] > 0.8
    assert overlap[0].images[0].get_clim() == overlap[1].images[0].get_clim() == (25, 75)


def test_a_level_far_from_the_curves_is_beyond_the_panel(tmp_path: Path) -> None:
    written = content(MEMBERS)
    for row in written["by_size"]["subsets"]:
        row |= {"low": 0.97, "mean": 0.98, "high": 0.99}
    for row in (*written["by_size"]["last"], *written["by_size"]["spread"]):
        row["value"] = 0.98
    for number, metrics in enumerate(written["metrics"].values()):
        metrics["top1"] = 0.95 + 0.01 * number
    written["metrics"]["soup"]["top1"] = 0.1
    del written["members"]
    write_ensemble(tmp_path / "a", MEMBERS, **written)
    (axis,) = draw_ensemble_size(panels(tmp_path))["ensemble_size"].axes
    low, high = axis.get_ylim()
    assert 0.9 < low < 0.97
    assert high > 0.99


@pytest.mark.parametrize("draw", DRAW)
def test_more_than_12_panels_are_left_out(draw: Any, tmp_path: Path) -> None:
    for number in range(13):
        write_all(tmp_path / str(number), seed=number)
    with pytest.raises(LeftOut, match="is left out: 13 panels, at most 12"):
        draw(panels(tmp_path))


@pytest.mark.parametrize("draw", DRAW)
def test_the_command_for_runs_without_ensembles_is_said_once(
    draw: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    plain = write_run(tmp_path / "a", lr=0.1)
    write_run(tmp_path / "b", lr=0.2)
    name = draw.__name__.removeprefix("draw_")
    assert draw(panels(tmp_path, figure=name)) == {}
    assert not caplog.messages
    write_all(tmp_path / "c", lr=0.3)
    (figure,) = draw(panels(tmp_path, figure=name)).values()
    assert list(filter(None, titles(figure.axes))) == ["learning rate 0.3, test"]
    (line,) = caplog.messages
    assert line.startswith(f"{name} leaves out 2 runs without ensemble_<split>.json; ")
    assert line.endswith(f" eval.py run={plain} ensemble=snapshots makes it")


@pytest.mark.parametrize("draw", DRAW)
def test_a_damaged_file_hides_no_other(
    draw: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        write_all(tmp_path / name, lr=0.1 if name == "a" else 0.2)
    path = tmp_path / "a" / "ensemble_test.json"
    path.write_text("{")
    (figure,) = draw(panels(tmp_path)).values()
    assert list(filter(None, titles(figure.axes))) == ["learning rate 0.2, test"]
    (line,) = caplog.messages
    assert line.startswith(f"{path} must be JSON, got ")
