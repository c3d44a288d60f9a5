"""Stateless randomness: every draw is a function of (seed, epoch, sample).

Each caller names the purpose of its random numbers. A resumed run therefore draws the same numbers
as an uninterrupted one, and neither the number of workers nor the order of evaluation matters.
"""

import hashlib
import random

import numpy as np
import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15, the increment of SplitMix64, as int64
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def derive(seed: int, *purpose: str | int) -> int:
    """Derive a seed in [0, 2**63) for one purpose, for example `derive(seed, "order", epoch)`."""
    text = repr((seed, *purpose)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy, and torch on the CPU and on GPUs in use.

    The draws are those after `torch.manual_seed`, which also searches for devices that nobody uses.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - third-party code draws from it
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)


def permutation(size: int, *, seed: int) -> Tensor:
    """Return a random permutation of 0 to size - 1, (size,) int64, determined by the seed."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


def uniform(keys: Tensor, *, seed: int, num_draws: int) -> Tensor:
    """Return independent uniform numbers in [0, 1) that depend on (seed, key) alone.

    SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA
    2014) used as a counter-based generator, in integer arithmetic that is exact on every device.

    Args:
        keys: (N,) int64, stable sample ids.
        seed: one per purpose, from `derive`.
        num_draws: numbers per sample.

    Returns:
        (N, num_draws) float32 on the device of `keys`, multiples of 2**-24.
    """
    offset = (seed + 2**64 // 3 + 2**63) % 2**64 - 2**63  # wrapped to int64
    streams = _mix(keys + offset)
    draws = torch.arange(1, num_draws + 1, device=keys.device) * _GOLDEN
    bits = _mix(streams[:, None] + draws)
    return _shift_right(bits, 40).to(torch.float32) * 2.0**-24


def _mix(bits: Tensor) -> Tensor:
    """Apply the finaliser of SplitMix64, a bijection of int64."""
    bits = (bits ^ _shift_right(bits, 30)) * _MIX_1
    bits = (bits ^ _shift_right(bits, 27)) * _MIX_2
    return bits ^ _shift_right(bits, 31)


def _shift_right(bits: Tensor, count: int) -> Tensor:
    """Shift right as unsigned; torch's own shift copies the sign bit."""
    return (bits >> count) & ((1 << (64 - count)) - 1)
