"""Images named by a table of points, and the part of them that is held out for validation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from visionlab.images.paths import path_key
from visionlab.images.sources import find_images
from visionlab.tasks.keypoints.datasets.name_holdout import NameHoldout
from visionlab.tasks.keypoints.datasets.points_cache import PointsTable
from visionlab.tasks.keypoints.records import KeypointSamples


def listed_samples(
    table: PointsTable,
    *,
    source: Path,
    named_in: Path,
    prefix: str,
    requested: Sequence[Sequence[int]] | None,
    may_skip: bool,
) -> KeypointSamples:
    """Return the images of a table.

    Args:
        table: names and points.
        source: a folder or a tar file with the images.
        named_in: the table's file, for messages.
        prefix: prefix of the names for keys, since parts may share names.
        requested: see `KeypointSamples`.
        may_skip: whether an image may be missing; its source is then a path that cannot be read.

    Raises:
        FileNotFoundError: an image is missing and `may_skip` is False.
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
    return KeypointSamples(
        sources=[
            source / name if each is None else each
            for name, each in zip(table.names, found, strict=True)
        ],
        names=table.names,
        keys=torch.tensor(keys),
        points=table.points,
        requested=requested,
    )


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
