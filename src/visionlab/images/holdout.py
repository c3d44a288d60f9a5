"""Random holdout of a part of the training set."""

from dataclasses import dataclass

from torch import Tensor

from visionlab.core import seeding
from visionlab.core.checks import check_range, check_seed


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """A share of the training samples, drawn once with a seed of its own.

    Attributes:
        split: the share, in [0, 1).
        seed: of the draw, at least 0; another seed holds out other samples.
    """

    split: float
    seed: int

    def __post_init__(self) -> None:
        check_range(self, "[0, 1)", "split")
        check_seed(self, "seed")

    def rows(self, num_samples: int) -> tuple[Tensor, Tensor]:
        """Return the row numbers of the training and of the validation part.

        The validation part has int(num_samples * split) rows. With 50,000 samples, split 0.1 and
        seed 1234 these are the parts of the EMA study (its split is torch's `random_split`, train
        first).
        """
        num_val = int(num_samples * self.split)
        order = seeding.permutation(num_samples, seed=self.seed)
        return order[: num_samples - num_val], order[num_samples - num_val :]
