"""Images named by a table of points, and the part of them that is held out for validation."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from visionlab.images.paths import path_key
from visionlab.images.sources import find_images
from visionlab.tasks.keypoints.datasets.name_holdout import NameHoldout
from visionlab.tasks.keypoints.datasets.points_table import PointsTable
from visionlab.tasks.keypoints.datasets.points_text import Floats
from visionlab.tasks.keypoints.records import KeypointSamples

_BLOCK = 4096  # rows read at a time: a table may be larger than memory


def listed_samples(
    table: PointsTable, file: Path, source: Path, *, part: str, may_skip: bool
) -> KeypointSamples:
    """Return the images of the table in a file, which lie in a folder or a tar file.

    Parts may share names, so keys are hashes of part and name. If an image may be skipped and is
    missing, its source is a path that cannot be read.

    Raises:
        FileNotFoundError: an image is missing and `may_skip` is False.
        ValueError: the points are no pixels.
    """
    _check_pixels(table.points[:_BLOCK], file)
    found = find_images(source, table.names)
    absent = [row for row, each in enumerate(found) if each is None]
    if absent and not may_skip:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise FileNotFoundError(
            f"{file} data row {absent[0] + 1} names an image that must exist, "
            f"looked for {source / table.names[absent[0]]}{more}"
        )
    return KeypointSamples(
        sources=[each or source / name for name, each in zip(table.names, found, strict=True)],
        names=table.names,
        keys=torch.tensor([path_key(Path(part, name)) for name in table.names]),
        points=table.points,
        requested=None,
    )


def _check_pixels(points: Floats, file: Path) -> None:
    """Refuse points (N, K, 2) that are shares of their images: as pixels, all are in one corner.

    Raises:
        ValueError: the message names the cause.
    """
    known = points[np.isfinite(points)]
    if known.size and np.abs(known).max() <= 1 and (known % 1).any():
        x, y = known[:2]
        raise ValueError(
            f"{file} must have points in pixels, got {known.size // 2} points within 0 to 1, the "
            f"first x, y = {x:g}, {y:g}: they look like shares of width and height, by which they "
            "must be multiplied"
        )


def count_points(samples: KeypointSamples) -> dict[str, int]:
    """Return the number of images, of known and of missing points, and of images without any."""
    num_missing = num_empty = 0
    for start in range(0, len(samples), _BLOCK):
        is_missing = np.isnan(samples.points[start : start + _BLOCK][:, :, 0])
        num_missing += int(is_missing.sum())
        num_empty += int(is_missing.all(axis=1).sum())
    counts = {
        "images": len(samples),
        "points": samples.points[:1].shape[1] * len(samples) - num_missing,
        "missing points": num_missing,
        "images without points": num_empty,
    }
    return {name: count for name, count in counts.items() if count}


def with_val(
    parts: Mapping[str, KeypointSamples], *, val: NameHoldout
) -> dict[str, KeypointSamples]:
    """Return the parts with a `val` part, held out from `train` unless there is one.

    Raises:
        ValueError: there is a `val` part, and `val` names another.
    """
    if "val" in parts:
        for name in ("list", "pattern"):
            if (value := getattr(val, name)) is not None:
                raise ValueError(
                    f"dataset.val.{name} must be null where val has its own table, got {value}"
                )
        return dict(parts)
    kept, held_out = val.rows(parts["train"].names)
    divided = {**parts, "train": parts["train"].take(kept.sort().values.tolist())}
    if len(held_out):
        divided["val"] = parts["train"].take(held_out.sort().values.tolist())
    return divided
