"""Two processes compute what one does with batch norms split in two."""

from pathlib import Path

import pytest
import torch
from groups import together
from test_moco import PAIRS, moco

from visionlab.core.processes import num_processes, rank
from visionlab.tasks.pretraining.loss import InfoNce

pytestmark = pytest.mark.integration


def _step(path: Path, count: int, bn_splits: int) -> None:
    """Write queue and gradients of one step, summed over the processes, to a file."""
    model = moco(bn_splits=bn_splits)
    pairs = PAIRS[:count]
    losses = InfoNce(temperature=0.2)(model(pairs[rank() :: num_processes()]), torch.zeros(1))
    (losses["contrastive"].sum() / count).backward()
    for parameter in model.query.parameters():
        if num_processes() > 1:
            torch.distributed.all_reduce(parameter.grad)
    model.after_step()
    if rank() == 0:
        torch.save([model.queue, *(each.grad for each in model.query.parameters())], path)


@pytest.mark.parametrize("count", [6, 5])
def test_two_processes_equal_two_splits(count: int, tmp_path: Path) -> None:
    together(_step, tmp_path / "two.pt", count, 1)
    _step(tmp_path / "one.pt", count, 2)
    two, one = (torch.load(tmp_path / f"{name}.pt") for name in ("two", "one"))
    for ours, theirs in zip(two, one, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
