"""Files below a folder and their size on disk. Symbolic links are not followed."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_UNITS = ("B", "kB", "MB", "GB", "TB")


def files_below(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield all that lies in or below a folder and is no folder itself; links as themselves.

    Raises:
        OSError: a folder cannot be read.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from files_below(Path(entry.path))
            else:
                yield entry


def total_bytes(files: Iterable[os.stat_result]) -> int:
    """Return the size of files by their status; a file with several names counts once."""
    return sum({(each.st_dev, each.st_ino): each.st_size for each in files}.values())


def folder_bytes(folder: Path) -> int:
    """Return the size of all files in and below a folder.

    Raises:
        OSError: a folder cannot be read.
    """
    return total_bytes(entry.stat(follow_symlinks=False) for entry in files_below(folder))


def format_bytes(size: float) -> str:
    """Return a size with its decimal unit, as 1.2 GB."""
    index = 0
    while size >= 999.5 and index < len(_UNITS) - 1:
        size, index = size / 1000, index + 1
    return (
        f"{size:.0f} {_UNITS[index]}"
        if index == 0 or size >= 99.5
        else f"{size:.2g} {_UNITS[index]}"
    )
