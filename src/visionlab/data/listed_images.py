"""Images that a table of points names: where they are, and which of them validate."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from visionlab.data.image_files import path_key
from visionlab.data.image_sources import find_images
from visionlab.data.keypoints import Part
from visionlab.data.name_holdout import NameHoldout
from visionlab.data.point_split import Pointed
from visionlab.data.points_table import PointsTable


def listed_part(
    table: PointsTable,
    *,
    source: Path,
    named_in: Path,
    prefix: str,
    asked: Sequence[Sequence[int]] | None,
    missing: list[str] | None,
) -> Part:
    """Return the images of a table.

    Args:
        table: names and points.
        source: a folder or a tar file with the images.
        named_in: the table's file, for messages.
        prefix: of the names from which keys are made: parts may share names.
        asked: the points that a submission has to give, or None for all.
        missing: takes the paths of images that are not there, which are then left out; None refuses
            them.

    Raises:
        FileNotFoundError: an image is not there, and `missing` is None.
    """
    found = find_images(source, table.names)
    absent = [row for row, each in enumerate(found) if each is None]
    if absent and missing is None:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise FileNotFoundError(
            f"{named_in} data row {absent[0] + 1} names an image that must exist, "
            f"looked for {source / table.names[absent[0]]}{more}"
        )
    keys = [path_key(Path(prefix, name)) for name in table.names]
    part = Part(
        sources=[each for each in found if each is not None],
        samples=Pointed(
            names=table.names, keys=torch.tensor(keys), points=table.points, asked=asked
        ),
    )
    if not absent:
        return part
    assert missing is not None
    missing += [str(source / table.names[row]) for row in absent]
    present = [row for row, each in enumerate(found) if each is not None]
    return Part(sources=part.sources, samples=part.samples.take(present))


def with_val(parts: Mapping[str, Part], *, val: NameHoldout) -> dict[str, Part]:
    """Return the parts with a `val`, which is a share of `train` unless the data has its own."""
    if "val" in parts:
        return dict(parts)
    kept, held_out = val.rows(parts["train"].samples.names)
    divided = {**parts, "train": parts["train"].take(kept.sort().values.tolist())}
    if len(held_out):
        divided["val"] = parts["train"].take(held_out.sort().values.tolist())
    return divided
