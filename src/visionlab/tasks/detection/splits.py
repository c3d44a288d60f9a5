"""Splits of annotated images: one matrix per image moves pixels and boxes."""

import functools
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.core import geometry
from visionlab.images.batching import aspect_batches, group_batches
from visionlab.images.decoding import Images, Stack
from visionlab.images.holdout import Holdout
from visionlab.images.normalise import ImageDataset, normalisation_tensor, to_pixels
from visionlab.images.plain import PlainImages
from visionlab.images.resize import Resize
from visionlab.images.splits import ImageSplit, Training
from visionlab.images.views import View
from visionlab.task import Batch, Data
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.crops import Crops
from visionlab.tasks.detection.inputs import canvas, render_inputs, render_view
from visionlab.tasks.detection.records import Annotated, BoxTargets
from visionlab.tasks.detection.targets import box_targets

_MAX_CPU_PX = 512  # long side from which training on a CPU is advised against
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DetectionDataset(ImageDataset):
    """Settings of every detection data set.

    Attributes:
        resize: size of the images as the model's input, or crops of long pages.
    """

    resize: Resize | Crops

    def plain_images(
        self, *, class_names: Sequence[str], class_ids: Sequence[int], device: torch.device
    ) -> PlainImages:
        """Return how any images are shown to a model that was trained on this data set."""
        from visionlab.tasks.detection.plain import plain_images  # which imports this module

        categories = dict(zip(class_ids, class_names, strict=True))
        return plain_images(self, categories=categories, device=device)


@dataclass(frozen=True, kw_only=True)
class DetectionFiles(DetectionDataset):
    """Settings of every detection data set in files.

    Reading raises FileNotFoundError if a file or folder is missing, ValueError if one is malformed.

    Attributes:
        root: the folder of the data set.
        drop_invalid: decode every image once at the start, and drop invalid images and boxes with a
            warning; otherwise the first one ends the run.
        num_workers: decoding processes for each split.
        val: share of the training images held out for validation, if there is no `val` part.
    """

    root: str
    drop_invalid: bool
    num_workers: int
    val: Holdout


def from_annotations(
    parts: Mapping[str, Sequence[Annotated]],
    *,
    class_names: Sequence[str],
    class_ids: Sequence[int],
    num_workers: int,
    read_counts: Mapping[str, Mapping[str, int]],
    dataset: DetectionDataset,
    augmentation: BoxAugment,
    seed: int,
    device: torch.device,
) -> Data:
    """Return the splits of annotated images: `train` and, if there are any, `val` and `test`.

    There is one class name per label, and one id, that in the data set's own files. Each split is
    decoded by `num_workers` processes. `read_counts` are those of `Data`. The seed is that of order
    and augmentation.

    Raises:
        ValueError: the augmentation is not one for boxes, or a number is out of range.
    """
    if not isinstance(augmentation, BoxAugment):
        raise ValueError(f"augment must be one for boxes, got {type(augmentation).__name__}")
    if device.type == "cpu" and dataset.resize.long_px > _MAX_CPU_PX:
        _log.info(
            "inputs of up to %d px take long on a CPU; for small data try model=retinanet_small "
            "dataset.resize.short_px=240 dataset.resize.long_px=320 hparams.epochs=60 "
            "averaged.decay=0.995",
            dataset.resize.long_px,
        )
    normalisation = normalisation_tensor(dataset, num_channels=3).to(device)
    make = functools.partial(
        box_split, resize=dataset.resize, normalisation=normalisation, num_workers=num_workers
    )
    splits = {name: make(samples, training=None) for name, samples in parts.items()}
    splits["train_plain"] = splits["train"]
    training = Training(augmentation=augmentation, seed=seed)
    splits["train"] = make(parts["train"], training=training)
    return Data(
        splits=splits,
        sizes={"num_classes": len(class_names)},
        class_names=class_names,
        class_ids=class_ids,
        class_counts={  # without crowds
            name: torch.cat([sample.labels[~sample.crowd] for sample in samples])
            .bincount(minlength=len(class_names))
            .tolist()
            for name, samples in parts.items()
        },
        to_pixels=functools.partial(to_pixels, normalisation=normalisation),
        unreadable=[],
        read_counts=read_counts,
    )


def box_split(
    samples: Sequence[Annotated],
    *,
    resize: Resize | Crops,
    normalisation: Tensor,
    num_workers: int,
    training: Training[BoxAugment] | None,
) -> ImageSplit[Stack]:
    """Return annotated images as a split.

    Resizing and augmentation are one matrix and one bilinear sampling. An image larger than its
    input, at the geometric mean of the augmentation's scales, is first reduced by an integer
    factor. Images lie in the upper left corner of the batch's canvas, whose sides are the next
    multiples of 32; the rest is 0, the mean colour. Of long pages, a crop at a random place is
    trained on, and all crops of a page are in one batch otherwise.

    In training, images with similar aspect ratios share a batch, different ones every epoch. Plain
    batches have images with equal canvases, so no result depends on the rest of the batch.

    `normalisation` is (2, 3) float32, mean and standard deviation, on the training device.
    """
    sides = [{"width_px": sample.width_px, "height_px": sample.height_px} for sample in samples]
    sizes = torch.tensor([resize.size(**each) for each in sides])
    scales = torch.tensor([resize.scale(**each) for each in sides], dtype=torch.float64)
    keys = torch.tensor([sample.key for sample in samples])
    zoom = math.sqrt(math.prod(training.augmentation.scale)) if training else 1.0
    images = Images(
        [sample.image for sample in samples],
        factor=functools.partial(resize.reduction, zoom=zoom),
        num_workers=num_workers,
        hint="; dataset.drop_invalid=true drops such files",
    )

    def assemble(stack: Stack, epoch: int) -> Batch:
        of_batch = [samples[row] for row in stack.rows.tolist()]
        _check_sizes(stack, of_batch)
        batch_keys, batch_sizes = keys[stack.rows], sizes[stack.rows]
        matrices = geometry.scalings(scales[stack.rows, None].expand(-1, 2))
        min_visible, enough_visible_px, drawn, pages = 0.0, math.inf, None, None
        if isinstance(resize, Crops):
            min_visible = resize.min_visible
            enough_visible_px = resize.enough_visible_px or math.inf
            if training:
                offsets = resize.draw(batch_keys, stack.sizes, seed=training.seed, epoch=epoch)
            else:
                pages, offsets = resize.grids(stack.sizes)
                matrices, batch_sizes = matrices[pages], batch_sizes[pages]
            matrices = matrices @ geometry.translations(-offsets)
        if training:
            moves = training.augmentation.matrices(
                batch_keys, batch_sizes.double(), seed=training.seed, epoch=epoch
            )
            matrices = moves @ matrices
            min_visible = max(training.augmentation.min_visible, min_visible)
            if training.augmentation.colours:
                drawn = training.augmentation.colours.draw(
                    batch_keys, seed=training.seed, epoch=epoch
                )
        device = normalisation.device
        return Batch(
            render_inputs(
                stack, matrices, batch_sizes, drawn, pages=pages, normalisation=normalisation
            ),
            box_targets(
                of_batch,
                matrices,
                batch_sizes,
                pages=pages,
                min_visible=min_visible,
                enough_visible_px=enough_visible_px,
                device=device,
            ),
            batch_keys.to(device),
            matrices.float().to(device),
        )

    def show(stack: Stack, view: View) -> Batch:
        plain = assemble(stack, 0)
        if view.is_plain:
            return plain
        assert plain.matrices is not None
        targets: BoxTargets = plain.targets
        view_sizes, matrices = targets.sizes.long().cpu(), plain.matrices.cpu().double()
        pages = None if targets.pages is None else targets.pages.cpu()
        changes = [view.change(1, size=(height, width)) for width, height in view_sizes.tolist()]
        moved = torch.cat([change.matrices for change in changes]) @ matrices
        device = normalisation.device
        return plain._replace(
            inputs=render_view(
                stack, matrices, view_sizes, changes, pages=pages, normalisation=normalisation
            ),
            targets=box_targets(
                targets.annotated,
                moved,
                view_sizes,
                pages=pages,
                min_visible=0.0,
                enough_visible_px=math.inf,
                device=device,
            ),
            matrices=moved.float().to(device),
        )

    canvases = canvas(sizes)
    if training:
        aspects = canvases[:, 0] / canvases[:, 1]
        order = functools.partial(aspect_batches, aspects, seed=training.seed)
    else:
        groups = torch.unique(canvases, dim=0, return_inverse=True)[1]
        order = functools.partial(group_batches, groups)
    return ImageSplit(
        samples=samples, order=order, read=images.batches, assemble=assemble, show=show
    )


def _check_sizes(stack: Stack, samples: Sequence[Annotated]) -> None:
    for sample, (width, height) in zip(samples, stack.sizes.tolist(), strict=True):
        if (width, height) != (sample.width_px, sample.height_px):
            raise ValueError(
                f"{sample.image} must be {sample.width_px}x{sample.height_px} px as annotated, "
                f"got {width}x{height} px"
            )
