"""Rows of all processes that share a run."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from visionlab.core.processes import num_processes, rank


def rows_of_rank() -> slice:
    """Return which rows of a batch are those of this process."""
    return slice(rank(), None, num_processes())


def gather_rows(rows: Tensor) -> Tensor:
    """Return the rows (B, ...) of all processes in the order of the batch, the same on each.

    Process r of n has rows r, r + n, ... of the batch, so their numbers differ by at most one. All
    processes must call it at the same point; no gradient flows back.
    """
    if num_processes() == 1:
        return rows
    total = torch.tensor(len(rows), device=rows.device)
    dist.all_reduce(total)
    longest = -(-int(total) // num_processes())
    padding = [0, 0] * (rows.ndim - 1) + [0, longest - len(rows)]
    padded = F.pad(rows.detach(), padding).contiguous()
    parts = [torch.empty_like(padded) for _ in range(num_processes())]
    dist.all_gather(parts, padded)
    return torch.stack(parts, dim=1).flatten(0, 1)[: int(total)]


def share_first(module: nn.Module) -> None:
    """Give the buffers of the first process to all."""
    if num_processes() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)
