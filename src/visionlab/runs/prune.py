"""Removal of checkpoints, or of whole runs, by rules. Imports no torch.

Nothing outside run folders is touched, and symbolic links are not followed.
"""

import fnmatch
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from rich.table import Table

from visionlab.analysis.records import RunRecord, read_runs
from visionlab.analysis.run_list import format_age, last_change
from visionlab.analysis.selection import default_folders, select_runs
from visionlab.config.terminal import count, output_width, printable, table_text
from visionlab.files.disk import files_below, format_bytes
from visionlab.files.locks import locked
from visionlab.runs.prune_rules import Protection, PruneOptions

_SECONDS_PER_DAY = 86400
_LAST = ("run.json", "config.yaml")  # without them, what is left would be no run
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What is removed of a run: some of its files, or its whole folder with all of them."""

    run: RunRecord
    files: Sequence[Path]
    is_whole: bool

    @property
    def what(self) -> str:
        """The files in words."""
        names = ", ".join(path.name for path in self.files)
        return f"its folder with {count(len(self.files), 'file')}" if self.is_whole else names


def prune(folders: Sequence[Path], options: PruneOptions) -> None:
    """Remove files of the runs in or below some folders by rules, or log what would be removed.

    Raises:
        ValueError: there are no runs, a condition that none meets, or a run came to be in use.
        OSError: something cannot be removed; what came after it is untouched.
    """
    removals, kept = plan(folders, options, now=datetime.now())
    for run, reason in kept:
        _log.info("kept %s: %s", run.folder, reason)
    size = format_bytes(freed_bytes(removals))
    files = count(sum(len(each.files) for each in removals), "file")
    what = f"{files} of {count(len(removals), 'run')}, {size}"
    if removals:
        _log.info("%s", _table_text(removals))
    if not removals:
        _log.info("nothing to remove")
    elif options.apply:
        apply(removals)
        _log.info("removed %s", what)
    else:
        _log.info("would remove %s; apply=true removes them", what)


def plan(
    folders: Sequence[Path], options: PruneOptions, *, now: datetime
) -> tuple[list[Removal], list[tuple[RunRecord, str]]]:
    """Return what the rules remove, and the runs that they would but must not, with the reason.

    Raises:
        ValueError: there are no runs, or a condition that none meets.
    """
    scan = read_runs([*folders, *_default_folders()])  # others may start from some of these
    for folder, reason in scan.unreadable.items():
        _log.warning("%s cannot be read: %s", folder, reason)
    runs = [run for run in scan.runs if any(map(run.folder.is_relative_to, folders))]
    if not runs:
        read_runs(folders)  # which raises
    protection = Protection(scan.runs, unreadable=scan.unreadable, roots=folders)
    removals = [_removal(run, options) for run in _matching(runs, options, now)]
    removals = [each for each in removals if each.files]
    selected = {each.run.folder.resolve() for each in removals}
    reasons = [
        protection.reason(each.run, selected=selected) or _own_reason(each, options)
        for each in removals
    ]
    pairs = list(zip(removals, reasons, strict=True))
    return (
        [each for each, reason in pairs if reason is None],
        [(each.run, reason) for each, reason in pairs if reason is not None],
    )


def _default_folders() -> list[Path]:
    """Return the folders in which runs are by default, if there are any."""
    try:
        return default_folders()
    except ValueError:
        return []


def _matching(
    runs: Sequence[RunRecord], options: PruneOptions, now: datetime
) -> Iterator[RunRecord]:
    selection = options.selection
    if not selection.states:
        selection = replace(selection, states=["finished"])
    for run in select_runs(runs, selection):
        days = (now - last_change(run)).total_seconds() / _SECONDS_PER_DAY
        epochs = run.info.get("epoch", len(run.rows))
        is_short = options.max_epochs is None or epochs <= options.max_epochs
        if days >= options.older_than_days and is_short:
            yield run


def _removal(run: RunRecord, options: PruneOptions) -> Removal:
    if options.remove == "runs":
        files = [Path(each.path) for each in files_below(run.folder)]
        return Removal(run=run, files=sorted(files), is_whole=True)
    folder = run.folder / "checkpoints"
    files = [
        path
        for path in sorted(folder.glob("*.pt"))
        if path.is_file() and not path.is_symlink() and not _is_kept(path, options)
    ]
    return Removal(run=run, files=[] if folder.is_symlink() else files, is_whole=False)


def _is_kept(path: Path, options: PruneOptions) -> bool:
    return any(fnmatch.fnmatchcase(path.stem, pattern) for pattern in options.keep)


def _own_reason(removal: Removal, options: PruneOptions) -> str | None:
    """Return why a run must stay as it is, by what lies in its folder."""
    folder = removal.run.folder
    if not removal.is_whole:
        stays = any(_is_kept(path, options) for path in (folder / "checkpoints").glob("*.pt"))
        return None if stays else f"has no checkpoint {' or '.join(options.keep)}"
    if Path.cwd().resolve().is_relative_to(folder.resolve()):
        return "is the current folder, or holds it"
    others = [path for path in removal.files if path.name == "config.yaml"]
    if others != [folder / "config.yaml"] or any((folder / ".git").glob("*")):
        return "holds other things than a run"
    return None


def freed_bytes(removals: Sequence[Removal]) -> int:
    """Return the size of the files that no name is left of."""
    found = [path.lstat() for removal in removals for path in removal.files]
    names = Counter((each.st_dev, each.st_ino) for each in found)
    sizes = {(each.st_dev, each.st_ino): (each.st_size, each.st_nlink) for each in found}
    return sum(size for key, (size, links) in sizes.items() if names[key] >= links)


def apply(removals: Sequence[Removal]) -> None:
    """Remove files, run after run, each while its lock is held.

    Raises:
        ValueError: a run is in use.
        OSError: something cannot be removed. What came after it is untouched.
    """
    for removal in removals:
        folders = {path.parent for path in removal.files}
        for folder in folders | ({removal.run.folder.parent} if removal.is_whole else set()):
            if not os.access(folder, os.W_OK | os.X_OK):
                raise OSError(f"{folder} must be writable, nothing was removed")
    for number, removal in enumerate(removals):
        try:
            with _lock(removal.run.folder):
                _remove(removal)
        except (OSError, ValueError) as error:
            rest = f"{number} of {count(len(removals), 'run')} done, the rest is untouched"
            raise type(error)(f"{error}; {rest}") from error


def _lock(folder: Path) -> AbstractContextManager[None]:
    """Return the lock of a run; one that has no log never began, and gets none."""
    path = folder / "run.log"
    return locked(folder) if path.is_file() and not path.is_symlink() else nullcontext()


def _remove(removal: Removal) -> None:
    try:
        if not removal.is_whole:
            for path in removal.files:
                path.unlink()
            return
        folder = removal.run.folder
        children = sorted(folder.iterdir(), key=_order)
        for child in children:
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            else:
                child.unlink()
        folder.rmdir()
    except OSError as error:
        raise OSError(f"{error.filename} cannot be removed, {error.strerror}") from error


def _order(child: Path) -> int:
    """Return a sort key by which the files that make a folder a run come last."""
    return _LAST.index(child.name) if child.name in _LAST else -1


def _table_text(removals: Sequence[Removal]) -> str:
    table = Table("run", "state", "age", "removed", "size")
    for column in table.columns:
        column.overflow = "fold"
    for each in removals:
        age = format_age((datetime.now() - last_change(each.run)).total_seconds())
        size = format_bytes(freed_bytes([each]))
        cells = (str(each.run.folder), each.run.state, age, each.what, size)
        table.add_row(*map(printable, cells))
    return table_text(table, width=output_width())
