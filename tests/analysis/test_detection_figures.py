"""Precision-recall curves and AP of classes, against pycocotools' way on few detections."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figure_inputs import inputs, legend_texts
from run_folders import CLASSES, write_run

from visionlab.analysis.figures.detection import (
    MAX_NAMED,
    MEAN,
    RECALLS,
    draw_class_precision,
    draw_precision_recall,
    precision_at_recalls,
)

Array = np.ndarray[Any, Any]
TASK = {"name": "detection", "monitor": "AP", "mode": "max"}
EPOCHS, IMAGES = 2, 12


def arrays(seed: int, num_classes: int) -> dict[str, Array]:
    """Return detections of random outcome; the last class is nowhere."""
    draw = np.random.default_rng(seed)
    counts = draw.integers(0, 9, IMAGES)
    total = int(counts.sum())
    labels = draw.integers(0, num_classes - 1, total)
    outcomes = draw.integers(-1, 2, total)
    num_objects = np.zeros((IMAGES, num_classes), dtype=np.int16)
    images = np.repeat(np.arange(IMAGES), counts)
    np.add.at(num_objects, (images, labels), outcomes == 1)
    num_objects[:, :-1] += draw.integers(0, 2, (IMAGES, num_classes - 1)).astype(np.int16)
    num_objects[0, :-1] += 1
    return {
        "keys": np.arange(IMAGES),
        "num_detections": counts.astype(np.int32),
        "scores": draw.random(total).round(1).astype(np.float32),  # with ties
        "labels": labels.astype(np.int16),
        "outcomes": outcomes.astype(np.int8),
        "num_objects": num_objects,
    }


def write_detector(
    folder: Path, *, seed: int = 1, names: list[str] = CLASSES, **changes: Any
) -> Path:
    """Write a run of a detector and its two averages."""
    changes = {"task": TASK, **changes}
    write_run(folder, decay=[0.9, 0.99], seed=seed, epochs=EPOCHS, changes=changes)
    about = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**about, "labels": names}))
    models = ["model", "ema_0.9", "ema_0.99"]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row, (number, model) in itertools.product(rows, enumerate(models)):
        values = np.random.default_rng([seed, row["epoch"], number]).random(len(names))
        row |= {f"val/{model}/AP/{name}": value for name, value in zip(names, values, strict=True)}
        row[f"val/{model}/AP/{names[-1]}"] = -1.0
        row[f"val/{model}/AP"] = 1.0 if model == "ema_0.9" else 0.5
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for epoch, (number, model) in itertools.product((1, 2), enumerate(models)):
        path = folder / "predictions" / f"{epoch:04d}_{model}.npz"
        np.savez(path, **arrays(1000 * seed + 10 * epoch + number, len(names)))
    return folder


def naive_curve(found: dict[str, Array], label: int) -> list[float]:
    """Return the highest precision among the cuts of the list that reach a recall."""
    rows = [row for row in range(len(found["scores"])) if found["labels"][row] == label]
    rows = sorted(rows, key=lambda row: -found["scores"][row])
    outcomes = [int(found["outcomes"][row]) for row in rows if found["outcomes"][row] >= 0]
    total = int(found["num_objects"][:, label].sum())
    cuts = [
        (sum(outcomes[:end]) / total, sum(outcomes[:end]) / end)
        for end in range(1, len(outcomes) + 1)
    ]
    return [max((p for r, p in cuts if r >= recall), default=0.0) for recall in RECALLS]


def test_curves_are_means_over_seeds_and_classes(tmp_path: Path) -> None:
    folders = [write_detector(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    (figure,) = draw_precision_recall(*inputs(tmp_path)).values()
    assert [axis.get_title() for axis in figure.axes] == ["raw model", "EMA 0.9"]  # the best
    assert legend_texts(figure) == [MEAN, "airplane", "cat"]  # there is no ship
    assert figure.axes[0].get_ylabel() == "precision (IoU 0.50)"
    for axis, model in zip(figure.axes, ("model", "ema_0.9"), strict=True):
        assert axis.get_xlabel() == "recall"
        lines = {line.get_label(): line for line in axis.lines}
        assert len(lines) == 3
        expected = []
        for label, name in enumerate(("airplane", "cat")):
            curves = []
            for folder in folders:
                with np.load(folder / "predictions" / f"0002_{model}.npz") as file:
                    curves.append(naive_curve(dict(file), label))
            expected.append(np.mean(curves, axis=0))
            assert list(lines[name].get_xdata()) == RECALLS.tolist()
            assert lines[name].get_ydata() == pytest.approx(expected[-1])
        assert lines[MEAN].get_ydata() == pytest.approx(np.mean(expected, axis=0))


def test_of_many_classes_only_the_mean_is_named(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(MAX_NAMED + 2)]
    folder = write_detector(tmp_path / "run", names=names)
    (figure,) = draw_precision_recall(*inputs(folder)).values()
    assert legend_texts(figure) == [MEAN]
    assert len(figure.axes[0].lines) == len(names)  # one is nowhere, and the mean


def test_a_class_whose_name_begins_with_an_underscore_is_named(tmp_path: Path) -> None:
    folder = write_detector(tmp_path / "run", names=["_background", "cat", "nowhere"])
    (figure,) = draw_precision_recall(*inputs(folder)).values()
    assert legend_texts(figure) == [MEAN, "_background", "cat"]


def test_predictions_of_older_runs_have_no_curves(tmp_path: Path) -> None:
    folder = write_detector(tmp_path / "run")
    for path in (folder / "predictions").iterdir():
        with np.load(path) as file:
            kept = {name: file[name] for name in file if name not in ("outcomes", "num_objects")}
        np.savez(path, **kept)
    assert draw_precision_recall(*inputs(folder)) == {}
    assert list(draw_class_precision(*inputs(folder))) == ["class_precision"]


def test_bars_are_means_over_seeds_of_the_last_row(tmp_path: Path) -> None:
    folders = [write_detector(tmp_path / str(seed), seed=seed) for seed in (1, 2, 3)]
    (figure,) = draw_class_precision(*inputs(tmp_path)).values()
    (axis,) = figure.axes
    assert axis.get_xlabel() == "AP (mean ± std, 3 seeds)"
    assert [text.get_text() for text in axis.get_yticklabels()] == ["airplane", "cat"]
    assert legend_texts(figure) == ["raw model", "EMA 0.9", "EMA 0.99"]
    rows = [
        json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1]) for folder in folders
    ]
    bars = {each.get_label(): each for each in axis.containers if hasattr(each, "patches")}
    for label, model in (("raw model", "model"), ("EMA 0.9", "ema_0.9"), ("EMA 0.99", "ema_0.99")):
        values = [[row[f"val/{model}/AP/{name}"] for row in rows] for name in ("airplane", "cat")]
        widths = [patch.get_width() for patch in bars[label].patches]
        assert widths == pytest.approx([np.mean(each) for each in values])
        (whiskers,) = bars[label].errorbar.lines[2]
        spreads = [path.vertices[:, 0].max() for path in whiskers.get_paths()]
        ends = [min(np.mean(each) + np.std(each, ddof=1), 1.0) for each in values]
        assert spreads == pytest.approx(ends)
        for place, patch in enumerate(bars[label].patches):
            assert place - 0.5 < patch.get_y() < place + 0.5 - patch.get_height()


def test_bars_of_many_classes_and_of_one_are_equally_high(tmp_path: Path) -> None:
    many = [f"class {number}" for number in range(80)]
    write_detector(tmp_path / "many", names=many, optimizer={"lr": 0.1})
    write_detector(tmp_path / "one", names=["only", "nowhere"], optimizer={"lr": 0.2})
    (figure,) = draw_class_precision(*inputs(tmp_path)).values()
    figure.draw_without_rendering()
    heights = [
        patch.get_window_extent().height
        for axis in figure.axes
        for bars in axis.containers
        for patch in bars.patches
    ]
    assert len(figure.axes) == 2
    assert heights == pytest.approx([heights[0]] * (3 * 79 + 3), rel=0.02)
    (alone,) = draw_class_precision(*inputs(tmp_path / "one")).values()
    alone.draw_without_rendering()
    bars = [patch for each in alone.axes[0].containers for patch in each.patches]
    alone_heights = [patch.get_window_extent().height for patch in bars]
    assert alone_heights == pytest.approx([heights[0]] * 3, rel=0.2)


def test_of_one_seed_there_are_no_whiskers(tmp_path: Path) -> None:
    (figure,) = draw_class_precision(*inputs(write_detector(tmp_path / "run"))).values()
    (axis,) = figure.axes
    assert axis.get_xlabel() == "AP"
    assert [each.errorbar for each in axis.containers] == [None, None, None]


def test_runs_of_other_tasks_have_none(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    assert draw_precision_recall(*inputs(folder)) == draw_class_precision(*inputs(folder)) == {}


def test_a_curve_checked_by_eye() -> None:
    scores, outcomes = np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 0, -1, 1])
    curve = precision_at_recalls(scores, outcomes, num_objects=4)
    assert set(curve[:26]) == {1.0}
    assert curve[26:51] == pytest.approx(np.full(25, 2 / 3))
    assert set(curve[51:]) == {0.0}
