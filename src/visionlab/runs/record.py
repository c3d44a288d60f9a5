"""`run.json`: what a run is, on what it ran, how far it came, and its final numbers."""

import hashlib
import importlib.util
import logging
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from visionlab.engine.device import describe_hardware
from visionlab.files.atomic import write_json
from visionlab.files.run_folder import read_record

_log = logging.getLogger(__name__)
_PACKAGES = ("visionlab", "torch", "torchvision", "timm", "hydra-core", "numpy")


class Record:
    """Keeps `run.json` up to date; what an earlier process of the run wrote stays.

    That holds for `composition` too: how the configuration was composed when the run began.
    `starts` has an entry for each process: at which step it started, and what made it. A change
    since the start before is logged.
    """

    def __init__(
        self,
        path: Path,
        *,
        step: int,
        seed: int,
        class_names: Sequence[str],
        class_ids: Sequence[int],
        device: torch.device,
        composition: Mapping[str, Any],
        parts: Sequence[str],
    ) -> None:
        self._path = path
        self._content = read_record(path.parent)
        if "started" not in self._content:
            self._content |= {"started": now(), **composition}
        self._content["num_starts"] = self._content.get("num_starts", 0) + 1
        made_by = describe_origin(device=device, parts=parts)
        if changes := [*origin_changes(self._content, made_by)]:
            _log.warning("resuming with other %s: numbers may differ a little", ", ".join(changes))
        starts = [*self._content.get("starts", []), {"started": now(), "step": step, **made_by}]
        self.update(
            status="running",
            error=None,
            seed=seed,
            labels=list(class_names),
            class_ids=list(class_ids),
            starts=starts,
            **made_by,
        )

    def update(self, **content: Any) -> None:
        """Set some keys and write the file."""
        self._content |= {**content, "updated": now()}
        write_json(self._path, self._content)


def describe_origin(*, device: torch.device, parts: Sequence[str]) -> dict[str, Any]:
    """Return the versions, commit, outside code and hardware that make a run now."""
    return {
        "versions": {
            **{package: _version(package) for package in _PACKAGES},
            "cuda": torch.version.cuda or "",
        },
        "commit": _commit(),
        "parts": {package: _outside_code(package) for package in parts},
        "hardware": describe_hardware(device),
    }


def origin_changes(before: Mapping[str, Any], made_by: Mapping[str, Any]) -> Iterator[str]:
    """Yield what differs from the start before, as "torch 2.7 (2.6 before)"."""
    for key, ours in made_by.items():
        theirs = before.get(key)
        if not isinstance(ours, Mapping) or not isinstance(theirs, Mapping):
            continue
        for name in ours.keys() & theirs.keys():
            if ours[name] != theirs[name]:
                shown = key if key == "commit" else name
                yield f"{shown} {_short(ours[name])} ({_short(theirs[name])} before)"


def _short(value: Any) -> str:
    return (
        "of other content"
        if isinstance(value, Mapping)
        else f"{value:.20}"
        if isinstance(value, str)
        else str(value)
    )


def _outside_code(package: str) -> dict[str, str | None]:
    """Return the version of a package outside visionlab, and the SHA-256 of its Python files."""
    spec = importlib.util.find_spec(package.partition(".")[0])
    folders = [Path(each) for each in (spec and spec.submodule_search_locations) or ()]
    origin = Path(spec.origin) if spec and spec.origin else Path()
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))] or [origin]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + file.read_bytes())
    return {"version": _version(package), "sha256": digest.hexdigest()}


def _version(package: str) -> str | None:
    """Return the version of an installed package, None for one that runs from its folder."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> Mapping[str, Any] | None:
    """Return the commit of visionlab's own checkout, and whether files differ from it."""
    here = Path(__file__).parent
    try:
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)  # not in a user's project
        commit = _git(here, "rev-parse", "HEAD")
        return {"hash": commit, "dirty": bool(_git(here, "status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def now() -> str:
    """Return date and time as `run.json` has them, which sort as text."""
    return time.strftime("%Y-%m-%d %H:%M:%S")
