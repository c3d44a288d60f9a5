"""Models stand together by the settings of their training."""

import json
from pathlib import Path

import numpy as np
from asking import ask
from run_folders import write_grid, write_run

from visionlab.analysis.best import best_line
from visionlab.analysis.panels import panels_of

TASK = "classification"


def test_a_panel_is_a_setting_of_training_and_a_line_a_model_over_seeds(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", decays=(0.99, 0.9), seeds=(3, 1, 2))
    panels = panels_of(ask(grid).models, task=TASK)
    assert [panel.label for panel in panels] == ["constant", "cosine"]
    for panel in panels:
        assert [line.label for line in panel.lines] == ["no average", "EMA 0.9", "EMA 0.99"]
        for line in panel.lines:
            assert [model.run.seed for model in line.models] == [1, 2, 3]
            assert line.seeds == "3 seeds"
            assert {model.settings["scheduler"] for model in line.models} == {panel.label}
        assert panel.in_training is not None
        assert panel.in_training.label == "no average"
        assert [line.label for line in panel.averages] == ["EMA 0.9", "EMA 0.99"]


def test_numbers_are_sorted_by_size_and_named_by_their_last_word(tmp_path: Path) -> None:
    for lr in (0.5, 10.0, 9.0):
        write_run(tmp_path / f"{lr}", lr=lr)
    panels = panels_of(ask(tmp_path).models, task=TASK)
    assert [panel.label for panel in panels] == ["lr 0.5", "lr 9", "lr 10"]


def test_of_copies_of_one_training_that_which_went_furthest_counts(tmp_path: Path) -> None:
    write_run(tmp_path / "a", decay=0.9, epochs=4, status="running")
    write_run(tmp_path / "b", decay=0.99, epochs=4)
    (panel,) = panels_of(ask(tmp_path).models, task=TASK)
    assert panel.in_training is not None
    (model,) = panel.in_training.models
    assert model.run.folder.name == "b"
    assert panel.label == ""


def test_averages_that_differ_in_more_than_their_decay_stand_apart(tmp_path: Path) -> None:
    for start in (0, 50):
        averaged = {"averaged": {"decay": 0.9, "uniform": False, "start_step": start}}
        write_run(tmp_path / str(start), decay=0.9, changes=averaged)
    (panel,) = panels_of(ask(tmp_path).models, task=TASK)
    labels = [line.label for line in panel.lines]
    assert labels == ["no average", "EMA 0.9, start_step 0", "EMA 0.9, start_step 50"]


def test_models_of_other_tasks_are_left_out(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    changed = {"task": {"name": "keypoints", "monitor": "nme", "mode": "min"}}
    write_run(tmp_path / "b", changes=changed)
    models = ask(tmp_path).models
    for task, folder in ((TASK, "a"), ("keypoints", "b")):
        (panel,) = panels_of(models, task=task)
        assert {model.run.folder.name for line in panel.lines for model in line.models} == {folder}
    assert panels_of(models, task="detection") == []


def test_the_best_average_is_that_of_the_best_monitored_number(tmp_path: Path) -> None:
    for mode, choose in (("max", max), ("min", min)):
        changes = {"task": {"name": TASK, "monitor": "top1", "mode": mode}}
        for seed in (1, 2):
            folder = tmp_path / mode / str(seed)
            write_run(folder, decay=[0.5, 0.9, 0.99], seed=seed, changes=changes)
        (panel,) = panels_of(ask(tmp_path / mode).models, task=TASK)
        rows = [
            json.loads(path.read_text().splitlines()[-1])
            for path in (tmp_path / mode).glob("*/metrics.jsonl")
        ]
        means = {
            decay: np.mean([row[f"val/ema_{decay:g}/top1"] for row in rows])
            for decay in (0.5, 0.9, 0.99)
        }
        best = best_line(panel.averages)
        assert best is not None
        assert best.label == f"EMA {choose(means, key=lambda decay: float(means[decay])):g}"
    assert best_line([]) is None
