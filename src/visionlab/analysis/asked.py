"""What figures are asked to show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from visionlab.analysis.measures import Model, Weights

_SORTS = ("stability", "misclassification", "mismatch")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be drawn, the same for all figures; each takes what concerns it.

    Attributes:
        models: of the runs, of one task or several.
        x: epoch or step.
        y: the number of curves, as val/top1 or train/loss; None for the most telling.
        value: the final number, as test/top1; None for the most telling.
        weights: whose final number: last or best.
        hue: the setting that tells lines apart; None for the models of a run.
        epochs: the first and the last that count, or None for all.
        sort: what sorts samples of bar codes: stability, misclassification or mismatch.
        num_samples: of bar codes.
        window: epochs of a moving average of stability; 1 for none.
        broken_axis: the two values between which loss curves leave out the axis, or None.
    """

    models: Sequence[Model]
    x: str
    y: str | None
    value: str | None
    weights: Weights
    hue: str | None
    epochs: tuple[int, int] | None
    sort: str
    num_samples: int
    window: int
    broken_axis: tuple[float, float] | None

    def __post_init__(self) -> None:
        if self.x not in ("epoch", "step"):
            raise ValueError(f"x must be epoch or step, got {self.x}")
        if self.weights not in ("last", "best"):
            raise ValueError(f"weights must be last or best, got {self.weights}")
        if self.sort not in _SORTS:
            raise ValueError(f"sort must be one of {', '.join(_SORTS)}, got {self.sort}")
        for name in ("num_samples", "window"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        for name in ("epochs", "broken_axis"):
            ends = getattr(self, name)
            if ends is not None and not (len(ends) == 2 and ends[0] < ends[1]):
                raise ValueError(f"{name} must be two rising numbers, got {list(ends)}")


# draws figures, by the name of their files; none where the runs have nothing to show
Draw = Callable[[Asked], Mapping[str, Figure]]
