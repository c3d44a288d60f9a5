"""Images that a table of points names: where they are, and which of them validate."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from visionlab.images.paths import path_key
from visionlab.images.sources import find_images
from visionlab.tasks.keypoints.datasets.name_holdout import NameHoldout
from visionlab.tasks.keypoints.datasets.points_table import PointsTable
from visionlab.tasks.keypoints.point_split import Pointed
from visionlab.tasks.keypoints.splits import Part


def listed_part(
    table: PointsTable,
    *,
    source: Path,
    named_in: Path,
    prefix: str,
    asked: Sequence[Sequence[int]] | None,
    may_skip: bool,
) -> Part:
    """Return the images of a table.

    Args:
        table: names and points.
        source: a folder or a tar file with the images.
        named_in: the table's file, for messages.
        prefix: of the names from which keys are made: parts may share names.
        asked: the points that a submission has to give, or None for all.
        may_skip: whether an image may be missing; its source is then a path that cannot be read.

    Raises:
        FileNotFoundError: an image is not there, and none may be missing.
    """
    found = find_images(source, table.names)
    absent = [row for row, each in enumerate(found) if each is None]
    if absent and not may_skip:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise FileNotFoundError(
            f"{named_in} data row {absent[0] + 1} names an image that must exist, "
            f"looked for {source / table.names[absent[0]]}{more}"
        )
    keys = [path_key(Path(prefix, name)) for name in table.names]
    return Part(
        sources=[
            source / name if each is None else each
            for name, each in zip(table.names, found, strict=True)
        ],
        samples=Pointed(
            names=table.names, keys=torch.tensor(keys), points=table.points, asked=asked
        ),
    )


def with_val(parts: Mapping[str, Part], *, val: NameHoldout) -> dict[str, Part]:
    """Return the parts with a `val`, which is a share of `train` unless the data has its own.

    Raises:
        ValueError: the data has its own, and settings name another.
    """
    if "val" in parts:
        for name in ("list", "pattern"):
            if (value := getattr(val, name)) is not None:
                raise ValueError(
                    f"dataset.val.{name} must be null where val has its own table, got {value}"
                )
        return dict(parts)
    kept, held_out = val.rows(parts["train"].samples.names)
    divided = {**parts, "train": parts["train"].take(kept.sort().values.tolist())}
    if len(held_out):
        divided["val"] = parts["train"].take(held_out.sort().values.tolist())
    return divided
