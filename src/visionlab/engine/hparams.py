"""How a run trains, evaluates and stops: plain numbers that check themselves, without torch."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, get_args

TrainEvaluation = Literal["none", "plain", "augmented"]


@dataclass(frozen=True, kw_only=True)
class Hparams:
    """The training length, the size of an optimizer step, and what of it counts.

    Attributes:
        epochs: passes over the training samples.
        batch_size: samples of one optimizer step.
        accumulate_steps: forward and backward passes that make up one optimizer step; divides
            `batch_size`.
        grad_clip_max_norm: largest L2 norm of all gradients together, or None.
        hard_examples: two shares, low and high: the samples of a batch are ranked by falling loss,
            and only the zero-based ranks from floor(low * B) up to and including floor(high * B)
            are trained on, so the few hardest (outliers) and all easy ones are left out. B counts
            one pass: with `accumulate_steps` each part is ranked by itself. `loss` is then that of
            the kept, `loss_of_all` that of all samples, which validation can be compared with. Or
            None for all samples; needs a loss with one value a sample.
        freeze_backbone_epochs: for so many epochs the task's backbone gets no gradients, and its
            batch norms use and keep their running statistics; at most `epochs`.
    """

    epochs: int
    batch_size: int
    accumulate_steps: int
    grad_clip_max_norm: float | None
    hard_examples: Sequence[float] | None
    freeze_backbone_epochs: int

    def __post_init__(self) -> None:
        _check_positive(self, may_be_zero=("freeze_backbone_epochs",))
        if self.freeze_backbone_epochs > self.epochs:
            raise ValueError(
                f"freeze_backbone_epochs must be <= epochs {self.epochs}, "
                f"got {self.freeze_backbone_epochs}"
            )
        band = self.hard_examples
        if band is not None and not (len(band) == 2 and 0 <= band[0] < band[1] <= 1):
            raise ValueError(
                f"hard_examples must be null or two rising numbers in [0, 1], got {list(band)}"
            )
        if self.batch_size % self.accumulate_steps:
            raise ValueError(
                f"accumulate_steps must divide batch_size {self.batch_size}, "
                f"got {self.accumulate_steps}"
            )


@dataclass(frozen=True, kw_only=True)
class Stop:
    """When training ends before its last epoch; None never. The schedule is not changed by it.

    Attributes:
        patience_epochs: after this many epochs in which the model and every average were no better.
        max_steps: after this many optimizer steps.
        max_minutes: after this much time in training, resumed runs added up.
    """

    patience_epochs: int | None
    max_steps: int | None
    max_minutes: float | None

    def __post_init__(self) -> None:
        _check_positive(self)

    def reason(self, *, step: int, seconds: float, epochs_without_gain: int) -> str | None:
        """Return why training should stop here, or None if it should not."""
        reached = {
            "max_steps": self.max_steps is not None and step >= self.max_steps,
            "max_minutes": self.max_minutes is not None and seconds >= 60 * self.max_minutes,
            "patience_epochs": self.patience_epochs is not None
            and epochs_without_gain >= self.patience_epochs,
        }
        named = [f"stop.{name}={getattr(self, name)}" for name, is_so in reached.items() if is_so]
        return named[0] if named else None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is evaluated, and how often.

    Attributes:
        every_epochs: validation after every so many epochs, and after the last.
        batch_size: samples of one forward pass.
        train: whether the end also measures the training part, `plain` or `augmented`; or `none`.
    """

    training_invariant: ClassVar[Sequence[str]] = ("train",)  # measured when training is over
    every_epochs: int
    batch_size: int
    train: TrainEvaluation

    def __post_init__(self) -> None:
        _check_positive(self)
        if self.train not in get_args(TrainEvaluation):
            raise ValueError(
                f"train must be one of {', '.join(get_args(TrainEvaluation))}, got {self.train!r}"
            )

    def is_due(self, epoch: float, *, epochs: int) -> bool:
        """Return whether to validate: at the interval and at the end."""
        return epoch % self.every_epochs == 0 or epoch == epochs


def _check_positive(settings: object, *, may_be_zero: Sequence[str] = ()) -> None:
    """Refuse numbers that are not above 0, or for some not 0 or more."""
    for field in fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, field.name)
        if not isinstance(value, int | float) or value > 0:
            continue
        if field.name not in may_be_zero or value != 0:
            rule = ">= 0" if field.name in may_be_zero else "> 0"
            raise ValueError(f"{field.name} must be {rule}, got {value}")
