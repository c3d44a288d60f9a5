"""Settings for training, evaluation and early stopping; they check themselves, without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from visionlab.core.checks import check_at_least, check_choice, check_positive

TrainEvaluation = Literal["none", "plain", "augmented"]


@dataclass(frozen=True, kw_only=True)
class Hparams:
    """Training length, size of an optimizer step, and which samples count.

    Attributes:
        epochs: passes over the training samples.
        batch_size: samples per optimizer step.
        accumulate_steps: forward and backward passes per optimizer step; divides `batch_size`.
        grad_clip_max_norm: maximum L2 norm over all gradients, or None.
        hard_examples: two fractions, low and high, or None for all samples. Samples of a batch are
            ranked by descending loss; training uses only the zero-based ranks from floor(low * B)
            to floor(high * B), inclusive. This drops the few hardest (outliers) and all easy ones.
            B is the size of one pass: with `accumulate_steps` each part is ranked separately.
            `loss` is then the loss of the kept samples, and `loss_of_all` that of all samples,
            comparable with validation. Needs a loss with one value per sample.
        freeze_backbone_epochs: initial epochs in which the task's backbone gets no gradients and
            its batch norms use their running statistics unchanged; at most `epochs`.
    """

    epochs: int
    batch_size: int
    accumulate_steps: int
    grad_clip_max_norm: float | None
    hard_examples: Sequence[float] | None
    freeze_backbone_epochs: int

    def __post_init__(self) -> None:
        check_positive(self, "epochs", "batch_size", "accumulate_steps")
        check_at_least(self, 0, "freeze_backbone_epochs")
        if self.grad_clip_max_norm is not None:
            check_positive(self, "grad_clip_max_norm")
        if self.freeze_backbone_epochs > self.epochs:
            raise ValueError(
                f"freeze_backbone_epochs must be <= epochs {self.epochs}, "
                f"got {self.freeze_backbone_epochs}"
            )
        band = self.hard_examples
        if band is not None and not (len(band) == 2 and 0 <= band[0] < band[1] <= 1):
            raise ValueError(
                f"hard_examples must be null or two increasing numbers in [0, 1], got {list(band)}"
            )
        if self.batch_size % self.accumulate_steps:
            raise ValueError(
                f"accumulate_steps must divide batch_size {self.batch_size}, "
                f"got {self.accumulate_steps}"
            )


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Early-stopping rules; None disables a rule. They do not change the schedule.

    Attributes:
        patience_epochs: stop after this many epochs without improvement of the model or any
            average.
        max_steps: stop after this many optimizer steps.
        max_minutes: stop after this much training time, including that before a resume.
    """

    patience_epochs: int | None
    max_steps: int | None
    max_minutes: float | None

    def __post_init__(self) -> None:
        rules = ("patience_epochs", "max_steps", "max_minutes")
        check_positive(self, *(name for name in rules if getattr(self, name) is not None))

    def reason(self, *, step: int, seconds: float, epochs_without_improvement: int) -> str | None:
        """Return why training should stop here, or None."""
        progress = {
            "max_steps": step,
            "max_minutes": seconds / 60,
            "patience_epochs": epochs_without_improvement,
        }
        for name, done in progress.items():
            limit = getattr(self, name)
            if limit is not None and done >= limit:
                return f"stop.{name}={limit}"
        return None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Evaluation settings.

    Attributes:
        every_epochs: epochs between validations; the last epoch always has one.
        batch_size: samples per forward pass.
        test: evaluate the saved models on the test split at the end, if there is one.
        train: how to evaluate the training split at the end: `none`, `plain` or `augmented`.
    """

    training_invariant: ClassVar[Sequence[str]] = ("test", "train")  # measured after training
    every_epochs: int
    batch_size: int
    test: bool
    train: TrainEvaluation

    def __post_init__(self) -> None:
        check_positive(self, "every_epochs", "batch_size")
        check_choice(self, get_args(TrainEvaluation), "train")

    def is_due(self, epoch: float, *, epochs: int) -> bool:
        """Return whether to validate after this epoch: at the interval and at the end."""
        return epoch % self.every_epochs == 0 or epoch == epochs
