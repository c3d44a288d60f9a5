"""Members of an ensemble, the ensemble and its rivals, side by side."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from visionlab.ensembles.ensemble import EnsemblePredictions
from visionlab.ensembles.prediction import Evaluated
from visionlab.ensembles.results.assessment import calibration
from visionlab.task import Task

MEAN = "mean of members"


class Candidate(NamedTuple):
    """A model or ensemble among those that are compared.

    Attributes:
        weights: of the members by name; empty for a model that is none of them.
        found: on the split that is evaluated.
        on_val: on validation samples; None if there are none, or they are evaluated.
        cost: `parameters` in all, `forward_passes` of each image, and their `seconds`.
    """

    weights: Mapping[str, float]
    found: Evaluated
    on_val: Evaluated | None
    cost: Mapping[str, float]


class PredictedSplits(NamedTuple):
    """Predictions for the split that is evaluated, and for validation samples if there are any."""

    split: EnsemblePredictions
    val: EnsemblePredictions | None

    def candidate(self, weights: Mapping[str, float]) -> Candidate:
        """Return some members as one ensemble."""
        used = {name: weight for name, weight in weights.items() if weight}
        on_val = self.val and self.val.fused(used)
        return Candidate(weights, self.split.fused(used), on_val, self.split.cost([*used]))

    def member(self, name: str) -> Candidate:
        """Return one member."""
        on_val = self.val and self.val.member(name)
        return Candidate({name: 1.0}, self.split.member(name), on_val, self.split.cost([name]))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Members and ensembles of one task.

    Attributes:
        task: the task.
        members: by name.
        ensembles: by name, and single models that are none of the members.
    """

    task: Task
    members: Mapping[str, Candidate]
    ensembles: Mapping[str, Candidate]

    @property
    def all(self) -> Mapping[str, Candidate]:
        """Members, then ensembles, by name."""
        return {**self.members, **self.ensembles}

    @property
    def mean_metrics(self) -> dict[str, float]:
        """Mean of each metric over the members."""
        metrics = [member.found.metrics for member in self.members.values()]
        return {name: statistics.fmean(each[name] for each in metrics) for name in metrics[0]}

    @property
    def best_member(self) -> str | None:
        """The member that is best on validation samples, of equals the first; None without any."""
        metric, best = monitored(self.task), None
        for name, member in self.members.items():
            if member.on_val is None:
                return None
            value = member.on_val.metrics[metric]
            if best is None or self.task.is_better(value, best[1]):
                best = name, value
        return best and best[0]

    def gains(self) -> dict[str, dict[str, float]]:
        """Return metric, gain and cost of the best member, or of the mean member, and ensembles."""
        metric, best = monitored(self.task), self.best_member
        if best is None:
            first = next(iter(self.members.values()))
            name, reference, cost = MEAN, self.mean_metrics[metric], first.cost
        else:
            single = self.members[best]
            name, reference, cost = (
                f"best member, {best}",
                single.found.metrics[metric],
                single.cost,
            )
        rows: dict[str, dict[str, float]] = {name: {metric: reference, "gain": 0.0, **cost}}
        for name, each in self.ensembles.items():
            value = each.found.metrics[metric]
            rows[name] = {metric: value, "gain": value - reference, **each.cost}
        return rows

    def calibrations(self) -> dict[str, dict[str, Any]]:
        """Return the calibration of members and ensembles by name."""
        found = {}
        for name, candidate in self.all.items():
            used = [self.members[each] for each, weight in candidate.weights.items() if weight]
            on_val = [member.on_val for member in used if member.on_val is not None]
            found[name] = calibration(
                candidate.found,
                candidate.on_val,
                members=[member.found for member in used],
                members_on_val=on_val,
            )
        return found


def monitored(task: Task) -> str:
    """Return the metric that decides which models are best; the first one instead of the loss."""
    return task.monitor if task.monitor in task.metric.names else task.metric.names[0]
