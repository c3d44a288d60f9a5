"""Files and folders of the parts of a data set: train, val and test."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from visionlab.files.data_paths import existing, root_folder
from visionlab.images.paths import subfolders

_SPLITS = ("train", "val", "test")
_FOLDERS = {  # names of a part's folder, the usual one first
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


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


def part_paths(
    root: str, names: Mapping[str, str | None], *, setting: str
) -> tuple[Path, dict[str, Path]]:
    """Return the folder and the path of each part not null in `dataset.<setting>`, train first.

    Raises:
        FileNotFoundError: a file or folder does not exist.
        ValueError: see `configured`.
    """
    folder = root_folder(root)
    return folder, {
        split: existing(folder / name, setting=setting, split=split)
        for split, name in configured(names, setting=setting).items()
    }


def existing_folder(path: Path, *, setting: str) -> Path:
    """Return a folder named by `dataset.<setting>`.

    Raises:
        FileNotFoundError: there is no such folder; the message lists those beside it.
    """
    if not path.is_dir():
        others = subfolders(path.parent) if path.parent.is_dir() else []
        beside = f"; {path.parent} holds {', '.join(others[:8])}" if others else ""
        raise FileNotFoundError(f"dataset.{setting} must be a folder, looked for {path}{beside}")
    return path


def part_folders(root: Path) -> dict[str, str]:
    """Return the names of the folders of the parts in a folder; see `named_parts`."""
    return named_parts(subfolders(root), origin=root)


def named_parts(names: Sequence[str], *, origin: Path) -> dict[str, str]:
    """Return which of some names of folders are those of the parts, train first.

    Capitals make no difference, and `valid`, `validation`, `training` and `testing` are recognised;
    the usual name goes before them. `origin` holds the folders.

    Raises:
        ValueError: two folders may be meant.
    """
    found = dict[str, str]()
    for part, known in _FOLDERS.items():
        candidates = [name for name in names if name.lower() in known]
        usual = [name for name in candidates if name == part]
        if len(candidates) > 1 and not usual:
            raise ValueError(
                f"{origin} must hold one folder for {part}, got {' and '.join(candidates)}"
            )
        if candidates:
            found[part] = (usual or candidates)[0]
    return found
