"""Evaluation of an ensemble: its members, their fused predictions, and what they are worth."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionlab.core.interrupt import Signals
from visionlab.engine.evaluation import split_label
from visionlab.engine.progress import log_metrics
from visionlab.ensembles.ensemble import Ensemble, EnsemblePredictions, predict_ensemble
from visionlab.ensembles.prediction import Evaluated, Member
from visionlab.ensembles.results.assessment import diversity
from visionlab.ensembles.results.candidates import (
    MEAN,
    Candidate,
    Comparison,
    PredictedSplits,
    monitored,
)
from visionlab.ensembles.results.worth import chosen_weights, size_curve
from visionlab.ensembles.soup import soup
from visionlab.files.atomic import write_json
from visionlab.runs.evaluation_options import EvaluationOptions
from visionlab.runs.members import PreparedMember, prepare_members
from visionlab.task import Task

_log = logging.getLogger(__name__)
_VAL, _ENSEMBLE = "val", "ensemble"
_MAX_MEMBERS = 3  # in tables, which are 100 characters wide


@dataclass(frozen=True, kw_only=True)
class _Evaluation:
    """What is evaluated, and where results go."""

    options: EvaluationOptions
    ensemble: Ensemble
    folder: Path
    signals: Signals

    @property
    def split(self) -> str:
        return self.options.split

    def predicted(self, members: Sequence[PreparedMember]) -> PredictedSplits:
        """Return predictions for the split and, if it is another one, for validation samples."""
        with_val = _VAL in members[0].ready.task.splits and self.split != _VAL
        return PredictedSplits(
            self.predict(members, self.split), self.predict(members, _VAL) if with_val else None
        )

    def predict(self, members: Sequence[PreparedMember], split: str) -> EnsemblePredictions:
        """Return the predictions of members for a split."""
        inference = members[0].ready.inference(self.options, split, self.signals.check)
        return predict_ensemble(self.members_on(members, split), inference)

    def members_on(self, members: Sequence[PreparedMember], split: str) -> list[Member]:
        """Return members whose predictions for a split are kept in the folder."""
        return [
            each.ready.member(each.name, each.weights, split=split, folder=self.folder)
            for each in members
        ]


def evaluate_ensemble(options: EvaluationOptions, ensemble: Ensemble, signals: Signals) -> None:
    """Evaluate the members of an ensemble and their fused predictions; write the results.

    Raises:
        FileNotFoundError: a member does not exist.
        ValueError: members do not fit each other, or an option does not fit them.
    """
    assert options.folder is not None
    evaluation = _Evaluation(
        options=options, ensemble=ensemble, folder=options.folder, signals=signals
    )
    members = prepare_members(options, ensemble)
    names = [member.name for member in members]
    weights = dict(zip(names, ensemble.weights_of(names), strict=True))
    task = members[0].ready.task
    if options.submission:
        _export(evaluation, task, evaluation.predict(members, options.split).fused(weights))
        return
    predicted = evaluation.predicted(members)
    alone = {name: predicted.member(name) for name in names}
    ensembles = {_ENSEMBLE: predicted.candidate(weights)}
    samples = members[0].ready.samples.get(options.split)
    content: dict[str, Any] = {"task": task.name, "samples": samples, "weights": weights}
    metric = monitored(task)
    if math.isfinite(ensembles[_ENSEMBLE].found.metrics[metric]):  # or there are no labels
        chosen = _chosen(evaluation, predicted)
        ensembles |= {name: predicted.candidate(each) for name, each in chosen.items()}
        ensembles |= _soup(evaluation, members, weights)
        content["chosen_weights"] = chosen
        content["by_size"] = size_curve(predicted.split, ensemble, metric=metric)
        content["diversity"] = diversity([each.found for each in alone.values()])
    comparison = Comparison(task=task, members=alone, ensembles=ensembles)
    if "diversity" in content:
        content["calibration"] = comparison.calibrations()
    _report(evaluation, comparison, content)


def _chosen(evaluation: _Evaluation, predicted: PredictedSplits) -> dict[str, dict[str, float]]:
    """Return weights that are chosen on validation samples, none without them."""
    if predicted.val is None:
        return {}
    task = predicted.split.task
    return chosen_weights(
        predicted.val, evaluation.ensemble, metric=monitored(task), mode=task.mode
    )


def _soup(
    evaluation: _Evaluation, members: Sequence[PreparedMember], weights: Mapping[str, float]
) -> dict[str, Candidate]:
    """Return the model with the mean weights of members of one task, by its name."""
    ready, split = members[0].ready, evaluation.split
    if any(member.ready is not ready for member in members):
        return {}
    mean = soup(
        evaluation.members_on(members, split),
        list(weights.values()),
        ready.inference(evaluation.options, split, evaluation.signals.check),
    )
    predicted = evaluation.predicted([PreparedMember(mean.name, mean.weights, ready)])
    return {mean.name: predicted.member(mean.name)._replace(weights={})}


def _report(evaluation: _Evaluation, comparison: Comparison, content: Mapping[str, Any]) -> None:
    """Log the results and write them into the folder."""
    task, folder, label = comparison.task, evaluation.folder, split_label(evaluation.split)
    split, fused = task.splits[evaluation.split], comparison.ensembles[_ENSEMBLE].found
    metrics = {name: each.found.metrics for name, each in comparison.all.items()}
    _log_tables(label, comparison, content.get("calibration", {}))
    task.draw(folder / "pictures" / label / _ENSEMBLE, fused.samples, split)
    _export(evaluation, task, fused)
    summary = {
        "members": list(comparison.members),
        "best_member": comparison.best_member,
        "metrics": metrics,
        "mean_of_members": comparison.mean_metrics,
        "costs": {name: each.cost for name, each in comparison.all.items()},
    }
    write_json(folder / f"ensemble_{label}.json", {**summary, **content})
    if task.compare is not None:
        tables = folder / f"ensemble_{label}"
        found = {name: each.found.samples for name, each in comparison.members.items()}
        task.compare(tables, found, fused.samples, split)
        _log.info("wrote %s", tables)


def _log_tables(
    label: str, comparison: Comparison, calibrations: Mapping[str, Mapping[str, Any]]
) -> None:
    """Log metrics, gains and calibration; of many members only the best one is shown."""
    is_short = len(comparison.members) <= _MAX_MEMBERS
    shown = comparison.all if is_short else {comparison.best_member, *comparison.ensembles}
    metrics = {name: each.found.metrics for name, each in comparison.all.items() if name in shown}
    log_metrics({label: {**metrics, MEAN: comparison.mean_metrics}})
    log_metrics({f"worth on {label}": comparison.gains()})
    rows = {
        name: {key: value for key, value in measures.items() if isinstance(value, float)}
        for name, measures in calibrations.items()
        if name in shown
    }
    if rows := {name: row for name, row in rows.items() if row}:
        log_metrics({f"calibration on {label}": rows})


def _export(evaluation: _Evaluation, task: Task, fused: Evaluated) -> None:
    """Write the predictions of the ensemble in the format of the field, if there is one."""
    if task.export is not None:
        split = task.splits[evaluation.split]
        folder = evaluation.folder / "predictions" / _ENSEMBLE
        path = task.export(folder, split_label(evaluation.split), fused.samples, split)
        _log.info("wrote %s", path)
