"""Files in the format of the thousand-landmarks contest, with drawn faces."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from visionlab.tasks.keypoints.datasets.drawn_faces import draw_faces


def write_contest(
    folder: Path, *, num_train: int, num_test: int, num_points: int, num_asked: int, seed: int
) -> None:
    """Write train/landmarks.csv, train/images, test/test_points.csv and test/images.

    Points are whole pixels, evenly spread along the path through the 68 points in their order. Each
    test image asks for other ones.
    """
    rng = np.random.default_rng(seed)
    names = [f"{key:06d}.jpg" for key in range(num_train + num_test)]
    pictures, faces = draw_faces(range(len(names)), seed=seed)
    for number, (name, picture) in enumerate(zip(names, pictures, strict=True)):
        images = folder / ("train" if number < num_train else "test") / "images"
        images.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(images / name, quality=95)
    along = np.linspace(0, 67, num_points)
    spread = [[np.interp(along, range(68), axis) for axis in face.T] for face in faces.numpy()]
    points = np.rint(spread).astype(int).swapaxes(1, 2).reshape(len(names), -1).tolist()
    asked = [rng.choice(num_points, num_asked, replace=False).tolist() for _ in range(num_test)]
    columns = [f"Point_{number}_{axis}" for number in range(num_points) for axis in "XY"]
    rows = ([name, *row] for name, row in zip(names[:num_train], points[:num_train], strict=True))
    _write(folder / "train" / "landmarks.csv", ["file_name", *columns], rows)
    rows = ([name, row] for name, row in zip(names[num_train:], asked, strict=True))
    _write(folder / "test" / "test_points.csv", ["file_name", "point_index_list"], rows)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
