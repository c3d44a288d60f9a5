"""Images without labels, shown to an encoder as those of its data set, without augmentation."""

import functools
import sys

import torch

from visionlab.images.decoding import Stack
from visionlab.images.normalise import ImageDataset, normalisation_tensor
from visionlab.images.plain import PlainImages
from visionlab.images.rendering import square_images, square_reduction
from visionlab.images.splits import ImageSplit
from visionlab.tasks.pretraining.object_boxes import whole_images
from visionlab.tasks.pretraining.records import NO_LABEL, ImageFiles
from visionlab.tasks.pretraining.results import feature_results
from visionlab.tasks.pretraining.splits import file_split


def plain_images(dataset: ImageDataset, *, size_px: int, device: torch.device) -> PlainImages:
    """Return how a data set shows any images: their centres, as squares of `size_px`.

    Raises:
        ValueError: a mean or std has another length than 3.
    """
    normalisation = normalisation_tensor(dataset, num_channels=3).to(device)
    reader = square_images([], size_px=size_px, num_workers=0)

    def split(stack: Stack) -> ImageSplit[Stack]:
        count = len(stack.rows)
        files = ImageFiles(
            sources=stack.pixels,
            labels=torch.full((count,), NO_LABEL),
            keys=torch.arange(count),
            boxes=whole_images(count),
        )
        return file_split(
            files, reader, size_px=size_px, normalisation=normalisation, training=None
        )

    return PlainImages(
        # the queue of training keys is made, but not used
        sizes={"num_images": sys.maxsize, "size_px": size_px},
        factor=functools.partial(square_reduction, size_px=size_px),
        split=split,
        results=feature_results(),
    )
