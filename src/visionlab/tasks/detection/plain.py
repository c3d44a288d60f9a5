"""Images without boxes, shown to a detector as those of its data set."""

import functools
from collections.abc import Mapping

import torch

from visionlab.images.decoding import Stack
from visionlab.images.normalise import normalisation_tensor
from visionlab.images.plain import PlainImages
from visionlab.images.splits import ImageSplit
from visionlab.tasks.detection.records import Annotated
from visionlab.tasks.detection.results import box_results
from visionlab.tasks.detection.splits import DetectionDataset, box_split


def plain_images(
    dataset: DetectionDataset, *, categories: Mapping[int, str], device: torch.device
) -> PlainImages:
    """Return how a data set shows any images; `categories` are names by id, one per label.

    Raises:
        ValueError: a mean or std has another length than 3.
    """
    normalisation = normalisation_tensor(dataset, num_channels=3).to(device)

    def split(stack: Stack) -> ImageSplit[Stack]:
        return box_split(
            [_without_boxes(stack, row) for row in range(len(stack.rows))],
            resize=dataset.resize,
            normalisation=normalisation,
            num_workers=0,
            training=None,
        )

    return PlainImages(
        sizes={"num_classes": len(categories)},
        factor=functools.partial(dataset.resize.reduction, zoom=1.0),
        split=split,
        results=box_results(categories),
    )


def _without_boxes(stack: Stack, row: int) -> Annotated:
    width, height = stack.sizes[row].tolist()
    return Annotated(
        key=row,
        name="",
        image=stack.pixels[row],
        width_px=width,
        height_px=height,
        boxes=torch.zeros(0, 4, dtype=torch.float64),
        labels=torch.zeros(0, dtype=torch.int64),
        crowd=torch.zeros(0, dtype=torch.bool),
        areas=torch.zeros(0, dtype=torch.float64),
    )
