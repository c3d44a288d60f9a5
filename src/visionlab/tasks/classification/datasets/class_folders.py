"""Folders of classes, the image files in them, and readable names for them."""

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from visionlab.core.class_names import distinct_names
from visionlab.files.documents import read_text
from visionlab.images.parts import part_folders
from visionlab.images.paths import SUFFIXES, is_stray, path_key, subfolders, walk_files
from visionlab.tasks.classification.records import LabelledFiles

_STRAY = "hidden or of the system"
_SEPARATORS = ' \t,;:="'
_log = logging.getLogger(__name__)


def find_parts(root: Path) -> dict[str, Path]:
    """Return the folders with the classes of `train`, and of `val` and `test` if there are any.

    Without a folder for `train`, the folders of `root` are the classes.

    Raises:
        ValueError: a folder may be a class or a part.
    """
    names = part_folders(root)
    others = sorted(set(subfolders(root)) - set(names.values()))
    if "train" not in names:
        if names:
            listed, (first, *_) = ", ".join(sorted([*names.values(), *others])), names.values()
            raise ValueError(
                f"dataset.root must hold a train folder or classes only, got {listed} in {root}; "
                f"if {first} is a class, move all classes into {root / 'train'}"
            )
        return {"train": root}
    if others and not subfolders(root / names["train"]):
        raise ValueError(
            f"dataset.root must hold classes in {names['train']}, got none beside "
            f"{', '.join(others)} in {root}; if {names['train']} is a class, move it with the "
            f"others into another folder named train"
        )
    for part, name in names.items():
        if name != part:
            _log.info("%s is read from %s", part, root / name)
    if others:
        _log.warning("unused folders of %s: %s", root, ", ".join(others))
    return {part: root / name for part, name in names.items()}


def class_folders(folder: Path) -> list[str]:
    """Return the names of the folders of the classes, sorted.

    Raises:
        FileNotFoundError: there is none.
        ValueError: one of them holds a whole data set.
    """
    names = _some_folders(folder)
    if len(names) == 1:
        inner = subfolders(folder / names[0])
        hint = f"; did you mean {folder / names[0]}" if inner else ""
        raise ValueError(f"{folder} must hold at least 2 classes, got {names[0]}{hint}")
    return names


def find_samples(
    root: Path, folders: Mapping[str, Path], class_names: Sequence[str]
) -> dict[str, LabelledFiles]:
    """Return the images of each part; other files are left out, with their counts in a warning.

    Raises:
        FileNotFoundError: a part has no images.
        ValueError: a part has a class that is not one of these.
    """
    parts, left_out = dict[str, LabelledFiles](), Counter[str]()
    for part, folder in folders.items():
        found = _some_folders(folder)
        if unknown := sorted(set(found) - set(class_names)):
            raise ValueError(f"{folder} must hold classes of train only, got {', '.join(unknown)}")
        paths, labels = list[Path](), list[int]()
        for label in sorted(map(class_names.index, found)):
            images = _images(walk_files(folder / class_names[label]), left_out)
            paths += images
            labels += [label] * len(images)
        if not paths:
            raise FileNotFoundError(
                f"dataset.root must hold images, found none in {folder}{_left_out(left_out)}"
            )
        parts[part] = LabelledFiles(
            sources=paths,
            labels=torch.tensor(labels),
            keys=torch.tensor([path_key(path.relative_to(root)) for path in paths]),
        )
        if loose := _images(filter(Path.is_file, folder.iterdir()), Counter()):
            _log.warning("%s: left out images in no class folder: %d", folder, len(loose))
    if left_out:
        _log.warning("%s%s", root, _left_out(left_out))
    return parts


def _some_folders(folder: Path) -> list[str]:
    names = subfolders(folder)
    if not names:
        raise FileNotFoundError(
            f"dataset.root must hold one folder of images a class, found none in {folder}"
        )
    return names


def readable_names(path: Path, folders: Sequence[str]) -> list[str]:
    """Return names for class folders from a file.

    The file has a line for each folder, with its name, a separator and the readable name, as
    `n02084071 dog` or `n02084071,dog`; or it is JSON with `{"n02084071": "dog"}`. Other folders may
    be listed too. Of names that are equal each is followed by its folder.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not such a file, or lacks a folder.
    """
    if not path.is_file():
        raise FileNotFoundError(f"dataset.class_names must be a file, looked for {path}")
    try:
        text = read_text(path)
        found = _from_json(text) if path.suffix == ".json" else _from_lines(text, folders)
    except ValueError as error:
        raise ValueError(f"dataset.class_names must be a text or JSON file, got {path}") from error
    if lacking := [folder for folder in folders if not found.get(folder)]:
        raise ValueError(
            f"dataset.class_names must name every class, got no {lacking[0]} in {path}"
        )
    return list(distinct_names({folder: found[folder] for folder in folders}).values())


def _from_json(text: str) -> dict[str, str]:
    content = json.loads(text)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content.values()):
        raise ValueError("not an object with texts")
    return content


def _from_lines(text: str, folders: Iterable[str]) -> dict[str, str]:
    longest_first = sorted(folders, key=len, reverse=True)
    found = dict[str, str]()
    for line in text.splitlines():
        line = line.strip(' "')
        for folder in longest_first:
            rest = line.removeprefix(folder)
            if line.startswith(folder) and rest[:1] in _SEPARATORS:
                found.setdefault(folder, rest.lstrip(_SEPARATORS))
                break
    return found


def _images(paths: Iterable[Path], left_out: Counter[str]) -> list[Path]:
    """Return the images among some files, sorted as they come, and count the others."""
    found = []
    for path in paths:
        suffix = os.path.splitext(path.name)[1].lower()  # noqa: PTH122, faster
        if is_stray(path.name):
            left_out[_STRAY] += 1
        elif suffix in SUFFIXES:
            found.append(path)
        else:
            left_out[suffix or "no extension"] += 1
    return found


def _left_out(counts: Counter[str]) -> str:
    if not counts:
        return ""
    named = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    hint = f"; images end in {', '.join(SUFFIXES)}" if set(counts) - {_STRAY} else ""
    return f": left out {counts.total()} files ({named}){hint}"
