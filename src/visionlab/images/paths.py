"""Image files: stable keys, existence and size."""

import hashlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


def path_key(path: Path) -> int:
    """Return a key in [0, 2^53), a hash of a path that is the same on every machine.

    JavaScript and pandas hold integers below 2^53 exactly.
    """
    digest = hashlib.blake2b(path.as_posix().encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 11


def missing_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that do not exist, with one listing per folder."""
    names = {folder: file_names(folder) for folder in {path.parent for path in paths}}
    # a file system may list a name in another spelling than it accepts
    return [path for path in paths if path.name not in names[path.parent] and not path.exists()]


def by_stem(folder: Path, suffixes: Collection[str]) -> dict[str, str]:
    """Return the names of a folder's files by their stems; hidden files are left out.

    A missing folder counts as empty. Suffixes are in lower case, for example ".png".

    Raises:
        ValueError: two files share a stem.
    """
    found = dict[str, str]()
    for name in sorted(file_names(folder)):
        stem, suffix = os.path.splitext(name)  # noqa: PTH122, faster than a Path for each
        if name.startswith(".") or suffix.lower() not in suffixes:
            continue
        if stem in found:
            raise ValueError(f"{folder} must hold one file a name, got {found[stem]} and {name}")
        found[stem] = name
    return found


def header_size(path: Path) -> tuple[int, int]:
    """Return width and height of an image in pixels, without decoding it.

    Raises:
        ValueError: the file is not an image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
    except Exception as error:  # damaged files make decoders raise all kinds of errors
        raise ValueError(f"{path} must be an image, got a file that cannot be read") from error
    return width, height


def file_names(folder: Path) -> set[str]:
    """Return the names of a folder's files; a missing folder counts as empty."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_file()}
