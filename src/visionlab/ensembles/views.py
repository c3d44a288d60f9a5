"""Test-time augmentation: the predictions of a model over views of each image, fused into one."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from visionlab.ensembles.prediction import (
    Inference,
    Member,
    batches_of,
    check_fuse,
    evaluate_predictions,
    fused_batches,
    predict_members,
)
from visionlab.images.views import View

_MUCH_WORSE = 0.8  # times the better metric


@dataclass(frozen=True, kw_only=True)
class ViewResult:
    """Result of an evaluation with views.

    Attributes:
        alone: metrics of each view alone, by view name.
        running: metrics of this view and all before it, fused, by view name.
        samples: `keys`, and the metric's per-sample results for all views fused.
    """

    alone: dict[str, dict[str, float]]
    running: dict[str, dict[str, float]]
    samples: dict[str, Tensor]

    def worse_alone(self, metric: str, *, mode: str) -> dict[str, float]:
        """Return the values of views that alone are much worse than the first one, by name."""
        first, *others = ((name, metrics[metric]) for name, metrics in self.alone.items())
        if mode == "max":
            return {name: value for name, value in others if value < _MUCH_WORSE * first[1]}
        return {name: value for name, value in others if _MUCH_WORSE * value > first[1]}

    def describe_gain(self, metric: str) -> str:
        """Return a sentence that compares all views with the first one alone."""
        first, last = next(iter(self.alone)), list(self.running)[-1]
        before, after = self.alone[first][metric], self.running[last][metric]
        change = f" ({after / before - 1.0:+.2%})" if before else ""
        return f"{metric} is {before:.4f} in view {first} and {after:.4f} in all{change}"


def check_views(views: Mapping[str, View]) -> None:
    """Refuse views that cannot be fused.

    Raises:
        ValueError: there is no view, or the weights do not sum to more than 0.
    """
    if not views:
        raise ValueError("views must have at least one view, got none")
    if not sum(view.weight for view in views.values()) > 0:
        weights = ", ".join(f"{name}={view.weight:g}" for name, view in views.items())
        raise ValueError(f"views must have weights with a sum above 0, got {weights}")


def evaluate_views(member: Member, inference: Inference) -> ViewResult:
    """Evaluate the fused predictions of a model over views of a split.

    Raises:
        ValueError: the task cannot fuse predictions, or `check_views` refuses the views.
    """
    task, views = member.task, inference.views or {}
    check_views(views)
    check_fuse(task, key="views")
    predicted, samples = predict_members([member], inference)
    predictions = predicted[member.name]
    alone, running = dict[str, dict[str, float]](), dict[str, dict[str, float]]()
    for number, name in enumerate(views, start=1):
        own = batches_of(predictions[name], samples)
        alone[name] = evaluate_predictions(task, own, samples).metrics
        weights = [view.weight for view in views.values()][:number]
        if sum(weights):
            until = [*predictions.values()][:number]
            fused = evaluate_predictions(
                task, fused_batches(task, until, weights, samples), samples
            )
            running[name] = fused.metrics
    return ViewResult(alone=alone, running=running, samples=fused.samples)
