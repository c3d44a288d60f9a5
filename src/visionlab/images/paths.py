"""Files of a data set: those of its parts train, val and test; keys and sizes of images."""

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
_SPLITS = ("train", "val", "test")


def configured(splits: Mapping[str, str | None], *, setting: str) -> dict[str, str]:
    """Return the splits that are not null in `dataset.<setting>`, train first.

    Raises:
        ValueError: a name is not train, val or test, or train is missing.
    """
    unknown = sorted(set(splits) - set(_SPLITS))
    if unknown:
        raise ValueError(f"dataset.{setting} must be of {', '.join(_SPLITS)}, got {unknown[0]}")
    if splits.get("train") is None:
        raise ValueError(f"dataset.{setting}.train must be given, got null")
    return {name: value for name in _SPLITS if (value := splits.get(name)) is not None}


def existing(path: Path, *, setting: str, split: str) -> Path:
    """Return a path named by `dataset.<setting>.<split>`.

    Raises:
        FileNotFoundError: there is no such file or folder.
    """
    if not path.exists():
        hint = {"train": "", "val": "; null takes a share of train", "test": "; null leaves it out"}
        raise FileNotFoundError(
            f"dataset.{setting}.{split} must exist, looked for {path}{hint[split]}"
        )
    return path


def part_paths(root: Path, names: Mapping[str, str | None], *, setting: str) -> dict[str, Path]:
    """Return the path of each part that is not null in `dataset.<setting>`, train first.

    Raises:
        FileNotFoundError: a file or folder does not exist.
        ValueError: see `configured`.
    """
    return {
        split: existing(root / name, setting=setting, split=split)
        for split, name in configured(names, setting=setting).items()
    }


def root_folder(root: str) -> Path:
    """Return the folder of a data set.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"dataset.root must be a folder, looked for {folder}")
    return folder


def path_key(path: Path) -> int:
    """Return a key in [0, 2^63), a hash of a path that is the same on every machine."""
    digest = hashlib.blake2b(path.as_posix().encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def require_files(paths: Sequence[Path], *, source: Path) -> None:
    """Check that the files named by `source` exist, with one listing per folder.

    Raises:
        FileNotFoundError: some do not exist.
    """
    names = {folder: _names(folder) for folder in {path.parent for path in paths}}
    # a file system may list a name in another spelling than it accepts
    missing = [path for path in paths if path.name not in names[path.parent] and not path.exists()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise FileNotFoundError(
            f"{source} names files that must exist, looked for {missing[0]}{more}"
        )


def by_stem(folder: Path, suffixes: Collection[str]) -> dict[str, str]:
    """Return the names of a folder's files by their stems; hidden files are left out.

    A missing folder counts as empty. Suffixes are in lower case, for example ".png".

    Raises:
        ValueError: two files share a stem.
    """
    found = dict[str, str]()
    for name in sorted(_names(folder)):
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


def _names(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries}
