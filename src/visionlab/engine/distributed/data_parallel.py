"""Data-parallel training of one run by several processes.

Each process has the whole model and takes its rows of every batch. Gradients are summed after the
backward passes of a step, so all ranks take the same step. All ranks must call these functions at
the same point; with one process they change nothing.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from visionlab.core import seeding
from visionlab.core.interrupt import Interrupted
from visionlab.core.processes import local_rank, num_local_processes, num_processes, rank
from visionlab.engine.distributed.collectives import all_reduce_max
from visionlab.engine.hparams import Hparams
from visionlab.task import Task


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Join the process group of a run, once; each process of a machine gets its own GPU.

    Raises:
        ValueError: there are fewer GPUs than processes, or a GPU is requested by number.
        ConnectionError: another process ended, for example because it ran out of memory.
    """
    if num_processes() == 1 or dist.is_initialized():
        yield
        return
    uses_gpus = torch.cuda.is_available() and device != "cpu"
    if uses_gpus:
        _set_gpu(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if uses_gpus else "gloo")
    try:
        yield
    except Interrupted:
        # a barrier: torchrun ends all processes once one ends, but rank 0 must write files first
        all_reduce_max(0)
        raise
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise ConnectionError("a process of the run ended before the others") from error
        raise
    dist.destroy_process_group()


def _set_gpu(device: str) -> None:
    """Make `cuda` stand for the GPU with this process's local rank."""
    if device not in ("auto", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda for several processes, got {device!r}")
    if num_local_processes() > torch.cuda.device_count():
        raise ValueError(
            f"device must be cpu for more processes than GPUs, got {device!r} for "
            f"{num_local_processes()} on a machine with {torch.cuda.device_count()}"
        )
    torch.cuda.set_device(local_rank())


def check_divisible(hparams: Hparams, num_samples: int, *, count: int) -> None:
    """Refuse settings that cannot be divided among `count` processes.

    Raises:
        ValueError: the message names the key, the rule and the value.
    """
    part_size = hparams.batch_size // hparams.accumulate_steps
    if count == 1:
        return
    if part_size % count:
        raise ValueError(
            f"hparams.batch_size must be a multiple of {count} processes times "
            f"accumulate_steps {hparams.accumulate_steps}, got {hparams.batch_size}"
        )
    if 0 < num_samples % part_size < count:
        raise ValueError(
            f"hparams.batch_size must leave a sample of the last batch for each of {count} "
            f"processes, got {hparams.batch_size} for {num_samples} samples"
        )
    if hparams.hard_examples is not None:
        raise ValueError(
            "hparams.hard_examples must be null for several processes, each of which sees a part "
            f"of the batch, got {list(hparams.hard_examples)}"
        )


def prepare_model(task: Task, *, sync_batch_norm: bool) -> None:
    """Prepare a task's model for data-parallel training, with the weights of rank 0 on all ranks.

    It must be on its device; create averages and optimizers afterwards. With `sync_batch_norm`, the
    batch norms of `task.synchronised` use the statistics of the whole batch in training.

    Raises:
        ValueError: a batch norm of the model cannot be synchronised.
    """
    if num_processes() > 1:
        if sync_batch_norm:
            from visionlab.engine.distributed.sync_batch_norm import synchronise_batch_norms

            for module in task.synchronised:
                synchronise_batch_norms(module)
        _broadcast_tensors([*task.model.parameters(), *task.model.buffers()])


def rank_seed(seed: int) -> int:
    """Return a seed per rank, so that dropout differs between ranks; rank 0 keeps `seed`."""
    return seeding.derive(seed, "process", rank()) if rank() else seed


def broadcast_buffers(module: nn.Module) -> None:
    """Broadcast the buffers of rank 0: running statistics, queues."""
    if num_processes() > 1:
        _broadcast_tensors(list(module.buffers()))


def all_reduce_gradients(module: nn.Module, scalars: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sum gradients over all processes in place; return the sums of `scalars`.

    Uses one all-reduce. A parameter without a gradient on any rank still has none afterwards.
    """
    if num_processes() == 1:
        return dict(scalars)
    parameters = [each for each in module.parameters() if each.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    is_known = torch.tensor([float(p.grad is not None) for p in parameters])
    pieces = [*gradients, *scalars.values(), is_known.to(gradients[0].device)]
    summed = torch.cat([piece.flatten() for piece in pieces])
    dist.all_reduce(summed)
    sums = torch.split(summed, [piece.numel() for piece in pieces])
    for gradient, total in zip(gradients, sums, strict=False):
        gradient.copy_(total.view_as(gradient))
    if any(p.grad is None for p in parameters):
        for p, gradient, count in zip(parameters, gradients, sums[-1].tolist(), strict=True):
            p.grad = gradient if count else None
    totals = sums[len(gradients) : -1]
    return {name: total[0] for name, total in zip(scalars, totals, strict=True)}


def _broadcast_tensors(tensors: list[Tensor]) -> None:
    """Overwrite tensors with those of rank 0, with one broadcast per dtype."""
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        alike = [tensor.detach() for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.flatten() for tensor in alike])
        dist.broadcast(flat, 0)
        for tensor, new in zip(alike, torch.split(flat, [t.numel() for t in alike]), strict=True):
            tensor.copy_(new.view_as(tensor))
