"""Drawn faces with 68 points as a data set, in every installation."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from visionlab.core import seeding
from visionlab.core.checks import check_at_least, check_seed
from visionlab.task import Data
from visionlab.tasks.keypoints.augment import PointAugment
from visionlab.tasks.keypoints.datasets.face_painting import draw_picture
from visionlab.tasks.keypoints.datasets.face_shapes import CHANGES, NUM_POINTS, project, shape
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
    """

    num_train: int
    num_val: int
    num_test: int
    seed: int

    def __post_init__(self) -> None:
        check_at_least(self, 1, "num_train")
        check_at_least(self, 0, "num_val", "num_test")
        check_seed(self, "seed")

    def __call__(self, *, augmentation: PointAugment, seed: int, device: torch.device) -> Data:
        """Return the splits, drawn anew; keys of the parts do not overlap."""
        parts = {}
        for split, first in _FIRST_KEYS.items():
            if keys := range(first, first + getattr(self, f"num_{split}")):
                images, points = draw_faces(keys, seed=self.seed)
                parts[split] = KeypointSamples(
                    sources=images,
                    names=[f"face {key}" for key in keys],
                    keys=torch.tensor(keys),
                    points=points.numpy(),
                    requested=None,
                )
        return from_points(
            parts,
            point_names=[str(number) for number in range(NUM_POINTS)],
            dataset=self,
            read_counts={},
            reading=Reading(num_workers=0, in_memory=False, skip_unreadable=False),
            augmentation=augmentation,
            seed=seed,
            device=device,
        )


def draw_faces(keys: Iterable[int], *, seed: int) -> tuple[list[Tensor], Tensor]:
    """Return pictures, (3, H, W) uint8 each, and their points, (N, 68, 2) float32.

    Points are x, y in pixels, 0, 0 being the upper left corner; hidden ones are where they would be
    seen, and a few lie outside. Each picture follows from the seed and its key alone.
    """
    faces = [_draw_face(np.random.default_rng(seeding.derive(seed, "face", key))) for key in keys]
    return [image for image, _ in faces], torch.stack([points for _, points in faces])


def _draw_face(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    weights = {name: max(rng.uniform(-1, 1), 0 if name == "open" else -1) for name in CHANGES}
    lids = np.where(rng.random(2) < 0.1, 1.0, 0.5 * rng.random(2)).tolist()
    size = rng.integers(96, 161, 2)  # width, height
    head = project(
        shape(weights, lids=lids, hairline=rng.uniform(0.75, 1.3)),
        angles=np.radians([20, 12, 15]) * (rng.random(3) - rng.random(3)),
        unit_px=size.min() * rng.uniform(0.28, 0.36),
        centre=size / 2 + size.min() * rng.uniform(-0.06, 0.06, 2),
    )
    pixels = torch.from_numpy(draw_picture(head, size.tolist(), rng))
    return pixels.permute(2, 0, 1).contiguous(), torch.from_numpy(head[:NUM_POINTS]).float()
