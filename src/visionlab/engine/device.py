"""The machine of a run: device, threads, precision, determinism."""

import os
import platform
from functools import partial
from pathlib import Path

import torch

from visionlab.core.processes import num_processes
from visionlab.task import Autocast

_MAX_THREADS = 1024
_default_threads = torch.get_num_threads()  # an earlier job of a multirun may set another number


def choose_device(name: str) -> torch.device:
    """Return the device named `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        ValueError: the name is another one, or the device does not exist.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ValueError(f"device must exist, got {name!r} on a machine with {count} CUDA devices")
    return device


def set_threads(threads: int | None) -> int:
    """Set torch's CPU threads, None for torch's default, and return their number.

    The last bits of results depend on it, so a run records the number and resumes with it.
    """
    if threads is not None and not 1 <= threads <= _MAX_THREADS:
        raise ValueError(f"threads must be in [1, {_MAX_THREADS}] or null, got {threads}")
    torch.set_num_threads(threads or _default_threads)
    return torch.get_num_threads()


def default_threads() -> int:
    """Return the number of threads of a run whose `threads` is None."""
    return _default_threads


def set_default_threads(threads: int) -> None:
    """Set the number of threads of a run whose `threads` is None."""
    global _default_threads
    _default_threads = threads


def make_deterministic(device: torch.device) -> None:
    """Make results bit-reproducible on a GPU; on the CPU they are anyway."""
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA initialises
        torch.use_deterministic_algorithms(True, warn_only=True)
        # otherwise this mode fills every new tensor
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False


def make_autocast(precision: str, device: torch.device) -> Autocast:
    """Return a factory of autocast contexts for forward passes in `fp32` or `bf16`."""
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision must be fp32 or bf16, got {precision!r}")
    return partial(torch.autocast, device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def describe_hardware(device: torch.device) -> dict[str, str | int | None]:
    """Return the description of the machine for `run.json`."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "device": str(device),
        "gpu": gpu,
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": num_processes(),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    return names[0] if names else platform.processor() or platform.machine()
