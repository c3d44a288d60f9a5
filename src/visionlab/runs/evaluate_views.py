"""Evaluation of saved models as they see images in several views."""

import logging
import math
from collections.abc import Mapping

from visionlab.core.interrupt import Signals
from visionlab.engine.evaluation import equal_models, split_label
from visionlab.engine.progress import log_metrics
from visionlab.ensembles.views import ViewResult, evaluate_views
from visionlab.files.atomic import write_json
from visionlab.runs.evaluation_options import EvaluationOptions
from visionlab.runs.evaluation_task import EvaluationTask
from visionlab.runs.saved_run import SavedRun
from visionlab.task import Task

_log = logging.getLogger(__name__)


def evaluate_in_views(
    options: EvaluationOptions, saved: SavedRun, ready: EvaluationTask, signals: Signals
) -> None:
    """Evaluate every model on a split as it is seen in several views; write the results."""
    assert options.folder is not None
    task, split = ready.task, options.split
    inference = ready.inference(options, split, signals.check)
    results: dict[str, ViewResult] = {}
    same_as = equal_models(saved.models)
    for name, weights in saved.models.items():
        member = ready.member(name, weights, split=split, folder=options.folder)
        results[name] = results.get(same_as.get(name, "")) or evaluate_views(member, inference)
        if task.export is not None:
            target, samples = member.folder.parent.with_name(f"{name}_views"), results[name].samples
            path = task.export(target, split_label(split), samples, task.splits[split])
            _log.info("wrote %s", path)
    if not options.submission:
        _report_views(options, task, results)


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
            | {"fused so far": result.running.get(name, {}).get(metric, math.nan)}
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
