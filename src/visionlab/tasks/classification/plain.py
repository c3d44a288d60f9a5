"""Images without labels, shown to a classifier as those of its data set."""

import functools
from collections.abc import Sequence

import torch

from visionlab.images.decoding import Stack
from visionlab.images.normalise import ImageDataset, normalisation_tensor
from visionlab.images.plain import PlainImages
from visionlab.images.rendering import square_images, square_reduction
from visionlab.images.splits import ImageSplit
from visionlab.tasks.classification.records import LabelledFiles
from visionlab.tasks.classification.results import label_results
from visionlab.tasks.classification.splits import file_split


def plain_images(
    dataset: ImageDataset, *, size_px: int, class_names: Sequence[str], device: torch.device
) -> PlainImages:
    """Return how a data set shows any images: their centres, as squares of `size_px`.

    Raises:
        ValueError: the data set has no colours: a mean or std of another length than 3.
    """
    normalisation = normalisation_tensor(dataset, num_channels=3).to(device)
    reader = square_images([], size_px=size_px, num_workers=0)

    def split(stack: Stack) -> ImageSplit[Stack]:
        count = len(stack.rows)
        samples = LabelledFiles(
            sources=stack.pixels,
            labels=torch.zeros(count, dtype=torch.int64),
            keys=torch.arange(count),
        )
        return file_split(
            samples, reader, size_px=size_px, normalisation=normalisation, training=None
        )

    return PlainImages(
        sizes={"num_classes": len(class_names)},
        factor=functools.partial(square_reduction, size_px=size_px),
        split=split,
        results=label_results(class_names),
    )
