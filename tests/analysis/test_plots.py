"""Plots without Hydra: options in, files out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figure_inputs import inputs
from run_folders import write_run
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
    plot(given, load_schedule=load_schedule, load_images=load_images, arguments=["out=out"])
    return sorted(path.name for path in given.out.iterdir())


def test_images_are_loaded_for_bar_codes_if_asked_for(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
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
        return Linear(warmup_steps=0, warmup_epochs=0)

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


def test_a_table_of_a_task_does_not_mind_unfinished_runs_of_another(tmp_path: Path) -> None:
    write_run(tmp_path / "one")
    other = {"task": {"name": "keypoints", "monitor": "loss", "mode": "min"}}
    write_run(tmp_path / "two", status="failed", changes=other)
    given = options(tmp_path, tmp_path / "out")
    assert run_plot(given) == ["table.csv", "table.md", "table.tex"]
