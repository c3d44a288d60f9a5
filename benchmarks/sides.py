"""Timing of several ways to do the same thing, in alternation."""

import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch


def describe(threads: int) -> str:
    """Return date, commit and machine."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return (
        f"{time.strftime('%Y-%m-%d')}, commit {commit}, {platform.processor() or 'CPU'}, "
        f"{threads} threads, torch {torch.__version__}"
    )


def alternate(sides: dict[str, Callable[[], None]], *, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each side in each round; a first round is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, run in sides.items():
            started = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def report(title: str, seconds: dict[str, list[float]], *, num_images: int) -> None:
    """Print a row a side: images/s and the median ratio of its time to the first side's."""
    first = next(iter(seconds.values()))
    print(f"\n{title}\n\n| side | images/s, median (min-max) | time against the first |")
    print("|---|---|---|")
    for name, values in seconds.items():
        speeds = sorted(num_images / value for value in values)
        ratio = statistics.median(ours / base for ours, base in zip(values, first, strict=True))
        middle = statistics.median(speeds)
        print(f"| {name} | {middle:,.1f} ({speeds[0]:,.1f}-{speeds[-1]:,.1f}) | {ratio:.3f} |")
