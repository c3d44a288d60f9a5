"""scikit-learn's handwritten digits, shared by all tasks that use them."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

NUM_TEST = 360
TEST_SEED = 0  # the test part never changes, so numbers stay comparable
CLASS_NAMES = [str(digit) for digit in range(10)]


def read_digits() -> tuple[Tensor, Tensor]:
    """Read the 1,797 digits (E. Alpaydin and C. Kaynak, UCI 1998) from scikit-learn's own file.

    scikit-learn itself takes longer to import than a digits epoch to train, so it is not.

    Returns:
        Images, (1797, 8, 8) float64 from 0 (paper) to 16 (ink), and labels, (1797,) int64.

    Raises:
        FileNotFoundError: scikit-learn is not installed, or without its file.
    """
    package = find_spec("sklearn")
    folder = Path((package.submodule_search_locations or [""])[0] if package else "sklearn")
    with gzip.open(folder / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        rows = torch.from_numpy(np.loadtxt(file, delimiter=","))
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].long()
