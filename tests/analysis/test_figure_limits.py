"""Figures with more panels, lines or bars than anybody reads are left out, and said."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from figure_inputs import inputs
from run_folders import write_run
from test_detection_figures import write_detector
from test_keypoint_figures import write_regressor

from visionlab.analysis.figures.confusion import draw_confusion
from visionlab.analysis.figures.detection import draw_class_precision, draw_precision_recall
from visionlab.analysis.figures.histograms import draw_misclassification, draw_mismatch
from visionlab.analysis.figures.keypoints import draw_keypoint_errors, draw_pck
from visionlab.analysis.figures.lines import LeftOut
from visionlab.analysis.figures.persistence import draw_persistence
from visionlab.analysis.figures.stability import draw_stability


@pytest.mark.parametrize(
    ("draw", "decays", "what"),
    [
        (draw_stability, [0.9], "13 panels"),
        (draw_misclassification, [0.9], "13 panels"),
        (draw_misclassification, [0.8, 0.9], "13 figures"),
        (draw_mismatch, [0.8, 0.9], "13 figures"),
        (draw_persistence, [0.9], "13 figures"),
        (draw_confusion, [0.9], "13 panels"),
    ],
)
def test_neither_panels_nor_figures_are_without_number(
    draw: Any, decays: list[float], what: str, tmp_path: Path
) -> None:
    for number in range(13):
        folder = tmp_path / str(number)
        write_run(folder, lr=0.1 + number / 100, decay=decays, epochs=10, num_samples=4)
    with pytest.raises(LeftOut, match=f"^(.+ is left out: {what}, at most 12.*\n?)+$"):
        draw(*inputs(tmp_path))
    assert draw(*inputs(*(tmp_path / str(number) for number in range(12))))


@pytest.mark.parametrize("draw", [draw_keypoint_errors, draw_pck])
def test_panels_of_keypoints_are_not_without_number(draw: Any, tmp_path: Path) -> None:
    for number in range(13):
        path = write_regressor(tmp_path / str(number)) / "config.yaml"
        config = yaml.safe_load(path.read_text())
        config["optimizer"]["lr"] = 0.1 + number / 100
        path.write_text(yaml.safe_dump(config))
    with pytest.raises(LeftOut, match=r"is left out: (13|26) panels, at most 12"):
        draw(*inputs(tmp_path))
    assert draw(*inputs(*(tmp_path / str(number) for number in range(12))))


@pytest.mark.parametrize("draw", [draw_class_precision, draw_precision_recall])
def test_panels_of_detectors_are_not_without_number(draw: Any, tmp_path: Path) -> None:
    for number in range(13):
        write_detector(tmp_path / str(number), optimizer={"lr": 0.1 + number / 100})
    with pytest.raises(LeftOut, match=r"is left out: (13|26) panels, at most 12"):
        draw(*inputs(tmp_path))
    assert draw(*inputs(*(tmp_path / str(number) for number in range(3))))


def test_of_a_thousand_classes_no_bars_are_drawn(tmp_path: Path) -> None:
    write_detector(tmp_path / "run", names=[f"class {number}" for number in range(1000)])
    with pytest.raises(LeftOut, match="class_precision is left out: 2997 bars, at most 400"):
        draw_class_precision(*inputs(tmp_path))
