"""The machine of a run: device, threads, precision, determinism."""

import os
import platform
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch

from visionlab.core.processes import num_processes
from visionlab.task import Autocast

Precision = Literal["fp32", "bf16"]
_MAX_THREADS = 1024
_LOAD_SAMPLES, _LOAD_SECONDS = 5, 0.01
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


def set_determinism(device: torch.device, *, deterministic: bool) -> None:
    """Make results on a GPU bit-reproducible, or let cuDNN choose the fastest algorithms.

    On the CPU they are reproducible either way.
    """
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA initialises
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        # otherwise this mode fills every new tensor
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = not deterministic


def choose_precision(name: str, device: torch.device) -> Precision:
    """Return the precision named `auto`, `fp32` or `bf16`; auto is bf16 where it is fast.

    Raises:
        ValueError: the name is another one.
    """
    if name == "auto":
        return "bf16" if has_fast_bf16(device) else "fp32"
    if name not in get_args(Precision):
        raise ValueError(f"precision must be auto, fp32 or bf16, got {name!r}")
    return name  # type: ignore[return-value]


def has_fast_bf16(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16 itself.

    GPUs do from compute capability 8 on, x86 CPUs with AVX512-BF16 or AMX. Others emulate it, up to
    ten times as slowly as float32, or were never measured.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    flags = {flag for line in _cpu_info("flags") for flag in line.split()}
    return not flags.isdisjoint(("avx512_bf16", "amx_bf16"))


def bf16_time_ratio() -> float:
    """Measure the time of a convolution in bfloat16 against float32, on the CPU, in a second."""
    layer = torch.nn.Conv2d(32, 32, 3, padding=1).to(memory_format=torch.channels_last)
    images = torch.zeros(16, 32, 32, 32).to(memory_format=torch.channels_last)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(4):  # the first round prepares kernels
        for enabled, measured in seconds.items():
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
                started = time.perf_counter()
                layer(images)
                measured.append(time.perf_counter() - started)
    return min(seconds[True]) / min(seconds[False])


def make_autocast(precision: Precision, device: torch.device) -> Autocast:
    """Return a factory of autocast contexts for forward passes in a precision."""
    return partial(torch.autocast, device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def other_running_threads() -> int:
    """Return how many threads of other programs, and of other runs, the machine is running now.

    0 where the system does not say.
    """
    file = Path("/proc/loadavg")
    if not file.exists():
        return 0
    counts = []
    for _ in range(_LOAD_SAMPLES):
        counts.append(int(file.read_text().split()[3].partition("/")[0]) - 1)  # not this one
        time.sleep(_LOAD_SECONDS)
    return max(0, int(statistics.median(counts)))


def describe_slowness(device: torch.device, precision: Precision) -> list[str]:
    """Return what makes a run that starts now slower than it need be, a line each."""
    lines = []
    if device.type == "cpu" and precision == "bf16" and not has_fast_bf16(device):
        lines.append(
            "precision is bf16, which this CPU emulates: a convolution takes "
            f"{bf16_time_ratio():.1f} times as long as in fp32; precision=auto would choose fp32"
        )
    threads, cores, others = torch.get_num_threads(), os.cpu_count() or 1, other_running_threads()
    if device.type == "cpu" and others and threads + others > cores:
        lines.append(
            f"threads is {threads}, and others run {others} on {cores} cores: runs that compete "
            "for cores can take ten times as long; give each its share with threads=1, say"
        )
    return lines


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
    return next(iter(_cpu_info("model name")), platform.processor() or platform.machine())


def _cpu_info(key: str) -> list[str]:
    """Return what Linux says of each core under a key, nothing elsewhere."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return [line.partition(":")[2].strip() for line in lines if line.startswith(key)]
