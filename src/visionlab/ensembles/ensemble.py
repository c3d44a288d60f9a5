"""Ensembles: the predictions of several models, fused into one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from visionlab.core.checks import check_at_least, check_seed
from visionlab.ensembles.prediction import (
    Evaluated,
    Inference,
    Member,
    Predicted,
    Samples,
    batches_of,
    check_fuse,
    evaluate_predictions,
    fused_batches,
    predict_members,
)
from visionlab.ensembles.saved_predictions import SavedPredictions
from visionlab.images.views import View
from visionlab.task import Task


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Members of an ensemble and their weights.

    Attributes:
        members: names of the run's models, where * stands for any characters, files of models, and
            folders of runs or multiruns, of each of whose runs the best model is one.
        weights: one per member, in the order of the members; None for equal ones.
        max_subsets: most ensembles of each size that are measured, and most weights that are tried
            on validation samples.
        num_rounds: members that greedy selection adds, with replacement.
        seed: of the subsets.
    """

    members: Sequence[str]
    weights: Sequence[float] | None
    max_subsets: int
    num_rounds: int
    seed: int

    def __post_init__(self) -> None:
        check_at_least(self, 1, "max_subsets", "num_rounds")
        check_seed(self, "seed")
        if not self.members:
            raise ValueError("members must name at least one model, got none")
        for weight in self.weights or ():
            if not 0.0 <= weight < math.inf:
                raise ValueError(f"weights must be >= 0, got {weight}")
        if self.weights is not None and not any(self.weights):
            raise ValueError(f"weights must have one above 0, got {list(self.weights)}")

    @property
    def patterns(self) -> Sequence[str]:
        """Those members that are names of models of the run."""
        return [member for member in self.members if not is_path(member)]

    def weights_of(self, names: Sequence[str]) -> list[float]:
        """Return the weight of each member.

        Raises:
            ValueError: there is one member, or another number of weights than of members.
        """
        if len(names) < 2:
            raise ValueError(f"ensemble.members must be at least 2 models, got {', '.join(names)}")
        if self.weights is None:
            return [1.0] * len(names)
        if len(self.weights) != len(names):
            raise ValueError(
                f"ensemble.weights must be one for each of {len(names)} members, "
                f"got {len(self.weights)}"
            )
        return list(self.weights)


def is_path(member: str) -> bool:
    """Return whether a member is a file or folder, not a name of models of the run."""
    return "/" in member or member.endswith(".pt") or Path(member).exists()


class Fusion(NamedTuple):
    """Predictions of all members in all views for a split, which any weights fuse."""

    task: Task
    predicted: Predicted
    samples: Samples
    views: Mapping[str, float]  # weights by name

    def member(self, name: str) -> Evaluated:
        """Evaluate one member, over all its views."""
        if len(self.views) == 1:
            (saved,) = self.predicted[name].values()
            return evaluate_predictions(self.task, batches_of(saved, self.samples), self.samples)
        return self.fused({name: 1.0})

    def seconds(self, name: str) -> float:
        """Return how long the forward passes of a member took, decoding included."""
        return sum(saved.seconds for saved in self.predicted[name].values())

    def fused(self, weights: Mapping[str, float]) -> Evaluated:
        """Evaluate some members fused, each over all its views, with weights by name."""
        predictions: list[SavedPredictions] = []
        factors: list[float] = []
        for name, weight in weights.items():
            predictions += [self.predicted[name][view] for view in self.views]
            factors += [weight * of_view for of_view in self.views.values()]
        batches = fused_batches(self.task, predictions, factors, self.samples)
        return evaluate_predictions(self.task, batches, self.samples)


def predict_ensemble(members: Sequence[Member], inference: Inference) -> Fusion:
    """Predict a split with each member in each view, unless its predictions are saved already.

    Raises:
        ValueError: predictions of the task cannot be fused, or a member has other samples.
    """
    task = members[0].task
    check_fuse(task, key="ensemble")
    predicted, samples = predict_members(members, inference)
    views: Mapping[str, View] = inference.views or {}
    weights = {name: view.weight for name, view in views.items()}
    return Fusion(task, predicted, samples, weights or dict.fromkeys(inference.shown, 1.0))
