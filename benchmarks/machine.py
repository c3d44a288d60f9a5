"""What measurements depend on: machine, versions, load, commit."""

import os
import platform
import shlex
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8")
PACKAGES = ("torch", "torchvision", "timm")


def describe_machine(threads: int) -> dict[str, str]:
    """Return what the measurements that begin now depend on."""
    flags = cpu_info("flags").split()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": describe_commit(),
        "command": shlex.join(["python", _short(sys.argv[0]), *sys.argv[1:]]),
        "machine": f"{os.cpu_count()} cores of {cpu_info('model name') or 'an unknown CPU'}",
        "flags": " ".join(flag for flag in FLAGS if flag in flags) or "none",
        "versions": ", ".join([f"Python {platform.python_version()}", *map(_version, PACKAGES)]),
        "threads": str(threads),
        "load": describe_load(),
    }


def describe_commit() -> str:
    """Return the commit, and whether tracked files differ from it, besides the results."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":!RESULTS.md")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}, dirty" if changes else commit


def describe_load() -> str:
    """Return the mean number of runnable threads in the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def cpu_info(key: str) -> str:
    """Return an entry of the first core in `/proc/cpuinfo`, empty where there is none."""
    file = Path("/proc/cpuinfo")
    for line in file.read_text().splitlines() if file.exists() else ():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return platform.processor() if key == "model name" else ""


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _short(script: str) -> str:
    return f"benchmarks/{Path(script).name}"
