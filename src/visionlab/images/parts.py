"""Files and folders of the parts of a data set: train, val and test."""

from collections.abc import Mapping
from pathlib import Path

_SPLITS = ("train", "val", "test")


def configured(splits: Mapping[str, str | None], *, setting: str) -> dict[str, str]:
    """Return the splits that are not null, train first.

    Args:
        splits: the value of a setting.
        setting: its name below `dataset`.

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
    """Return a path named by a setting.

    Raises:
        FileNotFoundError: there is no such file or folder.
    """
    if path.exists():
        return path
    hints = {
        "val": "; null takes a share of train",
        "test": "; null leaves it out",
    }
    raise FileNotFoundError(
        f"dataset.{setting}.{split} must exist, looked for {path}{hints.get(split, '')}"
    )


def part_paths(root: Path, names: Mapping[str, str | None], *, setting: str) -> dict[str, Path]:
    """Return the existing path of each part whose name is not null, train first.

    Args:
        root: the folder of the data set.
        names: the value of a setting: paths below `root`.
        setting: its name below `dataset`.

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
