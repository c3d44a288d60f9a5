"""Files and folders of images: stable keys, existence, size, and those that are left out."""

import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePath

from visionlab.images.pixels import (
    Header,
    UnsupportedImageError,
    is_damage,
    open_image,
    read_header,
)

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")

_STRAY = {"__macosx", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir"}
_STRAY |= {"$recycle.bin", "system volume information"}


def is_stray(name: str) -> bool:
    """Return whether a file or folder was made by a system or tool and belongs to no data set.

    These are hidden ones, such as `._a.jpg` and `.ipynb_checkpoints`, and those of macOS, Windows
    and network storage.
    """
    return name.startswith(".") or name.lower() in _STRAY


def subfolders(folder: Path) -> list[str]:
    """Return the names of a folder's folders, sorted; stray ones are left out."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name for entry in entries if entry.is_dir() and not is_stray(entry.name)
        )


def walk_files(folder: Path) -> Iterator[Path]:
    """Yield the files at any depth below a folder, sorted by folder and name, stray ones too.

    Stray folders are left out, links to folders are followed.

    Raises:
        ValueError: a folder cannot be read.
    """
    found = []
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        folders[:] = [name for name in folders if not is_stray(name) and not _is_loop(parent, name)]
        found.append((parent, sorted(names)))
    for parent, names in sorted(found):
        yield from (Path(parent, name) for name in names)


def _is_loop(parent: str, name: str) -> bool:
    """Return whether a folder is a link to one that contains it."""
    path = os.path.join(parent, name)  # noqa: PTH118, faster than a Path for each
    if not os.path.islink(path):  # noqa: PTH114
        return False
    return Path(parent).resolve().is_relative_to(Path(path).resolve())


def _refuse(error: OSError) -> None:
    raise ValueError(f"{error.filename} must be a readable folder, got: {error.strerror}")


def path_key(path: PurePath) -> int:
    """Return a key in [0, 2^53), a hash of a path that is the same on every machine.

    JavaScript and pandas hold integers below 2^53 exactly.
    """
    digest = hashlib.blake2b(path.as_posix().encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 11


def name_and_key(path: Path, root: Path) -> tuple[str, int]:
    """Return the name of an image, its path below a root if it is there, and the key of it."""
    name = path.relative_to(root) if path.is_relative_to(root) else path
    return name.as_posix(), path_key(name)


def forward_slashes(name: str) -> str:
    """Return a path as written on any system; Windows has backslashes."""
    return name.replace("\\", "/")


def missing_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that do not exist, with one listing per folder."""
    names = {folder: file_names(folder) for folder in {path.parent for path in paths}}
    # a file system may list a name in another spelling than it accepts
    return [path for path in paths if path.name not in names[path.parent] and not path.is_file()]


def by_stem(folder: Path, suffixes: Collection[str]) -> dict[str, str]:
    """Return the names of a folder's files by their stems; stray files are left out.

    A missing folder counts as empty. Suffixes are in lower case, for example ".png".

    Raises:
        ValueError: two files share a stem.
    """
    found = dict[str, str]()
    for name in sorted(file_names(folder)):
        stem, suffix = os.path.splitext(name)  # noqa: PTH122, faster than a Path for each
        if is_stray(name) or suffix.lower() not in suffixes:
            continue
        if stem in found:
            raise ValueError(f"{folder} must hold one file a name, got {found[stem]} and {name}")
        found[stem] = name
    return found


def header_size(path: Path) -> tuple[int, int]:
    """Return width and height of an upright image in pixels; raises as `image_header` does."""
    return image_header(path).size_px


def image_header(path: Path) -> Header:
    """Return size and orientation of an image, without decoding it.

    Raises:
        UnsupportedImageError: it is too large.
        ValueError: the file is missing, or not an image.
        OSError: it cannot be read now.
    """
    try:
        with path.open("rb") as file:
            return read_header(open_image(file))
    except UnsupportedImageError as error:
        raise UnsupportedImageError(f"{path} {error}") from error
    except Exception as error:  # damaged files make decoders raise all kinds of errors
        if not is_damage(error):
            raise
        raise ValueError(f"{path} must be an image, got a file that cannot be read") from error


def file_names(folder: Path) -> set[str]:
    """Return the names of a folder's files; a missing folder counts as empty."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_file()}
