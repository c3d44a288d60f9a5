"""Evaluation of the models that a run saved, for `eval.py`."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from visionlab.core.interrupt import Signals
from visionlab.core.processes import num_processes, rank
from visionlab.engine.distributed.collectives import all_reduce_max, broadcast_object
from visionlab.engine.distributed.data_parallel import process_group
from visionlab.engine.evaluation import (
    equal_models,
    evaluate_saved,
    export_predictions,
    split_label,
)
from visionlab.engine.progress import log_metrics
from visionlab.files.atomic import output_folder, write_json
from visionlab.runs.evaluate_ensemble import evaluate_ensemble
from visionlab.runs.evaluate_views import evaluate_in_views
from visionlab.runs.evaluation_options import EvaluationOptions, evaluation_options
from visionlab.runs.evaluation_task import EvaluationTask, prepare
from visionlab.runs.saved_run import SavedRun, read_model, read_run

_log = logging.getLogger(__name__)


def evaluate(config: Mapping[str, Any]) -> None:
    """Evaluate what a configuration of `eval.py` names, in each process that shares the work.

    Only rank 0 reads the run and writes results.
    """
    with process_group(config["device"]):
        evaluate_run(broadcast_object(lambda: evaluation_options(config)))


def evaluate_run(options: EvaluationOptions) -> None:
    """Evaluate what a run left, log a table, and write the results into a folder."""
    alone = {"views": options.views, "ensemble": options.ensemble, "boxes": options.boxes}
    for name, given in alone.items():
        if num_processes() > 1 and given is not None:
            raise ValueError(f"{name} must be null in {num_processes()} processes, got some")
    with (
        output_folder(options.folder) if options.folder and rank() == 0 else nullcontext(),
        Signals(all_reduce=all_reduce_max) as signals,
    ):
        if options.ensemble is not None:
            evaluate_ensemble(options, options.ensemble, signals)
            return
        saved = broadcast_object(lambda: _read_saved(options))
        ready = prepare(options, saved)
        if options.boxes is not None:
            _write_boxes(options, saved, ready, signals)
        elif options.views is not None:
            evaluate_in_views(options, saved, ready, signals)
        else:
            _evaluate(options, saved, ready, signals)


def _read_saved(options: EvaluationOptions) -> SavedRun:
    if options.run:
        return read_run(options.run, models=options.models, parts=options.parts)
    return read_model(options.checkpoint or Path(), parts=options.parts)


def _evaluate(
    options: EvaluationOptions, saved: SavedRun, ready: EvaluationTask, signals: Signals
) -> None:
    """Evaluate every model on a split; keep metrics, pictures and predictions in the folder."""
    task, split, folder = ready.task, options.split, options.folder
    results = evaluate_saved(
        task,
        saved.models,
        split,
        batch_size=ready.batch_size,
        autocast=ready.autocast,
        check=signals.check,
        epoch=ready.epoch,
    )
    if rank() > 0:
        return
    if options.submission:
        export_predictions(task, results, folder or Path(), split)
        return
    label = split_label(split)
    metrics = {name: result.metrics for name, result in results.items()}
    log_metrics({label: metrics})
    if folder:
        write_json(folder / f"evaluation_{label}.json", metrics)
        same_as = equal_models(saved.models)
        for name, result in results.items():
            if name in same_as:
                _log.info("%s has the weights of %s: see its pictures", name, same_as[name])
            else:
                task.draw(folder / "pictures" / label / name, result.samples, task.splits[split])
        export_predictions(task, results, folder, split)


def _write_boxes(
    options: EvaluationOptions, saved: SavedRun, ready: EvaluationTask, signals: Signals
) -> None:
    """Write the boxes of objects that every model finds in the images of the run's data set."""
    assert options.boxes is not None
    for name, weights in saved.models.items():
        ready.task.evaluated.load_state_dict(weights)
        path = (options.folder or Path()) / "predictions" / name / "boxes.txt"
        options.boxes(
            ready.task.evaluated,
            ready.dataset,
            path,
            batch_size=ready.batch_size,
            check=signals.check,
        )
        _log.info("wrote %s", path)
