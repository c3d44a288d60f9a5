"""Drawn faces with 68 points as a data set, in every installation."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.task import Data
from visionlab.tasks.keypoints.augment import PointAugment
from visionlab.tasks.keypoints.datasets.face_drawing import draw_face
from visionlab.tasks.keypoints.datasets.face_points import NUM_POINTS
from visionlab.tasks.keypoints.records import KeypointSamples
from visionlab.tasks.keypoints.splits import KeypointDataset, Reading, from_points

_FIRST_KEYS = {"train": 0, "val": 1_000_000, "test": 2_000_000}


@dataclass(frozen=True, kw_only=True)
class DrawnFaces(KeypointDataset):
    """Settings of drawn faces.

    Attributes:
        num_train: pictures to train on.
        num_val: to validate with, may be 0.
        num_test: to test with, may be 0.
        seed: of the pictures.
        size_px, mirror, eyes, mean, std: see `KeypointDataset`.
    """

    num_train: int
    num_val: int
    num_test: int
    seed: int

    def __post_init__(self) -> None:
        for name, least in (("num_train", 1), ("num_val", 0), ("num_test", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be >= {least}, got {getattr(self, name)}")

    def __call__(self, *, augmentation: PointAugment, seed: int, device: torch.device) -> Data:
        """Return the splits, drawn anew; keys of the parts do not overlap.

        Raises:
            ValueError: see `from_points`.
        """
        counts = {"train": self.num_train, "val": self.num_val, "test": self.num_test}
        parts = {
            name: self._draw(range(_FIRST_KEYS[name], _FIRST_KEYS[name] + count))
            for name, count in counts.items()
            if count
        }
        return from_points(
            parts,
            point_names=[str(number) for number in range(NUM_POINTS)],
            dataset=self,
            reading=Reading(num_workers=0, in_memory=False, skip_unreadable=False),
            augmentation=augmentation,
            seed=seed,
            device=device,
        )

    def _draw(self, keys: Sequence[int]) -> KeypointSamples:
        images, points = draw_faces(keys, seed=self.seed)
        return KeypointSamples(
            sources=images,
            names=[f"face {key}" for key in keys],
            keys=torch.tensor(list(keys)),
            points=points.numpy(),
            requested=None,
        )


def draw_faces(keys: Iterable[int], *, seed: int) -> tuple[list[Tensor], Tensor]:
    """Return pictures, (3, H, W) uint8 each, and their points, (N, 68, 2) float32.

    A picture follows from the seed and its key alone; no two keys give the same one, so that splits
    are apart where their keys are. Points are x, y in pixels in the order of `face_points`.
    """
    faces = [draw_face(key, seed=seed) for key in keys]
    images = [torch.from_numpy(pixels).permute(2, 0, 1).contiguous() for pixels, _ in faces]
    points = [torch.from_numpy(points) for _, points in faces]
    return images, torch.stack(points) if points else torch.zeros(0, NUM_POINTS, 2)
