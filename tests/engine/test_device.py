"""The machine: precision, and what would make a run slow."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch

from visionlab.engine import device as machine
from visionlab.engine.device import (
    bf16_time_ratio,
    choose_precision,
    describe_slowness,
    has_fast_bf16,
    other_running_threads,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "fast"),
    [
        (["fpu avx2 avx512f"] * 2, False),
        (["fpu avx2 avx512f avx512_bf16"] * 2, True),
        (["amx_tile amx_bf16"], True),
        (["avx512_bf16_like"], False),
        ([], False),
    ],
)
def test_auto_is_bf16_where_the_cpu_has_the_instructions(
    flags: list[str], fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_cpu_info", lambda key: flags if key == "flags" else [])
    assert has_fast_bf16(CPU) == fast
    assert choose_precision("auto", CPU) == ("bf16" if fast else "fp32")
    assert choose_precision("fp32", CPU) == "fp32"
    assert choose_precision("bf16", CPU) == "bf16"


@pytest.mark.parametrize(("capability", "fast"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_auto_is_bf16_on_gpus_from_compute_capability_8(
    capability: tuple[int, int], fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_fast_bf16(torch.device("cuda")) == fast


def test_another_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="precision must be auto, fp32 or bf16, got 'fp16'"):
        choose_precision("fp16", CPU)


def test_an_emulated_precision_is_named_with_what_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "other_running_threads", lambda: 0)
    monkeypatch.setattr(machine, "bf16_time_ratio", lambda: 11.04)
    monkeypatch.setattr(machine, "_cpu_info", lambda key: ["avx2"])
    (line,) = describe_slowness(CPU, "bf16")
    assert "precision is bf16" in line
    assert "11.0 times" in line
    assert describe_slowness(CPU, "fp32") == []
    monkeypatch.setattr(machine, "_cpu_info", lambda key: ["avx512_bf16"])
    assert describe_slowness(CPU, "bf16") == []


@pytest.mark.parametrize(
    ("others", "threads", "cores", "named"),
    [(0, 2, 2, False), (1, 2, 2, True), (1, 1, 2, False), (2, 1, 2, True), (4, 4, 8, False)],
)
def test_a_busy_machine_is_named(
    others: int, threads: int, cores: int, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "other_running_threads", lambda: others)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    lines = describe_slowness(CPU, "fp32")
    assert [f"threads is {threads}" in line for line in lines] == [True] * named
    assert describe_slowness(torch.device("cuda"), "fp32") == []


def test_the_time_of_bf16_against_fp32_is_measured() -> None:
    assert 0.01 < bf16_time_ratio() < 1000


def _spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.mark.integration
@pytest.mark.skipif(not Path("/proc/loadavg").exists(), reason="only Linux says what runs")
def test_threads_of_others_are_counted() -> None:
    processes = [multiprocessing.Process(target=_spin, args=(20.0,)) for _ in range(6)]
    for process in processes:
        process.start()
    time.sleep(1.0)
    assert other_running_threads() >= 3  # of the six, where others count too
    for process in processes:
        process.kill()
        process.join()
