"""Images without points, shown to a model of keypoints as those of its data set."""

import functools
from collections.abc import Sequence

import numpy as np
import torch

from visionlab.images.decoding import Stack
from visionlab.images.normalise import normalisation_tensor
from visionlab.images.plain import PlainImages
from visionlab.images.rendering import square_images, square_reduction
from visionlab.images.splits import ImageSplit
from visionlab.tasks.keypoints.records import KeypointSamples
from visionlab.tasks.keypoints.results import point_results
from visionlab.tasks.keypoints.splits import KeypointDataset, mirror_order, point_split


def plain_images(
    dataset: KeypointDataset, *, point_names: Sequence[str], device: torch.device
) -> PlainImages:
    """Return how a data set shows any images: their centres, as squares.

    Raises:
        ValueError: `mirror` does not fit the points, or a mean or std has another length than 3.
    """
    size_px, num_points = dataset.size_px, len(point_names)
    normalisation = normalisation_tensor(dataset, num_channels=3).to(device)
    mirror = mirror_order(dataset.mirror, num_points=num_points)
    reader = square_images([], size_px=size_px, num_workers=0)

    def split(stack: Stack) -> ImageSplit[Stack]:
        count = len(stack.rows)
        samples = KeypointSamples(
            sources=stack.pixels,
            names=[""] * count,
            keys=torch.arange(count),
            points=np.full((count, num_points, 2), np.nan, dtype=np.float32),
            requested=None,
        )
        return point_split(
            samples,
            reader,
            size_px=size_px,
            normalisation=normalisation,
            mirror=mirror,
            training=None,
        )

    centre = [size_px / 2, size_px / 2]
    return PlainImages(
        sizes={"num_points": num_points, "size_px": size_px, "mean_points": [centre] * num_points},
        factor=functools.partial(square_reduction, size_px=size_px),
        split=split,
        results=point_results(point_names),
    )
