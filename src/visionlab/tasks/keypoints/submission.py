"""Keypoints in the contest's CSV format."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from visionlab.core.checks import check_choice
from visionlab.files import atomic as storage
from visionlab.images.splits import ImageSplit
from visionlab.tasks.keypoints.datasets.requested_points import submission_header
from visionlab.tasks.keypoints.records import KeypointSamples

_Floats = NDArray[np.float32]
Rounding = Literal["nearest", "truncated"]
_ROUNDINGS = {"nearest": np.rint, "truncated": np.trunc}


@dataclass(frozen=True, kw_only=True)
class PointsSubmission:
    """Writer of points in the contest's CSV format.

    Attributes:
        categories: the names of the K points by number.
        rounding: `nearest` (half to even), or `truncated` towards 0, which is half a pixel off on
            average.
    """

    categories: Mapping[int, str]
    rounding: Rounding

    def __post_init__(self) -> None:
        check_choice(self, list(_ROUNDINGS), "rounding")

    def __call__(
        self, folder: Path, split_name: str, samples: Mapping[str, Tensor], split: ImageSplit[Any]
    ) -> Path:
        """Write points as `<split_name>_submission.csv`, atomically, and return the file.

        There is a row for each image, in the order of the split's list: its file name, then x and y
        of each requested point in the order of the request, or of all points without a request, as
        whole pixels of the original image.

        Args:
            folder: the folder of the file; created if missing.
            split_name: the name of the split.
            samples: `keys` (N,) integers of the images, in any order, and `points` (N, K, 2)
                float32 as x, y in pixels of the original image.
            split: the images; its `samples` are `KeypointSamples`.

        Raises:
            ValueError: the images or the points do not match the split, or a point is not finite.
            OSError: the file cannot be written; an old file is untouched.
        """
        path = folder / f"{split_name}_submission.csv"
        points = samples["points"].cpu().numpy()
        shape = (len(samples["keys"]), len(self.categories), 2)
        if points.shape != shape:
            raise ValueError(f"{path} must get points of shape {shape}, got {points.shape}")
        rows = _rows(samples["keys"], split.samples.keys, path)
        chosen = _requested(points[rows], split.samples, path)
        is_wrong = ~np.isfinite(chosen).all(axis=(1, 2))
        if is_wrong.any():
            name = split.samples.names[int(is_wrong.argmax())]
            raise ValueError(f"{path} must get finite points, got others for {name}")
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(submission_header(chosen.shape[1]))
        whole = _ROUNDINGS[self.rounding](chosen).reshape(len(chosen), -1)
        for name, row in zip(split.samples.names, whole, strict=True):
            table.writerow([name, *map(int, row.tolist())])
        folder.mkdir(parents=True, exist_ok=True)
        storage.write_text(path, text.getvalue())
        return path


def _rows(found: Tensor, wanted: Tensor, path: Path) -> list[int]:
    keys, order = found.tolist(), wanted.tolist()
    rows = {key: row for row, key in enumerate(keys)}
    if sorted(keys) != sorted(order) or len(rows) != len(keys):
        missing, unknown = len(set(order) - set(keys)), len(set(keys) - set(order))
        raise ValueError(
            f"{path} must get each of {len(order)} images once, got {len(keys)}, {missing} missing "
            f"and {unknown} unknown"
        )
    return [rows[key] for key in order]


def _requested(points: _Floats, samples: KeypointSamples, path: Path) -> _Floats:
    """Return the requested points, (N, M, 2)."""
    if samples.requested is None:
        return points
    counts = {len(row) for row in samples.requested}
    if len(samples.requested) != len(points) or len(counts) != 1 or 0 in counts:
        raise ValueError(
            f"{path} must get equally many requested points in each of {len(points)} images, got "
            f"{sorted(counts)} in {len(samples.requested)}"
        )
    numbers = np.array(samples.requested, dtype=np.int64)
    if numbers.min() < 0 or numbers.max() >= points.shape[1]:
        raise ValueError(
            f"{path} must get requested points in [0, {points.shape[1]}), got {numbers.min()} to "
            f"{numbers.max()}"
        )
    return np.take_along_axis(points, numbers[:, :, None], axis=1)
