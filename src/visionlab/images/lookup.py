"""Lookup of samples by key, for pictures."""

from collections.abc import Iterator, Sequence

import torch

from visionlab.task import Batch, Split


def find(split: Split, keys: Sequence[int], *, batch_size: int) -> Iterator[tuple[Batch, int]]:
    """Yield batch and row of the samples with some keys, in the order of the split.

    Args:
        split: the split that holds the samples.
        keys: of the samples.
        batch_size: number of samples read at a time.
    """
    wanted, num_left = torch.tensor(keys), len(keys)
    for batch in split.batches(batch_size=batch_size, epoch=0, first_batch=0):
        rows = torch.isin(batch.keys.cpu(), wanted).nonzero()[:, 0].tolist()
        yield from ((batch, row) for row in rows)
        num_left -= len(rows)
        if num_left == 0:
            break
