"""Evaluation of an ensemble: its members, their fused predictions, and what they are worth."""

import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from visionlab.core.interrupt import Signals
from visionlab.engine.evaluation import split_label
from visionlab.engine.progress import log_metrics
from visionlab.ensembles.assessment import calibration, diversity
from visionlab.ensembles.ensemble import Ensemble, Fusion, predict_ensemble
from visionlab.ensembles.prediction import Evaluated, Member
from visionlab.ensembles.soup import soup
from visionlab.ensembles.worth import chosen_weights, size_curve
from visionlab.files.atomic import write_json
from visionlab.runs.evaluation_options import EvaluationOptions
from visionlab.runs.members import PreparedMember, prepare_members
from visionlab.task import Task

_log = logging.getLogger(__name__)
_VAL, _ENSEMBLE, _SOUP, _MEAN = "val", "ensemble", "soup", "mean of members"
_CHOSEN = ("greedy", "fitted")


class _Candidate(NamedTuple):
    """A model or ensemble among those that are compared.

    Attributes:
        weights: of the members by name, or none for a model of its own.
        found: on the split that is evaluated.
        on_val: on validation samples; None if there are none, or they are evaluated.
        seconds: duration of its forward passes.
        num_models: that predict each image.
    """

    weights: Mapping[str, float]
    found: Evaluated
    on_val: Evaluated | None
    seconds: float
    num_models: int


class _Compared(NamedTuple):
    """Predictions of the members, on the split that is evaluated and on validation samples."""

    fusion: Fusion
    on_val: Fusion | None

    def candidate(self, weights: Mapping[str, float]) -> _Candidate:
        used = {name: weight for name, weight in weights.items() if weight}
        return _Candidate(
            weights=weights,
            found=self.fusion.fused(used),
            on_val=self.on_val and self.on_val.fused(used),
            seconds=sum(map(self.fusion.seconds, used)),
            num_models=len(used),
        )

    def member(self, name: str) -> _Candidate:
        found, on_val = self.fusion.member(name), self.on_val and self.on_val.member(name)
        return _Candidate({name: 1.0}, found, on_val, self.fusion.seconds(name), 1)


def evaluate_ensemble(options: EvaluationOptions, ensemble: Ensemble, signals: Signals) -> None:
    """Evaluate the members of an ensemble and their fused predictions; write the results.

    Raises:
        FileNotFoundError: a member does not exist.
        ValueError: members do not fit each other, or an option does not fit them.
    """
    members = prepare_members(options, ensemble)
    names = [member.name for member in members]
    weights = dict(zip(names, ensemble.weights_of(names), strict=True))
    fusion = _predict(options, members, options.split, signals)
    task = fusion.task
    if options.submission:
        _export(options, task, fusion.fused(weights))
        return
    compared = _Compared(fusion, _predict_val(options, members, signals))
    candidates = {name: compared.member(name) for name in names}
    candidates[_ENSEMBLE] = compared.candidate(weights)
    content: dict[str, Any] = {"weights": weights}
    metric = _monitored(task)
    if math.isfinite(candidates[_ENSEMBLE].found.metrics[metric]):  # or there are no labels
        candidates |= _rivals(options, ensemble, members, compared, signals)
        content["by_size"] = size_curve(fusion, ensemble, metric=metric)
        content["diversity"] = diversity([candidates[name].found for name in names])
        content["calibration"] = _calibrations(candidates, names)
    _report(options, task, candidates, names, content)


def _rivals(
    options: EvaluationOptions,
    ensemble: Ensemble,
    members: Sequence[PreparedMember],
    compared: _Compared,
    signals: Signals,
) -> dict[str, _Candidate]:
    """Return ensembles whose weights are chosen on validation samples, and the soup."""
    task = compared.fusion.task
    found = {}
    if compared.on_val is not None:
        chosen = chosen_weights(compared.on_val, ensemble, metric=_monitored(task), mode=task.mode)
        found = {name: compared.candidate(weights) for name, weights in chosen.items()}
    if all(member.ready is members[0].ready for member in members):
        found[_SOUP] = _soup(options, ensemble, members, signals)
    return found


def _calibrations(
    candidates: Mapping[str, _Candidate], names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return the calibration of each model and ensemble."""
    found = {}
    for label, candidate in candidates.items():
        used = [name for name in names if candidate.weights.get(name)]
        on_val = [each for name in used if (each := candidates[name].on_val) is not None]
        found[label] = calibration(
            candidate.found,
            candidate.on_val,
            members=[candidates[name].found for name in used],
            members_on_val=on_val,
        )
    return found


def _report(
    options: EvaluationOptions,
    task: Task,
    candidates: Mapping[str, _Candidate],
    names: Sequence[str],
    content: Mapping[str, Any],
) -> None:
    """Log the results and write them into the folder."""
    assert options.folder is not None
    label = split_label(options.split)
    metrics = {name: candidate.found.metrics for name, candidate in candidates.items()}
    mean = {
        name: statistics.fmean(metrics[member][name] for member in names)
        for name in metrics[_ENSEMBLE]
    }
    best = _best_member(task, candidates, names)
    costs = _costs(options, task, candidates)
    log_metrics({label: {**metrics, _MEAN: mean}})
    log_metrics({f"worth on {label}": _worth(task, candidates, names, mean, best, costs)})
    log_metrics({f"calibration on {label}": _scalars(content.get("calibration", {}))})
    fused = candidates[_ENSEMBLE].found
    task.draw(
        options.folder / "pictures" / label / _ENSEMBLE, fused.samples, task.splits[options.split]
    )
    _export(options, task, fused)
    write_json(
        options.folder / f"ensemble_{label}.json",
        {
            "members": list(names),
            "best_member": best,
            "metrics": metrics,
            "mean_of_members": mean,
            "chosen_weights": {
                name: each.weights for name, each in candidates.items() if name in _CHOSEN
            },
            "costs": costs,
            **content,
        },
    )
    if task.compare is not None:
        folder = options.folder / f"ensemble_{label}"
        found = {name: candidates[name].found.samples for name in names}
        task.compare(folder, found, fused.samples, task.splits[options.split])
        _log.info("wrote %s", folder)


def _export(options: EvaluationOptions, task: Task, fused: Evaluated) -> None:
    """Write the predictions of the ensemble in the format of the field, if there is one."""
    if task.export is not None:
        folder = (options.folder or Path()) / "predictions" / _ENSEMBLE
        path = task.export(
            folder, split_label(options.split), fused.samples, task.splits[options.split]
        )
        _log.info("wrote %s", path)


def _best_member(
    task: Task, candidates: Mapping[str, _Candidate], names: Sequence[str]
) -> str | None:
    """Return the member that is best on validation samples, of equals the first."""
    metric, best = _monitored(task), None
    for name in names:
        found = candidates[name].on_val
        if found is None:
            return None
        if best is None or task.is_better(found.metrics[metric], best[1]):
            best = name, found.metrics[metric]
    return best and best[0]


def _costs(
    options: EvaluationOptions, task: Task, candidates: Mapping[str, _Candidate]
) -> dict[str, dict[str, float]]:
    """Return parameters, forward passes per image and seconds of each model and ensemble."""
    num_parameters = sum(each.numel() for each in task.evaluated.parameters())
    num_views = len(options.views or [None])
    return {
        name: {
            "parameters": num_parameters * each.num_models,
            "forward_passes": num_views * each.num_models,
            "seconds": each.seconds,
        }
        for name, each in candidates.items()
    }


def _worth(
    task: Task,
    candidates: Mapping[str, _Candidate],
    names: Sequence[str],
    mean: Mapping[str, float],
    best: str | None,
    costs: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, float]]:
    """Return a table of the ensembles and a single member: metric, gain and cost."""
    metric = _monitored(task)
    single = best or names[0]
    values = {_MEAN: (mean[metric], costs[single])} if best is None else {}
    values |= {
        f"best member, {name}" if name == best else name: (
            candidate.found.metrics[metric],
            costs[name],
        )
        for name, candidate in candidates.items()
        if name == best or name not in names
    }
    reference = mean[metric] if best is None else candidates[best].found.metrics[metric]
    return {
        name: {metric: value, "gain": value - reference, **cost}
        for name, (value, cost) in values.items()
    }


def _scalars(measures: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the numbers of each row, without tables, for rows that have any."""
    rows = {
        name: {key: value for key, value in row.items() if isinstance(value, float)}
        for name, row in measures.items()
    }
    return {name: row for name, row in rows.items() if row}


def _monitored(task: Task) -> str:
    """Return the metric that decides which models are best."""
    return task.monitor if task.monitor in task.metric.names else task.metric.names[0]


def _predict_val(
    options: EvaluationOptions, members: Sequence[PreparedMember], signals: Signals
) -> Fusion | None:
    """Return the predictions for validation samples; None without any, or if they are evaluated."""
    has_val = _VAL in members[0].ready.task.splits
    return _predict(options, members, _VAL, signals) if has_val and options.split != _VAL else None


def _predict(
    options: EvaluationOptions, members: Sequence[PreparedMember], split: str, signals: Signals
) -> Fusion:
    """Return the predictions of all members for a split."""
    inference = members[0].ready.inference(options, split, signals.check)
    return predict_ensemble([_member(options, member, split) for member in members], inference)


def _member(options: EvaluationOptions, member: PreparedMember, split: str) -> Member:
    assert options.folder is not None
    return member.ready.member(member.name, member.weights, split=split, folder=options.folder)


def _soup(
    options: EvaluationOptions,
    ensemble: Ensemble,
    members: Sequence[PreparedMember],
    signals: Signals,
) -> _Candidate:
    """Return the model with the mean weights of the members."""
    ready = members[0].ready
    mean = soup(
        [_member(options, member, options.split) for member in members],
        ensemble.weights_of([member.name for member in members]),
        ready.inference(options, options.split, signals.check),
    )
    prepared = [PreparedMember(mean.name, mean.weights, ready)]
    fusion = _predict(options, prepared, options.split, signals)
    compared = _Compared(fusion, _predict_val(options, prepared, signals))
    return compared.member(mean.name)._replace(weights={})
