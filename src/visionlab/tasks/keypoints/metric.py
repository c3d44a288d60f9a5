"""Metrics of keypoints: predictions are points, (B, K, 2) float32, in original pixels."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from visionlab.core.geometry import transform_points
from visionlab.task import Batch
from visionlab.tasks.keypoints.records import PointTargets


def original_points(outputs: Tensor, batch: Batch) -> Tensor:
    """Return points in pixels of the original images, (B, K, 2) float32.

    Outputs are (B, K, 2) in input pixels; in a mirrored picture numbered as they are seen there.
    """
    targets: PointTargets = batch.targets
    assert batch.matrices is not None
    points = outputs.float()
    if targets.mirror is not None:
        is_mirrored = torch.linalg.det(batch.matrices) < 0
        points = torch.where(is_mirrored[:, None, None], points[:, targets.mirror], points)
    return transform_points(points, torch.linalg.inv(batch.matrices.double()))


class PointErrors:
    """Distances between predicted and true points, in original pixels and relative to the face.

    Unknown points are ignored; a number without any known point is NaN. The error of a NaN
    prediction is infinite. The normaliser of an image is the distance between the centres of its
    eyes, or, if no eyes are given, the diagonal of the upright box around its known points;
    relative numbers ignore images without one.

    `mse` is the mean squared difference of coordinates and `error_px` the mean distance, over all
    points. `nme` is the mean over images of their mean distance divided by their normaliser.
    `pck/<t>` is the share of points nearer than t normalisers, `pck_area` the mean of that share
    over all thresholds from 0 to the largest t.

    Args:
        class_names: of the points.
        eyes: the numbers of the points around the left and around the right eye, or None.
        pck_thresholds: increasing numbers above 0.

    Raises:
        ValueError: the thresholds do not rise, or a point of an eye does not exist.
    """

    def __init__(
        self,
        *,
        class_names: Sequence[str],
        eyes: Sequence[Sequence[int]] | None,
        pck_thresholds: Sequence[float],
    ) -> None:
        thresholds = list(pck_thresholds)
        if not thresholds or thresholds != sorted({t for t in thresholds if 0 < t < math.inf}):
            raise ValueError(f"pck_thresholds must be rising numbers > 0, got {thresholds}")
        if eyes is not None:
            if len(eyes) != 2 or not all(eyes):
                raise ValueError(f"eyes must be two lists of points, got {list(eyes)}")
            wrong = [point for eye in eyes for point in eye if not 0 <= point < len(class_names)]
            if wrong:
                raise ValueError(f"eyes must be points in [0, {len(class_names)}), got {wrong[0]}")
        self._eyes = eyes
        self._thresholds = thresholds
        self.names = ["mse", "error_px"]
        if eyes is not None or len(class_names) > 1:  # the box around one point has no diagonal
            self.names += ["nme", *map(_pck, thresholds), "pck_area"]
        self.reset()

    def reset(self) -> None:
        """Reset the metric."""
        self._points: list[Tensor] = []
        self._originals: list[Tensor] = []

    def update(self, predictions: Tensor, targets: PointTargets) -> None:
        """Add points (B, K, 2) in original pixels."""
        self._points.append(predictions.cpu())  # a whole data set may not fit on a GPU
        self._originals.append(targets.original.cpu())

    def compute(self) -> dict[str, float]:
        """Return the numbers by name.

        Raises:
            ValueError: nothing was added.
        """
        if not self._points:
            raise ValueError("point errors need at least one sample, got 0")
        points, truth = _numbers(self._points).double(), torch.cat(self._originals).double()
        errors = torch.linalg.vector_norm(points - truth, dim=2)
        relative = errors / self._normalisers(truth)[:, None]
        known = relative[~relative.isnan()]
        values = {
            "mse": (points - truth).square(),
            "error_px": errors,
            "nme": relative.nanmean(dim=1),
            **{_pck(limit): (known < limit).double() for limit in self._thresholds},
            "pck_area": (1.0 - known / self._thresholds[-1]).clamp(min=0.0),
        }
        return {name: float(values[name].nanmean()) for name in self.names}

    def samples(self) -> dict[str, Tensor]:
        """Return `points` (N, K, 2), `errors_px` (N, K), `normaliser_px` (N,), float32.

        All in original pixels; unknown errors and normalisers are NaN.
        """
        truth = torch.cat(self._originals)
        return {
            "points": torch.cat(self._points),
            "errors_px": torch.linalg.vector_norm(_numbers(self._points) - truth, dim=2),
            "normaliser_px": self._normalisers(truth),
        }

    def _normalisers(self, truth: Tensor) -> Tensor:
        """Return the normaliser of each image, (N,), NaN if it has none."""
        if self._eyes is not None:
            left, right = (truth[:, list(eye)].mean(dim=1) for eye in self._eyes)
            lengths = torch.linalg.vector_norm(left - right, dim=1)
        else:
            is_known = truth.isfinite().all(dim=2, keepdim=True)
            low = torch.where(is_known, truth, math.inf).amin(dim=1)
            high = torch.where(is_known, truth, -math.inf).amax(dim=1)
            lengths = torch.linalg.vector_norm(high - low, dim=1)
            lengths = torch.where(is_known.any(dim=1)[:, 0], lengths, math.nan)
        return torch.where(lengths > 0, lengths, math.nan)


def _pck(threshold: float) -> str:
    return f"pck/{threshold:g}"


def _numbers(points: Sequence[Tensor]) -> Tensor:
    """Return points in one tensor; NaN, which marks unknown points, becomes infinity."""
    return torch.cat(list(points)).nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf)
