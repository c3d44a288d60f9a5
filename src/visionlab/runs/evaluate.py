"""Evaluation of the models that a run saved, for `eval.py`."""

import logging
import math
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from visionlab.backbones.weights import check_weights
from visionlab.core.interrupt import Signals
from visionlab.core.processes import num_processes, rank
from visionlab.engine.device import choose_device, make_autocast, make_deterministic, set_threads
from visionlab.engine.distributed.collectives import all_reduce_max, broadcast_object
from visionlab.engine.distributed.data_parallel import process_group
from visionlab.engine.evaluation import (
    equal_models,
    evaluate_saved,
    export_predictions,
    split_label,
)
from visionlab.engine.progress import log_metrics
from visionlab.ensembles.views import ViewResult, evaluate_views
from visionlab.files.atomic import output_folder, write_json
from visionlab.runs.build import (
    build_data,
    build_experiment,
    build_task,
    check_classes,
    set_dataset_root,
)
from visionlab.runs.evaluation_options import EvaluationOptions, evaluation_options
from visionlab.runs.initial_weights import without_initial_weights
from visionlab.runs.saved_run import SavedRun, read_model, read_run
from visionlab.task import Autocast, Task

_log = logging.getLogger(__name__)


class _Ready(NamedTuple):
    """A task, and how it is evaluated."""

    task: Task
    batch_size: int
    precision: str
    autocast: Autocast
    epoch: int
    dataset: Any


def evaluate(config: Mapping[str, Any]) -> None:
    """Evaluate what a configuration of `eval.py` names, in each process that shares the work.

    Only rank 0 reads the run and writes results.
    """
    with process_group(config["device"]):
        evaluate_run(broadcast_object(lambda: evaluation_options(config)))


def evaluate_run(options: EvaluationOptions) -> None:
    """Evaluate what a run left, log a table, and write the results into a folder."""
    for name, given in (("views", options.views), ("boxes", options.boxes)):
        if num_processes() > 1 and given is not None:
            raise ValueError(f"{name} must be null in {num_processes()} processes, got some")
    saved = broadcast_object(lambda: _read_saved(options))
    with output_folder(options.folder) if options.folder and rank() == 0 else nullcontext():
        set_dataset_root(saved.config, options.dataset_root)
        ready = _prepare(options, saved)
        with Signals(all_reduce=all_reduce_max) as signals:
            if options.boxes is not None:
                _write_boxes(options, saved, ready, signals)
            elif options.views is None:
                _evaluate(options, saved, ready, signals)
            else:
                results = _evaluate_views(options, saved, ready, signals)
                if not options.submission:
                    _report_views(options, ready.task, results)


def _read_saved(options: EvaluationOptions) -> SavedRun:
    if options.run:
        return read_run(options.run, models=options.models, parts=options.parts)
    return read_model(options.checkpoint or Path(), parts=options.parts)


def _prepare(options: EvaluationOptions, saved: SavedRun) -> _Ready:
    """Return the task of a run, ready to be evaluated."""
    config = without_initial_weights(saved.config)
    device = choose_device(options.device)
    make_deterministic(device)
    set_threads(config["threads"] if options.threads is None else options.threads)
    experiment = build_experiment(config)
    data = build_data(experiment, device)
    check_classes(data, saved.class_names)
    if options.boxes is None and options.split not in data.splits:
        raise ValueError(f"split must be one of {', '.join(data.splits)}, got {options.split!r}")
    task = build_task(experiment, data, device)
    for name, weights in saved.models.items():
        check_weights(
            task.evaluated, weights, origin=f"{options.run or options.checkpoint}: {name}"
        )
    if options.submission and task.export is None:
        raise ValueError(f"submission must be false for task {task.name}, got true")
    if options.views is not None and getattr(data.splits[options.split], "show", None) is None:
        raise ValueError(f"views must be null for task {task.name}, got some")
    precision = options.precision or experiment.machine.precision
    return _Ready(
        task,
        batch_size=options.batch_size or experiment.evaluation.batch_size,
        precision=precision,
        autocast=make_autocast(precision, device),
        epoch=experiment.hparams.epochs,
        dataset=experiment.dataset,
    )


def _evaluate(options: EvaluationOptions, saved: SavedRun, ready: _Ready, signals: Signals) -> None:
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
    options: EvaluationOptions, saved: SavedRun, ready: _Ready, signals: Signals
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


def _evaluate_views(
    options: EvaluationOptions, saved: SavedRun, ready: _Ready, signals: Signals
) -> dict[str, ViewResult]:
    """Evaluate every model on a split as it is seen in several views."""
    assert options.folder is not None
    assert options.views is not None
    task, split, folder = ready.task, split_label(options.split), options.folder / "predictions"
    dataset, precision = saved.config["dataset"], ready.precision
    results: dict[str, ViewResult] = {}
    same_as = equal_models(saved.models)
    for model, weights in saved.models.items():
        task.evaluated.load_state_dict(weights)
        results[model] = results.get(same_as.get(model, "")) or evaluate_views(
            task,
            task.evaluated,
            task.splits[options.split],  # type: ignore[arg-type]
            options.views,
            folder=folder / model / f"{split}_views",
            cache_key={"dataset": dataset, "split": options.split, "precision": precision},
            batch_size=ready.batch_size,
            autocast=ready.autocast,
            check=signals.check,
        )
        if task.export is not None:
            target, samples = folder / f"{model}_views", results[model].samples
            path = task.export(target, split, samples, task.splits[options.split])
            _log.info("wrote %s", path)
    return results


def _report_views(
    options: EvaluationOptions, task: Task, results: Mapping[str, ViewResult]
) -> None:
    """Log a table for each model and write the metrics of all views into the folder."""
    assert options.folder is not None
    assert options.views is not None
    split, views = split_label(options.split), options.views
    metric = task.monitor if task.monitor in task.metric.names else task.metric.names[0]
    for model, result in results.items():
        rows = {
            name: {"weight": view.weight, "alone": result.alone[name][metric]}
            | {"mean so far": result.running.get(name, {}).get(metric, math.nan)}
            for name, view in views.items()
        }
        log_metrics({f"{metric} of {model} on {split}": rows})
        _log.info("%s", result.describe_gain(metric))
        worse = result.worse_alone(metric, mode=task.mode) if metric == task.monitor else {}
        for name, value in worse.items():
            _log.warning(
                "view %s alone has %s %.4f: it may show what such images never look like; "
                "without it: views.%s.weight=0",
                *(name, metric, value, name),
            )
    content = {
        model: {"alone": each.alone, "running": each.running} for model, each in results.items()
    }
    weights = {name: view.weight for name, view in views.items()}
    write_json(options.folder / f"views_{split}.json", {"weights": weights, "models": content})
