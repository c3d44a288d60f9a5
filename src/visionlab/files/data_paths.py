"""Files and folders that a data set's settings name, checked before anything slow is imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BY_SPLIT = ("annotations", "tables")  # settings with a path below the root for each split


def root_folder(root: str) -> Path:
    """Return the folder of a data set.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"dataset.root must be a folder, looked for {folder}")
    return folder


def existing(path: Path, *, setting: str, split: str) -> Path:
    """Return a path named by `dataset.<setting>.<split>`.

    Raises:
        FileNotFoundError: there is no such file or folder.
    """
    if not path.exists():
        hint = "" if split == "train" else f"; {split_hint(split)}"
        raise FileNotFoundError(f"dataset.{setting}.{split} must exist, looked for {path}{hint}")
    return path


def split_hint(split: str) -> str:
    """Return the effect of null for `val` or `test`, for messages."""
    return "null takes a share of train" if split == "val" else "null leaves it out"


def check_data_paths(dataset: Mapping[str, Any]) -> None:
    """Check that the paths in the settings of one of visionlab's data sets exist.

    Raises:
        FileNotFoundError: one does not.
    """
    target, root = str(dataset.get("_target_")), dataset.get("root")
    if not target.startswith("visionlab.") or not root or dataset.get("download"):
        return
    folder = root_folder(root)
    for setting in _BY_SPLIT:
        names = dataset.get(setting)
        for split, name in names.items() if isinstance(names, Mapping) else ():
            if name is not None:
                existing(folder / name, setting=setting, split=split)
