"""Limits of the machine, recognised by the words of the libraries that meet them.

Imports no torch.
"""

import functools
import os
import re
import resource
import subprocess
import sys

_LIMITS = (
    (
        r"DataLoader worker \(pid",
        "dataset.num_workers must be so few that memory holds what they read, got one that was "
        "killed ({reason}); training resumes from its last checkpoint",
    ),
    (
        r"Too many open files|items of ancdata",
        "the limit of open files must allow some hundreds (ulimit -n), got {files}; raise it, or "
        "lower dataset.num_workers",
    ),
    (
        r"start new thread|thread creation failed|Resource temporarily unavailable",
        "the limits must allow threads (ulimit -u, ulimit -v), got {reason}",
    ),
    (
        r"not enough memory|allocate memory|^MemoryError|failed to map segment|std::bad_alloc",
        "memory must hold the program and a batch (ulimit -v), got {memory}; lower "
        "hparams.batch_size, or raise hparams.accumulate_steps",
    ),
)
_KINDS = (RuntimeError, OSError, MemoryError, ImportError)
_HEADROOM_BYTES = 2**29  # of address space, that a run needs beyond its imports at least


@functools.cache
def check_address_space(module: str) -> None:
    """Import a module in another process first if the address space is limited (ulimit -v).

    Libraries that meet this limit while they are loaded abort the process.

    Raises:
        MemoryError: the other process did not survive.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return
    less = max(limit - _HEADROOM_BYTES, 0)
    code = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({less}, {less}))"
    tried = subprocess.run(
        [sys.executable, "-c", f"{code}; import {module}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
    )
    if tried.returncode:
        raise MemoryError


def explain_limit(error: BaseException) -> str | None:
    """Return one line about the limit of the machine that an error comes from, or None."""
    if not isinstance(error, _KINDS):
        return None
    text = f"{type(error).__name__}: {error}"
    rule = next((rule for pattern, rule in _LIMITS if re.search(pattern, text, re.I)), None)
    return rule and rule.format(
        reason=" ".join(str(error).split()) or type(error).__name__,
        files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        memory=_memory_limit(),
    )


def _memory_limit() -> str:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return "too little" if limit == resource.RLIM_INFINITY else f"a limit of {limit >> 20} MiB"
