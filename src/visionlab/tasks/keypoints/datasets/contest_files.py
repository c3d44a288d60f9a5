"""Writes drawn faces in the format of the contest of a thousand landmarks.

    python -m visionlab.tasks.keypoints.datasets.contest_files DIR [--num-train 200] [--num-test 40]
        [--num-points 971] [--num-asked 30] [--seed 0]

The hidden truth of the test images is beside their list, in test/truth.csv.
"""

import argparse
import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from visionlab.core import seeding
from visionlab.tasks.keypoints.datasets.face_drawing import draw_face
from visionlab.tasks.keypoints.datasets.face_points import LINES, NUM_POINTS
from visionlab.tasks.keypoints.datasets.face_shapes import MEAN, Floats

_QUALITY = 95  # of the JPEG files


def write_contest(
    folder: Path, *, num_train: int, num_test: int, num_points: int, num_asked: int, seed: int
) -> None:
    """Write training and test images with their tables into a folder.

    Files are train/landmarks.csv, train/images, test/test_points.csv, test/images and
    test/truth.csv. Points are whole pixels of the image. 68 points are those of `face_points`; any
    other number is spread along their lines, as densely everywhere on the mean face.

    Args:
        folder: new or empty.
        num_train: how many training images there are.
        num_test: likewise of the test.
        num_points: in each image.
        num_asked: how many points of a test image are asked for, others in each and in any order.
        seed: of everything.

    Raises:
        ValueError: a number is too small or too large, or the folder has something in it.
    """
    _check(num_train, num_test, num_points, num_asked, seed)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"the folder must be new or empty, got {folder}")
    weights = spread(num_points)
    names = [f"{key:06d}.jpg" for key in range(num_train + num_test)]
    train, test = folder / "train", folder / "test"
    for part, table, keys in (
        (train, train / "landmarks.csv", range(num_train)),
        (test, test / "truth.csv", range(num_train, len(names))),
    ):
        (part / "images").mkdir(parents=True)
        rows = (_row(part / "images" / names[key], key, weights, seed) for key in keys)
        _write(table, ["file_name", *_point_names(num_points)], rows)
    asked = ([name, str(_asked(name, num_points, num_asked, seed))] for name in names[num_train:])
    _write(test / "test_points.csv", ["file_name", "point_index_list"], asked)


def spread(num_points: int) -> Floats:
    """Return the weights, (num_points, 68), with which points are means of the 68.

    The points of the mean face are equally far apart along `face_points.LINES`, laid end to end,
    from the start of the first to the end of the last. For 68 points they are the 68 themselves.
    """
    if num_points == NUM_POINTS:
        return np.eye(NUM_POINTS)
    starts = np.concatenate([line[:-1] for line in LINES])
    ends = np.concatenate([line[1:] for line in LINES])
    lengths = np.hypot(*(MEAN[ends, :2] - MEAN[starts, :2]).T)
    until = np.cumsum(lengths)
    along = np.linspace(0.0, until[-1], num_points)
    piece = np.minimum(np.searchsorted(until, along, side="right"), len(until) - 1)
    share = ((along - until[piece]) / lengths[piece] + 1.0).clip(0.0, 1.0)
    weights = np.zeros((num_points, NUM_POINTS))
    rows = np.arange(num_points)
    weights[rows, starts[piece]] = 1.0 - share
    weights[rows, ends[piece]] = share
    return weights


def main(argv: Sequence[str] | None = None) -> int:
    """Write what the command line asks for, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m visionlab.tasks.keypoints.datasets.contest_files",
        description="Write drawn faces in the format of the contest of a thousand landmarks.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="a new or empty folder")
    for name, value, meaning in (
        ("--num-train", 200, "training images"),
        ("--num-test", 40, "test images"),
        ("--num-points", 971, "points in each image"),
        ("--num-asked", 30, "points asked for in each test image"),
        ("--seed", 0, "the seed of everything"),
    ):
        parser.add_argument(name, type=int, default=value, help=f"{meaning} ({value})")
    options = vars(parser.parse_args(argv))
    try:
        write_contest(options.pop("folder"), **options)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _check(num_train: int, num_test: int, num_points: int, num_asked: int, seed: int) -> None:
    for name, value, least in (
        ("num_train", num_train, 1),
        ("num_test", num_test, 1),
        ("num_points", num_points, 2),
        ("num_asked", num_asked, 1),
        ("seed", seed, 0),
    ):
        if value < least:
            raise ValueError(f"{name} must be >= {least}, got {value}")
    if num_asked > num_points:
        raise ValueError(f"num_asked must be <= num_points={num_points}, got {num_asked}")


def _row(path: Path, key: int, weights: Floats, seed: int) -> list[str | int]:
    """Draw an image into a file and return its line of the table."""
    pixels, points = draw_face(key, seed=seed)
    Image.fromarray(pixels).save(path, quality=_QUALITY)
    return [path.name, *np.rint(weights @ points).astype(int).ravel().tolist()]


def _point_names(num_points: int) -> list[str]:
    return [f"Point_{number}_{axis}" for number in range(num_points) for axis in "XY"]


def _asked(name: str, num_points: int, num_asked: int, seed: int) -> list[int]:
    order = seeding.permutation(num_points, seed=seeding.derive(seed, "asked points", name))
    return [int(point) for point in order[:num_asked]]


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str | int]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
