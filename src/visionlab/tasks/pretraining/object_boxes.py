"""Boxes of objects in images: their text file, and one of them for each image and epoch.

A line has the path of an image below the root of its data set, or its file name without suffix if
no other image has it, then the boxes, each after a space as `x1,y1,x2,y2`: shares of width and
height. An image may have no box.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
from torch import Tensor

from visionlab.core import seeding
from visionlab.files.atomic import write_text
from visionlab.files.documents import read_text

Box = Sequence[float]  # x1, y1, x2, y2 as shares of width and height
_WHOLE = (0.0, 0.0, 1.0, 1.0)


class ObjectBoxes(NamedTuple):
    """At least one box for each of N images; an image without boxes has row 0, all of it.

    Attributes:
        values: (M, 4) float32, x1, y1, x2, y2 as shares of width and height.
        first: (N,) int64, row of the first box of each image.
        counts: (N,) int64, number of its boxes.
    """

    values: Tensor
    first: Tensor
    counts: Tensor

    def take(self, rows: Sequence[int]) -> "ObjectBoxes":
        """Return the boxes of some of the images."""
        rows = list(rows)
        return self._replace(first=self.first[rows], counts=self.counts[rows])

    def draw(self, rows: Tensor, keys: Tensor, *, seed: int, epoch: int) -> Tensor:
        """Return a random box of each image, (B, 4), that depends on seed, epoch and key alone.

        `rows` and `keys` are (B,) int64; `epoch` is counted from 0.
        """
        purpose = seeding.derive(seed, "object box", epoch)
        draws = seeding.uniform(keys, seed=purpose, num_draws=1)[:, 0]
        return self.values[self.first[rows] + (draws * self.counts[rows]).long()]

    def smallest_side(self) -> float:
        """Return the least width or height of a box."""
        return float((self.values[:, 2:] - self.values[:, :2]).min())

    def describe(self) -> dict[str, int]:
        """Return how many images have boxes, and how many do not."""
        without = int((self.first == 0).sum())
        return {"images with boxes": len(self.first) - without, "without, seen whole": without}


def whole_images(count: int) -> ObjectBoxes:
    """Return one box for each of some images: all of it."""
    return ObjectBoxes(
        values=torch.tensor([_WHOLE]),
        first=torch.zeros(count, dtype=torch.int64),
        counts=torch.ones(count, dtype=torch.int64),
    )


def read_boxes(path: Path, names: Sequence[PurePosixPath]) -> ObjectBoxes:
    """Return the boxes of the images with some names, in their order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is damaged, names no image or one that had a line, or there is no box.
    """
    if not path.is_file():
        raise FileNotFoundError(f"dataset.boxes must be a file, looked for {path}")
    boxes, values = whole_images(len(names)), list[Box]([_WHOLE])
    known = rows_by_name(names)
    numbers: dict[int, int] = {}  # of the line of an image, by its row
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        row, words = _split(line.rstrip(), known, where)
        if (before := numbers.setdefault(row, number)) != number:
            raise ValueError(
                f"{where} must be of another image than line {before}, got {names[row]}"
            )
        if words:
            boxes.first[row], boxes.counts[row] = len(values), len(words)
            values += [_box(word, where) for word in words]
    if len(values) == 1:
        raise ValueError(f"{path} must hold boxes, got none")
    return boxes._replace(values=torch.tensor(values))


def write_boxes(path: Path, boxes: Mapping[str, Sequence[Box]]) -> None:
    """Write the boxes of images by name, atomically, with six decimals."""
    lines = (" ".join([name, *map(_word, each)]) + "\n" for name, each in boxes.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(lines))


def rows_by_name(names: Sequence[PurePosixPath]) -> dict[str, int]:
    """Return the rows of images by path, and by file name without suffix if no other has it."""
    stems = Counter(name.stem for name in names)
    by_stem = {name.stem: row for row, name in enumerate(names) if stems[name.stem] == 1}
    return by_stem | {str(name): row for row, name in enumerate(names)}


def _split(line: str, known: Mapping[str, int], where: str) -> tuple[int, list[str]]:
    """Return row and boxes of the image of a line; its name may have spaces."""
    words = line.split(" ")
    for length in range(len(words), 0, -1):
        row = known.get(" ".join(words[:length]))
        if row is not None:
            return row, [word for word in words[length:] if word]
    raise ValueError(f"{where} must begin with an image of dataset.root, got {words[0]!r}")


def _box(word: str, where: str) -> Box:
    try:
        x1, y1, x2, y2 = map(float, word.split(","))
    except ValueError:
        x1 = y1 = x2 = y2 = math.nan
    if not (0.0 <= x1 < x2 <= 1.0 and 0.0 <= y1 < y2 <= 1.0):
        raise ValueError(
            f"{where} must have boxes x1,y1,x2,y2 in [0, 1] with x1 < x2 and y1 < y2, got {word!r}"
        )
    return x1, y1, x2, y2


def _word(box: Box) -> str:
    return ",".join(f"{value:.6f}" for value in box)
