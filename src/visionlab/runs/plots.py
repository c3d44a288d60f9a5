"""What `plots.py` does once its configuration is composed."""

import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from omegaconf import DictConfig, ListConfig, OmegaConf

from visionlab.analysis.asked import Asked, Draw
from visionlab.analysis.figures.against import draw_against
from visionlab.analysis.figures.confusion import draw_confusion
from visionlab.analysis.figures.curves import draw_curves
from visionlab.analysis.figures.detection import draw_class_precision, draw_precision_recall
from visionlab.analysis.figures.histograms import draw_misclassification, draw_mismatch
from visionlab.analysis.figures.keypoints import draw_keypoint_errors, draw_pck
from visionlab.analysis.figures.losses import draw_losses
from visionlab.analysis.figures.norms import draw_norms
from visionlab.analysis.figures.parallel import draw_parallel
from visionlab.analysis.figures.persistence import draw_persistence, draw_persistence_with_pictures
from visionlab.analysis.figures.range_test import draw_range_test
from visionlab.analysis.figures.schedules import draw_planned, draw_schedules
from visionlab.analysis.figures.stability import draw_stability
from visionlab.analysis.figures.style import save
from visionlab.analysis.measures import SEED, Model, Weights, differing, models_of, setting
from visionlab.analysis.paired import Difference
from visionlab.analysis.records import Found, read_runs
from visionlab.analysis.report import write_report
from visionlab.analysis.table_files import Form, as_markdown, write_tables
from visionlab.analysis.table_plans import TablePlan, planned_table
from visionlab.analysis.tables import Table
from visionlab.config.instantiate import instantiate_part
from visionlab.config.run_config import plain
from visionlab.config.suggestions import nearest
from visionlab.files.run_folder import flatten_config

_FIGURES: Mapping[str, Draw] = {
    "curves": draw_curves,
    "schedules": draw_schedules,
    "norms": draw_norms,
    "value_against": draw_against,
    "parallel": draw_parallel,
    "losses": draw_losses,
    "stability": draw_stability,
    "misclassification": draw_misclassification,
    "mismatch": draw_mismatch,
    "persistence": draw_persistence,
    "confusion": draw_confusion,
    "precision_recall": draw_precision_recall,
    "class_precision": draw_class_precision,
    "keypoint_errors": draw_keypoint_errors,
    "pck": draw_pck,
    "range_test": draw_range_test,
}
_PLANNED = "planned_schedules"
_CONF = Path(__file__).parents[3] / "conf"
_Shown = tuple[Table, Form, Sequence[Difference]]
_log = logging.getLogger(__name__)


def plot(settings: Mapping[str, Any]) -> None:
    """Write the tables, figures and report that are asked for, and say what there was.

    Raises:
        ValueError: there are no runs, or nothing of what is asked for.
        OSError: a file cannot be written.
    """
    config = OmegaConf.create(dict(settings))
    planned = _planned(config)
    if config.runs is None:
        if planned is None:
            raise ValueError("runs must be folders with runs, or planned.schedulers be given")
        _log_paths(save(planned, _made(config.out), _PLANNED))
        return
    found = read_runs([Path(each) for each in _listed(config.runs)])
    models = _where(models_of(found.runs), OmegaConf.to_container(config.where))
    asked = _asked(models, config)
    _check_names(config.figures)
    tables = _tables(models, config)
    _say_what_there_is(found, models)
    figures = _draw(asked, config)
    if planned is not None:
        figures[_PLANNED] = planned
    out = _made(config.out)
    for table, form, compared in tables:
        _log_paths(write_tables(out, table, compared, form))
    paths = {name: save(figure, out, name) for name, figure in figures.items()}
    for each in paths.values():
        _log_paths(each)
    if config.report:
        command = shlex.join(["python", "plots.py", *sys.argv[1:]])
        pictures = {name: svg for name, (_, svg) in paths.items()}
        report = out / "report.html"
        write_report(
            report, found=found, models=models, tables=tables, figures=pictures, command=command
        )
        _log_paths([report])
    for table, form, compared in tables:
        _log.info("\n%s", as_markdown(table, form, compared))


def _listed(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, ListConfig) else [str(value)]


def _log_paths(paths: Sequence[Path]) -> None:
    for path in paths:
        _log.info("%s", path)


def _where(models: Sequence[Model], where: Any) -> list[Model]:
    """Return the models that have the settings asked for; what is asked of averages, they have."""
    kept = list(models)
    for key, value in flatten_config(where).items():
        by_value: dict[str, list[Model]] = {}
        free = [m for m in kept if key.startswith("averaged.") and m.name == "model"]
        for model in [model for model in kept if model not in free]:
            by_value.setdefault(str(setting(model, key, name="where")), []).append(model)
        if str(value) not in by_value:
            there = ", ".join(sorted(by_value))
            raise ValueError(f"where.{key} must be one of {there}, got {value}")
        kept = [model for model in kept if model in free or model in by_value[str(value)]]
    return kept


def _asked(models: Sequence[Model], config: DictConfig) -> Asked:
    """Return what figures are asked to show.

    Raises:
        ValueError: an option is out of its range.
    """
    return Asked(
        models=models,
        x=config.x,
        y=config.y,
        value=config.value,
        weights=config.weights,
        hue=config.hue,
        epochs=None if config.epochs is None else tuple(config.epochs),
        sort=config.sort,
        num_samples=config.num_samples,
        window=config.window,
        broken_axis=None if config.broken_axis is None else tuple(config.broken_axis),
    )


def _check_names(names: Sequence[str] | None) -> None:
    for name in names or ():
        if name not in _FIGURES:
            known = ", ".join(_FIGURES)
            raise ValueError(
                f"figures must be some of {known}, got {name}{nearest(name, _FIGURES)}"
            )


def _draw(asked: Asked, config: DictConfig) -> dict[str, Figure]:
    """Return the figures that are asked for, or all for which there is something, by name.

    Raises:
        ValueError: runs have nothing for a figure that is asked for.
    """
    figures: dict[str, Figure] = {}
    for name in _FIGURES if config.figures is None else config.figures:
        draw = _FIGURES[name]
        if name == "persistence" and config.sample_pictures:
            draw = _with_pictures(config)
        drawn = draw(asked)
        if config.figures is not None and not drawn:
            raise ValueError(f"figures must be those for which runs have something, got {name}")
        figures |= drawn
    return figures


def _with_pictures(config: DictConfig) -> Draw:
    # needs the data set, and torch to read it
    from visionlab.runs.sample_pictures import sample_pictures

    pictures = partial(sample_pictures, dataset_root=config.dataset.root, parts=())
    return partial(draw_persistence_with_pictures, pictures=pictures)


def _planned(config: DictConfig) -> Figure | None:
    """Return the learning rates of a training that need not have run, if any are asked for."""
    asked = config.planned
    if asked.schedulers is None:
        return None
    files = {name: _CONF / "scheduler" / f"{name}.yaml" for name in asked.schedulers}
    for name, path in files.items():
        if not path.is_file():
            known = ", ".join(sorted(each.stem for each in path.parent.glob("*.yaml")))
            raise ValueError(f"planned.schedulers must be some of {known}, got {name}")
    schedules = {name: _schedule(path) for name, path in files.items()}
    return draw_planned(
        schedules,
        lr=asked.lr,
        total_steps=asked.epochs * asked.steps_per_epoch,
        steps_per_epoch=asked.steps_per_epoch,
    )


def _schedule(path: Path) -> Any:
    settings = OmegaConf.load(path)
    assert isinstance(settings, DictConfig)
    settings.pop("defaults", None)
    return instantiate_part(plain(settings), key="scheduler")


def _tables(models: Sequence[Model], config: DictConfig) -> list[_Shown]:
    """Return the table that is asked for; where all is left open, one for each task."""
    settings = OmegaConf.to_container(config.table)
    assert isinstance(settings, dict)
    form = Form(scale=settings.pop("scale"), decimals=settings.pop("decimals"))
    plan = TablePlan(**{str(key): value for key, value in settings.items()})
    if not all(value is None for value in (plan.rows, plan.columns, plan.value)):
        return [_shown(models, plan, form, config.weights)]
    by_task: dict[str, list[Model]] = {}
    for model in models:
        if model.run.state == "finished":
            by_task.setdefault(model.run.task, []).append(model)
    if not by_task:
        _log.info("no table: no run has finished")
    if len(by_task) == 1:
        return [_shown(models, plan, form, config.weights)]
    return [
        _shown(members, replace(plan, name=f"{plan.name}_{task}"), form, config.weights)
        for task, members in by_task.items()
    ]


def _shown(models: Sequence[Model], plan: TablePlan, form: Form, weights: Weights) -> _Shown:
    table, compared = planned_table(models, plan, weights=weights)
    return table, form, compared


def _say_what_there_is(found: Found, models: Sequence[Model]) -> None:
    """Say how many runs there are, how they stand, and in what they differ."""
    runs = list({model.run.folder: model.run for model in models}.values())
    states = [run.state for run in runs]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    _log.info("%d runs: %s", len(runs), counts)
    seeds = sorted({run.seed for run in runs})
    apart = ", ".join(differing(models)) or "nothing"
    _log.info("they differ in %s; grouped over %d values of %s: %s", apart, len(seeds), SEED, seeds)
    for run in runs:
        if run.is_torn:
            _log.warning("%s: the last row of metrics.jsonl is cut short, and left out", run.folder)
    if found.skipped:
        _log.info("%d folders skipped that hold no run", len(found.skipped))
    for folder, reason in found.unreadable.items():
        _log.warning("%s cannot be read: %s", folder, reason)


def _made(folder: str) -> Path:
    """Make the folder that is written into.

    Raises:
        ValueError: it cannot be made, or not be written.
    """
    out = Path(folder).expanduser()
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".written").touch()
        (out / ".written").unlink()
    except OSError as error:
        raise ValueError(
            f"out must be a folder that can be written, got {out}: {error.strerror}"
        ) from error
    return out
