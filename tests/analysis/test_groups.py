"""Models stand together by the settings of their training."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from figure_inputs import inputs
from run_folders import write_grid, write_run

from visionlab.analysis.groups import best_average, setting_groups

TASK = "classification"


def test_a_group_is_a_setting_of_training_and_a_member_a_model_over_seeds(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", decays=(0.99, 0.9), seeds=(3, 1, 2))
    groups = setting_groups(inputs(grid)[0], task=TASK)
    assert [group.label for group in groups] == ["constant", "cosine"]
    for group in groups:
        assert [member.label for member in group.members] == ["raw model", "EMA 0.9", "EMA 0.99"]
        for member in group.members:
            assert [model.run.seed for model in member.models] == [1, 2, 3]
            assert {model.settings["scheduler"] for model in member.models} == {group.label}
        assert group.raw is not None
        assert group.raw.label == "raw model"
        assert [member.label for member in group.averages] == ["EMA 0.9", "EMA 0.99"]


def test_numbers_are_sorted_by_size_and_named(tmp_path: Path) -> None:
    for lr in (0.5, 10.0, 9.0):
        write_run(tmp_path / f"{lr}", lr=lr)
    groups = setting_groups(inputs(tmp_path)[0], task=TASK)
    assert [group.label for group in groups] == [
        "learning rate 0.5",
        "learning rate 9",
        "learning rate 10",
    ]


def test_of_copies_of_one_training_that_which_went_furthest_counts(tmp_path: Path) -> None:
    write_run(tmp_path / "a", decay=0.9, epochs=4, status="running")
    write_run(tmp_path / "b", decay=0.99, epochs=4)
    (group,) = setting_groups(inputs(tmp_path)[0], task=TASK)
    assert group.raw is not None
    (model,) = group.raw.models
    assert model.run.folder.name == "b"
    assert group.label == ""


def test_averages_that_differ_in_more_than_their_decay_stand_apart(tmp_path: Path) -> None:
    for start in (0, 50):
        averaged = {"averaged": {"decay": 0.9, "uniform": False, "start_step": start}}
        write_run(tmp_path / str(start), decay=0.9, changes=averaged)
    (group,) = setting_groups(inputs(tmp_path)[0], task=TASK)
    labels = [member.label for member in group.members]
    assert labels == ["raw model", "EMA 0.9, start step 0", "EMA 0.9, start step 50"]


def test_models_of_other_tasks_are_left_out(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    changed = {"task": {"name": "keypoints", "monitor": "nme", "mode": "min"}}
    write_run(tmp_path / "b", changes=changed)
    models = inputs(tmp_path)[0]
    for task, folder in ((TASK, "a"), ("keypoints", "b")):
        (group,) = setting_groups(models, task=task)
        assert {model.run.folder.name for member in group.members for model in member.models} == {
            folder
        }
    assert setting_groups(models, task="detection") == []


def test_the_best_average_is_that_of_the_best_monitored_number(tmp_path: Path) -> None:
    for mode, choose in (("max", max), ("min", min)):
        changes = {"task": {"name": TASK, "monitor": "top1", "mode": mode}}
        for seed in (1, 2):
            folder = tmp_path / mode / str(seed)
            write_run(folder, decay=[0.5, 0.9, 0.99], seed=seed, changes=changes)
        (group,) = setting_groups(inputs(tmp_path / mode)[0], task=TASK)
        rows = [
            json.loads(path.read_text().splitlines()[-1])
            for path in (tmp_path / mode).glob("*/metrics.jsonl")
        ]
        means = {
            decay: np.mean([row[f"val/ema_{decay:g}/top1"] for row in rows])
            for decay in (0.5, 0.9, 0.99)
        }
        best = best_average(group)
        assert best is not None
        assert best.label == f"EMA {choose(means, key=lambda decay: float(means[decay])):g}"
    assert best_average(replace(group, members=[])) is None
