"""Detection data: annotated images to splits."""

import functools
from collections.abc import Mapping, Sequence

import torch

from visionlab.images.normalise import normalisation_tensor, to_pixels
from visionlab.images.resize import Resize
from visionlab.task import Data
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.box_split import BoxSplit
from visionlab.tasks.detection.records import Annotated


def from_annotations(
    parts: Mapping[str, Sequence[Annotated]],
    *,
    class_names: Sequence[str],
    class_ids: Sequence[int],
    resize: Resize,
    mean: Sequence[float],
    std: Sequence[float],
    num_workers: int,
    augmentation: BoxAugment,
    seed: int,
    device: torch.device,
) -> Data:
    """Return the splits of annotated images.

    Args:
        parts: the images of `train` and, where there are some, `val` and `test`.
        class_names: one name a label.
        class_ids: what a label is called in the data set's own files.
        resize: how large the model sees the images.
        mean: one value a channel, for pixels in [0, 1].
        std: likewise.
        num_workers: decoding processes for each split.
        augmentation: what is done to training images.
        seed: of order and augmentation.
        device: where batches live.

    Raises:
        ValueError: the augmentation is not one for boxes, or a number is out of range.
    """
    if not isinstance(augmentation, BoxAugment):
        raise ValueError(f"augment must be one for boxes, got {type(augmentation).__name__}")
    if num_workers < 0:
        raise ValueError(f"dataset.num_workers must be >= 0, got {num_workers}")
    normalisation = normalisation_tensor(mean, std, num_channels=3).to(device)

    def split(samples: Sequence[Annotated], augmentation: BoxAugment | None) -> BoxSplit:
        return BoxSplit(
            samples=samples,
            resize=resize,
            normalisation=normalisation,
            augmentation=augmentation,
            seed=None if augmentation is None else seed,
            num_workers=num_workers,
        )

    splits = {"train": split(parts["train"], augmentation)}
    splits["train_plain"] = split(parts["train"], None)
    splits |= {name: split(parts[name], None) for name in ("val", "test") if name in parts}
    return Data(
        splits=splits,
        sizes={"num_classes": len(class_names)},
        class_names=class_names,
        class_ids=class_ids,
        to_pixels=functools.partial(to_pixels, normalisation=normalisation),
        unreadable=[],
    )
