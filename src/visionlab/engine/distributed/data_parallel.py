"""One run by several processes, which torchrun has started.

Each process has the whole model and takes its rows of every batch. Gradients are summed after the
backward passes of a step, so all take the same step. Every function here is called by all of them,
at the same place; with a single process they change nothing.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from visionlab.core import seeding
from visionlab.core.interrupt import Interrupted
from visionlab.core.processes import local_rank, num_processes, rank
from visionlab.engine.distributed.collectives import all_reduce_max
from visionlab.engine.distributed.sync_batch_norm import synchronise_batch_norms
from visionlab.engine.hparams import Hparams


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Be one of the processes that torchrun has started for a run, until the run ends.

    Args:
        device: as in the configuration; on GPUs each process of a machine gets its own.

    Raises:
        ValueError: there are fewer GPUs than processes, or one is asked for by its number.
        ConnectionError: another process has ended, for example for want of memory.
    """
    if num_processes() == 1:
        yield
        return
    uses_gpus = torch.cuda.is_available() and device != "cpu"
    if uses_gpus:
        _take_gpu(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if uses_gpus else "gloo")
    try:
        yield
    except Interrupted:
        all_reduce_max(
            0
        )  # torchrun ends all when one has ended: not before the first has written it down
        raise
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise ConnectionError("a process of the run has ended before the others") from error
        raise
    dist.destroy_process_group()


def _take_gpu(device: str) -> None:
    """Make the GPU with this process's number the one that `cuda` stands for."""
    if device not in ("auto", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda under torchrun, got {device!r}")
    if local_rank() >= torch.cuda.device_count():
        raise ValueError(
            f"device must be cpu for more processes than GPUs, got {device!r} for process "
            f"{local_rank() + 1} on a machine with {torch.cuda.device_count()}"
        )
    torch.cuda.set_device(local_rank())


def check_division(hparams: Hparams, num_samples: int) -> None:
    """Refuse settings of a training that cannot be divided among the processes.

    Raises:
        ValueError: the message names the key, the rule and the value.
    """
    count, part_size = num_processes(), hparams.batch_size // hparams.accumulate_steps
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


def prepare(model: nn.Module, *, sync_batch_norm: bool) -> None:
    """Make the models of all processes equal, the first one's, and ready to be trained together.

    Args:
        model: on its device; averages and optimizers are made of it afterwards.
        sync_batch_norm: whether batch norms use the statistics of the whole batch in training.

    Raises:
        ValueError: it has a batch norm that cannot.
    """
    if num_processes() > 1:
        if sync_batch_norm:
            synchronise_batch_norms(model)
        _copy_from_first([*model.parameters(), *model.buffers()])


def rank_seed(seed: int) -> int:
    """Return what a process draws from, so that no two drop out the same; the first, the seed."""
    return seeding.derive(seed, "process", rank()) if rank() else seed


def broadcast_buffers(module: nn.Module) -> None:
    """Give every process the buffers of the first: running statistics, queues."""
    if num_processes() > 1:
        _copy_from_first(list(module.buffers()))


def all_reduce_gradients(module: nn.Module, scalars: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sum the gradients of a module over all processes, in place; return the sums of scalars.

    One all-reduce. A parameter without a gradient anywhere still has none afterwards.
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


def _copy_from_first(tensors: list[Tensor]) -> None:
    """Overwrite tensors by those of the first process, with one broadcast for each type."""
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        alike = [tensor.detach() for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.flatten() for tensor in alike])
        dist.broadcast(flat, 0)
        for tensor, new in zip(alike, torch.split(flat, [t.numel() for t in alike]), strict=True):
            tensor.copy_(new.view_as(tensor))
