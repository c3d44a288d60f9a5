"""Tables, figures and a report of runs, from their files alone."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from visionlab.analysis.figures.confusion import draw_confusion
from visionlab.analysis.figures.curves import draw_curves, draw_norms
from visionlab.analysis.figures.detection import draw_class_precision, draw_precision_recall
from visionlab.analysis.figures.ensemble_panels import ensemble_command
from visionlab.analysis.figures.histograms import draw_misclassification, draw_mismatch
from visionlab.analysis.figures.keypoints import draw_keypoint_errors, draw_pck
from visionlab.analysis.figures.lines import LeftOut, draw_each
from visionlab.analysis.figures.losses import draw_losses
from visionlab.analysis.figures.of_ensembles import ENSEMBLE_FIGURES, ensemble_makers
from visionlab.analysis.figures.parallel import draw_parallel
from visionlab.analysis.figures.persistence import LoadImages, draw_persistence
from visionlab.analysis.figures.range_test import draw_range_test
from visionlab.analysis.figures.schedules import (
    LoadRunSchedule,
    draw_planned_schedules,
    draw_schedules,
)
from visionlab.analysis.figures.stability import draw_stability
from visionlab.analysis.figures.style import save, styled
from visionlab.analysis.figures.value_against import draw_value_against
from visionlab.analysis.groups import by_data, with_metric
from visionlab.analysis.labels import join_names
from visionlab.analysis.models import (
    NO_AVERAGE,
    ModelRecord,
    get_setting,
    model_records,
    runs_of,
    varying_settings,
)
from visionlab.analysis.options import FigureOptions, PlannedOptions, PlotOptions, Schedule
from visionlab.analysis.records import RunScan, read_runs_and_ensembles
from visionlab.analysis.report import write_report
from visionlab.analysis.table_formats import to_markdown, write_table
from visionlab.analysis.table_layout import build_tables
from visionlab.config.suggestions import nearest
from visionlab.config.terminal import count, shell_command
from visionlab.files.atomic import make_output_folder
from visionlab.files.run_folder import count_states, flatten_config, newest_run_or_sweep

Draw = Callable[[Sequence[ModelRecord], FigureOptions], Mapping[str, Figure]]
FIGURES: Mapping[str, Draw] = {
    "curves": draw_curves,
    "schedules": draw_schedules,
    "norms": draw_norms,
    "value_against": draw_value_against,
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
_NAMES = (*FIGURES, *ENSEMBLE_FIGURES)
_log = logging.getLogger(__name__)


def plot(
    options: PlotOptions,
    *,
    load_schedule: Callable[[str], Schedule],
    load_run_schedule: LoadRunSchedule,
    load_images: LoadImages,
    arguments: Sequence[str],
) -> None:
    """Write tables, figures and a report of runs, and log what they are of.

    Of ensembles without their runs there are figures alone.

    Args:
        options: what to write and where.
        load_schedule: returns a planned schedule by name.
        load_run_schedule: returns the schedule of a run by its settings, or None.
        load_images: for `sample_pictures`.
        arguments: of the command line, which the report shows.

    Raises:
        ValueError: there are neither runs nor ensembles, or they have no data for something
            requested.
        OSError: a file cannot be written.
    """
    planned = _draw_planned(options.planned, load_schedule)
    if options.runs is None and planned:
        _save(planned, make_output_folder(options.out))
        return
    folders = [_newest()] if options.runs is None else options.runs
    scan = read_runs_and_ensembles(folders)
    models = _select(model_records(scan.runs), options.where)
    for name in options.figures or ():
        if name not in _NAMES:
            hint = nearest(name, _NAMES)
            raise ValueError(f"figures must be some of {', '.join(_NAMES)}, got {name}{hint}")
    tables = build_tables(models, options.table, weights=options.figure.weights)
    _log_runs(scan, models)
    if not models:
        _log.info("neither table nor report: ensembles without their runs")
    elif not tables:
        _log.info("no table: no run has finished")
    draw: dict[str, Draw] = {
        **FIGURES,
        "schedules": partial(draw_schedules, load_schedule=load_run_schedule),
    }
    if options.sample_pictures:
        draw["persistence"] = partial(draw_persistence, load_images=load_images)
    figures = _draw(models, scan.ensembles, options, draw)
    out = make_output_folder(options.out)
    for table in tables:
        _log_files(write_table(out, table))
    saved = _save({**figures, **planned}, out)
    if options.report and models:
        given = [] if options.runs is not None else [f"runs={folders[0]}"]
        write_report(
            out / "report.html",
            scan=scan,
            models=models,
            tables=tables,
            figures=saved,
            command=shell_command("plots", *given, *arguments),
        )
        _log_files([out / "report.html"])
    for table in tables:
        _log.info("\n%s", to_markdown(table))


def _newest() -> Path:
    """Return the newest run, multirun or tuning of the current folder, and log it.

    Raises:
        ValueError: there is none.
    """
    found = newest_run_or_sweep(Path())
    if found is None:
        raise ValueError(
            "runs must be a folder with runs; none found below outputs/, multirun/, tune/: "
            f"run {shell_command('train')} first, or give planned.schedulers"
        )
    _log.info("runs=%s, the newest", found)
    return found


def _select(models: Sequence[ModelRecord], where: Mapping[str, object]) -> list[ModelRecord]:
    """Return the models with some settings, and raw ones whatever is required of averages.

    Their `averaged.*` are none, which selects them alone.

    Raises:
        ValueError: no model has the value.
    """
    kept = list(models)
    for key, value in flatten_config(where).items():
        values = {id(model): str(get_setting(model, key, name="where")) for model in kept}
        if str(value) not in values.values():
            known = ", ".join(sorted(set(values.values())))
            raise ValueError(f"where.{key} must be one of {known}, got {value}")
        keeps_raw = key.startswith("averaged.") and value != NO_AVERAGE
        kept = [m for m in kept if values[id(m)] == str(value) or (keeps_raw and m.is_raw)]
    return kept


def _draw(
    models: Sequence[ModelRecord],
    ensembles: Sequence[Path],
    options: PlotOptions,
    draw: Mapping[str, Draw],
) -> dict[str, Figure]:
    """Return the requested figures, or all that there are data for, by name.

    There is a figure for each task and data set. Those that would be illegible or too short are
    left out, and the reason is logged.

    Raises:
        ValueError: the runs have no data for a requested figure.
    """
    value = options.figure.value
    metrics = {"curves": options.figure.y, "value_against": value, "parallel": value}
    groups = by_data(models)
    figures: dict[str, Figure] = {}
    with styled():
        for name in _NAMES if options.figures is None else options.figures:
            if name in ENSEMBLE_FIGURES:
                makers = ensemble_makers(name, models, ensembles)
            else:
                makers = [
                    partial(_draw_group, ending, members, options.figure, draw[name])
                    for ending, members in with_metric(groups, metrics.get(name))
                ]
            try:
                drawn = draw_each(makers)
            except LeftOut as reason:
                _log.info("%s", reason)
                continue
            if options.figures is not None and not drawn:
                hint = ""
                if name in ENSEMBLE_FIGURES and models:
                    hint = f"; {ensemble_command(models[0].run.folder)} makes them"
                raise ValueError(f"figures must be those that runs have data for, got {name}{hint}")
            figures |= drawn
    return figures


def _draw_group(
    ending: str, models: Sequence[ModelRecord], options: FigureOptions, draw: Draw
) -> Mapping[str, Figure]:
    """Return the figures of one task and data set, whose names end in theirs."""
    return {join_names(name, ending): figure for name, figure in draw(models, options).items()}


def _draw_planned(
    planned: PlannedOptions, load_schedule: Callable[[str], Schedule]
) -> Mapping[str, Figure]:
    if planned.schedulers is None:
        return {}
    with styled():
        schedules = {name: load_schedule(name) for name in planned.schedulers}
        return draw_planned_schedules(schedules, planned)


def _log_runs(scan: RunScan, models: Sequence[ModelRecord]) -> None:
    runs = runs_of(models)
    if runs:
        _log.info("%s: %s", count(len(runs), "run"), count_states(run.state for run in runs))
        seeds = sorted({run.seed for run in runs})
        what = "one seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
        varying = ", ".join(varying_settings(models)) or "none"
        _log.info("settings that vary: %s; %s: %s", varying, what, ", ".join(map(str, seeds)))
    if scan.ensembles:
        what = count(len(scan.ensembles), "ensemble")
        _log.info("%s of several runs: %s", what, ", ".join(map(str, scan.ensembles)))
    for run in runs:
        if run.is_truncated:
            _log.warning("%s: the last row of metrics.jsonl is incomplete, left out", run.folder)
    if scan.skipped:
        _log.info("%s without runs skipped", count(len(scan.skipped), "folder"))
    for folder, reason in scan.unreadable.items():
        _log.warning("%s cannot be read: %s", folder, reason)


def _save(figures: Mapping[str, Figure], out: Path) -> dict[str, Path]:
    """Write figures; return the SVG files by name."""
    saved = {}
    for name, figure in figures.items():
        png, svg = save(figure, out, name)
        _log_files([png, svg])
        saved[name] = svg
    return saved


def _log_files(paths: Sequence[Path]) -> None:
    for path in paths:
        _log.info("%s", path)
