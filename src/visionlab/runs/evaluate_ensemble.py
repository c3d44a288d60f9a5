"""Evaluation of an ensemble: its members, their fused predictions, and what they are worth."""

import logging
import statistics
from pathlib import Path

from visionlab.core.interrupt import Signals
from visionlab.engine.evaluation import split_label
from visionlab.engine.progress import log_metrics
from visionlab.ensembles.ensemble import Ensemble, Fusion, predict_ensemble
from visionlab.files.atomic import write_json
from visionlab.runs.evaluation_options import EvaluationOptions
from visionlab.runs.members import PreparedMember, prepare_members

_log = logging.getLogger(__name__)


def evaluate_ensemble(options: EvaluationOptions, ensemble: Ensemble, signals: Signals) -> None:
    """Evaluate the members of an ensemble and their fused predictions; write the results.

    Raises:
        FileNotFoundError: a member does not exist.
        ValueError: members do not fit each other, or an option does not fit them.
    """
    folder = options.folder
    assert folder is not None
    members = prepare_members(options, ensemble)
    weights = dict(
        zip(
            names := [member.name for member in members],
            ensemble.weights_of(names),
            strict=True,
        )
    )
    fusion = _predict(options, members, options.split, folder, signals)
    task, label = fusion.task, split_label(options.split)
    fused = fusion.fused(weights)
    if task.export is not None:
        target = folder / "predictions" / "ensemble"
        path = task.export(target, label, fused.samples, task.splits[options.split])
        _log.info("wrote %s", path)
    if options.submission:
        return
    of_members = {name: fusion.member(name).metrics for name in names}
    mean = {
        name: statistics.fmean(metrics[name] for metrics in of_members.values())
        for name in fused.metrics
    }
    log_metrics({label: {**of_members, "mean of members": mean, "ensemble": fused.metrics}})
    task.draw(folder / "pictures" / label / "ensemble", fused.samples, task.splits[options.split])
    content = {"weights": weights, "members": of_members, "ensemble": fused.metrics}
    write_json(folder / f"ensemble_{label}.json", content)


def _predict(
    options: EvaluationOptions,
    members: list[PreparedMember],
    split: str,
    folder: Path,
    signals: Signals,
) -> Fusion:
    """Return the predictions of all members for a split."""
    inference = members[0].ready.inference(options, split, signals.check)
    return predict_ensemble(
        [
            member.ready.member(member.name, member.weights, split=split, folder=folder)
            for member in members
        ],
        inference,
    )
