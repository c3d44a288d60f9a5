"""Plots without Hydra: options in, files out."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ensemble_folders import write_classes, write_ensemble
from figure_inputs import inputs
from run_folders import write_grid, write_run
from test_options import PLANNED, TABLE

from visionlab.analysis.options import PlannedOptions, PlotOptions, TableOptions
from visionlab.analysis.plots import plot
from visionlab.optim.schedules import Linear, Schedule


def options(run: Path, out: Path, **changes: Any) -> PlotOptions:
    given: dict[str, Any] = {
        "runs": [run],
        "out": out,
        "where": {},
        "figures": [],
        "report": False,
        "sample_pictures": False,
        "figure": inputs(run, num_samples=2)[1],
        "table": TableOptions(**TABLE),
        "planned": PlannedOptions(**PLANNED),
    }
    return PlotOptions(**{**given, **changes})


def refuse(*given: Any) -> Any:
    raise AssertionError(given)


def run_plot(
    given: PlotOptions,
    *,
    load_schedule: Callable[[str], Schedule] = refuse,
    load_images: Callable[[Path, Sequence[int]], Sequence[Any]] = refuse,
) -> list[str]:
    plot(
        given,
        load_schedule=load_schedule,
        load_run_schedule=lambda settings: None,
        load_images=load_images,
        arguments=["out=out"],
    )
    return sorted(path.name for path in given.out.iterdir())


def test_images_are_loaded_for_bar_codes_if_asked_for(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", epochs=5)
    loaded: list[tuple[Path, int]] = []

    def load_images(folder: Path, keys: Sequence[int]) -> list[Any]:
        loaded.extend((folder, key) for key in keys)
        return [np.zeros((4, 4, 3), dtype=np.uint8) for _ in keys]

    names = ["persistence.png", "persistence.svg", "table.csv", "table.md", "table.tex"]
    plain = options(run, tmp_path / "plain", figures=["persistence"])
    assert run_plot(plain) == names
    given = options(run, tmp_path / "out", figures=["persistence"], sample_pictures=True)
    assert run_plot(given, load_images=load_images) == names
    assert [folder for folder, _ in loaded] == [run, run]


def test_planned_schedules_come_by_name_beside_runs_or_alone(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    names: list[str] = []

    def load_schedule(name: str) -> Schedule:
        names.append(name)
        return Linear(warmup_steps=0, warmup_epochs=0, warmup_ratio=0.0)

    planned = PlannedOptions(**{**PLANNED, "schedulers": ["mine"]})
    given = options(run, tmp_path / "both", planned=planned)
    assert "planned_schedules.svg" in run_plot(given, load_schedule=load_schedule)
    alone = options(run, tmp_path / "alone", planned=planned, runs=None)
    files = ["planned_schedules.png", "planned_schedules.svg"]
    assert run_plot(alone, load_schedule=load_schedule) == files
    assert names == ["mine", "mine"]


def test_nothing_is_written_if_a_requested_figure_has_no_data(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    given = options(run, tmp_path / "out", figures=["curves", "pck"])
    with pytest.raises(ValueError, match=r"^figures must be .*, got pck$"):
        run_plot(given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["ensemble_size", "reliability", "overlap", "class_ap"])
def test_a_figure_of_ensembles_comes_by_its_name_or_names_the_command(
    name: str, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run")
    given = options(run, tmp_path / "out", figures=[name])
    with pytest.raises(
        ValueError,
        match=rf"^figures must .*, got {name}; .*eval.* run={run} ensemble=snapshots makes them$",
    ):
        run_plot(given)
    write_ensemble(run, ["a", "b"])
    write_classes(run, {"cat": [0.5, 0.25, 0.75, 0.0, 1.0, 7, 0.875]})
    assert {f"{name}.png", f"{name}.svg"} <= set(run_plot(given))


def test_of_ensembles_alone_there_are_figures_but_neither_table_nor_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folders = [tmp_path / "ensembles" / name for name in ("a", "b")]
    for folder in folders:
        write_ensemble(folder, ["a", "b"])
    given = options(
        write_run(tmp_path / "run"), tmp_path / "out", runs=folders, figures=None, report=True
    )
    assert run_plot(given) == [
        f"{name}.{ending}"
        for name in ("ensemble_size", "overlap", "reliability")
        for ending in ("png", "svg")
    ]
    assert caplog.messages[:2] == [
        f"2 ensembles of several runs: {folders[0]}, {folders[1]}",
        "neither table nor report: ensembles without their runs",
    ]
    with pytest.raises(ValueError, match=r"^figures must be .*, got class_ap$"):
        run_plot(options(tmp_path / "run", tmp_path / "out", runs=folders, figures=["class_ap"]))


@pytest.mark.parametrize(
    ("name", "num_runs", "epochs", "reason"),
    [
        ("curves", 15, 1, "curves is left out: 15 lines, at most 14; select runs with where"),
        ("persistence", 1, 3, "persistence is left out: 3 epochs, at least 5"),
        ("misclassification", 13, 10, "misclassification is left out: 13 panels, at most 12"),
    ],
)
def test_of_a_figure_left_out_the_reason_is_said_and_the_rest_made(
    name: str,
    num_runs: int,
    epochs: int,
    reason: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    for number in range(num_runs):
        path = tmp_path / "runs" / str(number)
        write_run(path, lr=0.1 + number / 100, epochs=epochs, num_samples=4)
    hue = "optimizer.lr" if name == "curves" else None
    figure = inputs(tmp_path, hue=hue)[1]
    given = options(tmp_path / "runs", tmp_path / "out", figures=[name], figure=figure, report=True)
    assert run_plot(given) == ["report.html", "table.csv", "table.md", "table.tex"]
    assert [each for each in caplog.messages if "is left out" in each and reason in each]


def test_raw_models_are_those_whose_decay_is_none(tmp_path: Path) -> None:
    write_grid(tmp_path / "grid", schedulers=("cosine",))
    where = {"averaged": {"decay": "none"}}
    given = options(tmp_path / "grid", tmp_path / "out", where=where)
    run_plot(given)
    assert (tmp_path / "out" / "table.md").read_text().startswith("| model | test/top1 |\n")
    raw = write_run(tmp_path / "raw", decay=[])
    given = options(raw, tmp_path / "out", where={"averaged": {"decay": 0.9}})
    with pytest.raises(ValueError, match=r"^where.averaged.decay must be one of none, got 0.9$"):
        run_plot(given)


def test_a_slash_in_the_name_of_a_setting_makes_no_folder(tmp_path: Path) -> None:
    for number in (1, 2):
        loss = {"_target_": "visionlab.tasks.classification.CrossEntropy"}
        changes = {"loss": {**loss, "weights": {"cat/dog": number}}}
        write_run(tmp_path / "runs" / str(number), changes=changes)
    given = options(tmp_path / "runs", tmp_path / "out", figures=["value_against"])
    assert "value_against_loss.weights.cat_dog.svg" in run_plot(given)


def test_a_table_of_a_task_does_not_mind_unfinished_runs_of_another(tmp_path: Path) -> None:
    write_run(tmp_path / "one")
    other = {"task": {"name": "keypoints", "monitor": "loss", "mode": "min"}}
    write_run(tmp_path / "two", status="failed", changes=other)
    given = options(tmp_path, tmp_path / "out")
    assert run_plot(given) == ["table.csv", "table.md", "table.tex"]


def test_each_task_and_data_set_has_its_own_figures(tmp_path: Path) -> None:
    for number, (task, dataset) in enumerate(
        [("classification", "digits"), ("keypoints", "faces")]
    ):
        for lr in (0.1, 0.2):
            task_settings = {"name": task, "monitor": "top1", "mode": "max"}
            folder = tmp_path / "runs" / f"{number}{lr}"
            write_run(folder, lr=lr, changes={"task": task_settings})
            record = json.loads((folder / "run.json").read_text())
            record["choices"]["dataset"] = dataset
            (folder / "run.json").write_text(json.dumps(record))
    figures = ["curves", "value_against", "parallel", "losses"]
    written = run_plot(options(tmp_path / "runs", tmp_path / "out", figures=figures))
    for name in ("curves", "value_against_optimizer.lr", "parallel", "losses", "table"):
        found = [each for each in written if each.startswith(name) and not each.endswith("svg")]
        assert {Path(each).stem for each in found} == {
            f"{name}_classification",
            f"{name}_keypoints",
        }


def test_a_metric_of_one_task_is_drawn_for_that_task_alone(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "one")
    other = {"task": {"name": "keypoints", "monitor": "top1", "mode": "max"}}
    path = write_run(tmp_path / "runs" / "two", changes=other) / "metrics.jsonl"
    path.write_text(path.read_text().replace("top1", "nme"))
    given = options(
        tmp_path / "runs",
        tmp_path / "out",
        figures=["curves"],
        figure=inputs(tmp_path, y="val/nme")[1],
    )
    assert "curves_keypoints.png" in run_plot(given)
    assert not (tmp_path / "out" / "curves_classification.png").exists()
