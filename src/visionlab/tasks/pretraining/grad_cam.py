"""Boxes of objects found by a pretrained encoder: where an image differs from others."""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from visionlab.core import geometry, seeding
from visionlab.core.checks import LARGEST_FACTOR, check_at_least, check_range
from visionlab.images.decoding import Images as Decoder
from visionlab.images.decoding import find_readable
from visionlab.images.normalise import normalisation_tensor, normalise, to_pixels
from visionlab.images.rendering import square_images
from visionlab.images.sources import StoredImage
from visionlab.tasks.pretraining.datasets.images import Images
from visionlab.tasks.pretraining.object_boxes import Box, write_boxes
from visionlab.tasks.pretraining.pictures import draw_boxes

_SEED = seeding.derive(0, "other images")
_NUM_DRAWN = 32


@dataclass(frozen=True, kw_only=True)
class GradCamBoxes:
    """Writer of boxes around the parts of images by which an encoder tells them from others.

    Grad-CAM (arXiv 1610.02391, section 3) of a contrastive score on the last feature map. The score
    of an image is low if its projection resembles those of others: minus the log of the sum of
    exp(cosine / temperature) over them. InfoNCE with the image as its own key has the same
    gradient, up to a factor. Images are stretched to squares, which show all of them.

    Attributes:
        num_others: images drawn from the data set that all images are compared with.
        temperature: by which cosines are divided.
        threshold: boxes enclose the connected parts of the map above this share of its maximum.
        min_area: smaller boxes are left out, as a share of the image.
    """

    num_others: int
    temperature: float
    threshold: float
    min_area: float

    def __post_init__(self) -> None:
        check_at_least(self, 1, "num_others")
        check_range(self, f"[0.001, {LARGEST_FACTOR}]", "temperature")
        check_range(self, "[0, 1)", "threshold", "min_area")

    def __call__(
        self,
        encoder: nn.Module,
        dataset: Any,
        path: Path,
        *,
        batch_size: int,
        check: Callable[[], None],
    ) -> None:
        """Write the boxes of all images of a data set, and `<path stem>.png` with some of them.

        Args:
            encoder: a backbone with feature maps, and a head.
            dataset: image files.
            path: the file.
            batch_size: images of a forward pass.
            check: called between batches; may raise to end the search.

        Raises:
            ValueError: the data set has no image files, or the backbone no feature map.
        """
        if not isinstance(dataset, Images):
            kind = type(dataset).__name__
            raise ValueError(
                f"boxes must be null but for dataset=images of pretraining, got {kind}"
            )
        names, sources = _files(dataset)
        device = next(encoder.parameters()).device
        normalisation = normalisation_tensor(dataset, num_channels=3).to(device)
        inputs = functools.partial(
            _inputs,
            square_images(sources, size_px=dataset.size_px, num_workers=dataset.num_workers),
            batch_size=batch_size,
            size_px=dataset.size_px,
            normalisation=normalisation,
            check=check,
        )
        encoder.eval()
        order = seeding.permutation(len(names), seed=_SEED)
        others = _projections(encoder, inputs(order[: self.num_others].sort().values))
        found = self._boxes(encoder, inputs(torch.arange(len(names))), others)
        boxes = dict(zip(names, chain(*found), strict=True))
        write_boxes(path, boxes)
        rows = torch.linspace(0, len(names) - 1, min(_NUM_DRAWN, len(names))).long()
        pixels = to_pixels(torch.cat(list(inputs(rows))), normalisation=normalisation)
        draw_boxes(path.with_suffix(".png"), pixels, [boxes[names[row]] for row in rows.tolist()])

    def _boxes(
        self, encoder: nn.Module, batches: Iterable[Tensor], others: Tensor
    ) -> Iterator[list[list[Box]]]:
        for images in batches:
            maps = contrast_maps(encoder, images, others, temperature=self.temperature)
            yield [
                boxes_of(each, threshold=self.threshold, min_area=self.min_area)
                for each in maps.cpu().numpy()
            ]


def contrast_maps(
    encoder: nn.Module, images: Tensor, others: Tensor, *, temperature: float
) -> Tensor:
    """Return the Grad-CAM of the contrast of images (B, 3, H, W) with others, (B, H, W), >= 0.

    `others` are projections of length 1, (K, dim). The map is enlarged bicubically.

    Raises:
        ValueError: the backbone has no feature map (B, num_features, h, w).
    """
    backbone: Any = encoder.backbone
    with torch.no_grad():
        maps = getattr(backbone, "forward_features", backbone)(images)
    if maps.ndim != 4 or maps.shape[1] != backbone.num_features:
        raise ValueError(
            "boxes must be null for a backbone without feature maps of "
            f"{backbone.num_features} channels, got {type(backbone).__name__}"
        )
    with torch.enable_grad():
        maps.requires_grad_()
        queries = _unit(encoder.head(backbone.forward_head(maps)))  # type: ignore[operator]
        score = -torch.logsumexp(queries @ others.T / temperature, dim=1)
        (slopes,) = torch.autograd.grad(score.sum(), maps)
    weights = slopes.mean(dim=(2, 3), keepdim=True)
    found = (weights * maps.detach()).sum(dim=1, keepdim=True).relu()
    size = images.shape[2:]
    return F.interpolate(found, size=size, mode="bicubic", align_corners=False)[:, 0].relu()


def boxes_of(heat: NDArray[np.float32], *, threshold: float, min_area: float) -> list[Box]:
    """Return boxes around the connected parts of a map (H, W) >= 0 above a share of its maximum.

    Parts that touch at a corner are connected. Boxes have at least the area `min_area`, all as
    shares of the map.
    """
    height, width = heat.shape
    parts, _ = ndimage.label(heat > threshold * heat.max(), structure=np.ones((3, 3)))
    boxes = [
        (across.start / width, down.start / height, across.stop / width, down.stop / height)
        for down, across in ndimage.find_objects(parts)
    ]
    return [box for box in boxes if (box[2] - box[0]) * (box[3] - box[1]) >= min_area]


def _files(dataset: Images) -> tuple[list[str], list[StoredImage]]:
    """Return names and files of all images of a data set, as it reads them."""
    images = [image for part in dataset.find_parts().values() for image in part]
    if dataset.skip_unreadable:
        rows, _ = find_readable([image.source for image in images], num_workers=dataset.num_workers)
        images = [images[row] for row in rows]
    return [str(image.name) for image in images], [image.source for image in images]


def _inputs(
    decoder: Decoder,
    rows: Tensor,
    *,
    batch_size: int,
    size_px: int,
    normalisation: Tensor,
    check: Callable[[], None],
) -> Iterator[Tensor]:
    """Yield images, stretched to squares, in batches (B, 3, size_px, size_px)."""
    for stack in decoder.batches(torch.split(rows, batch_size)):
        check()
        matrices = geometry.scalings(size_px / stack.sizes.double()) @ stack.enlargements()
        images = stack.images(normalisation.device)
        pixels, _ = geometry.sample(images, matrices, size=(size_px, size_px))
        yield normalise(pixels, normalisation)


@torch.no_grad()
def _projections(encoder: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """Return the projections of images, of length 1, (K, dim)."""
    return torch.cat([_unit(encoder(images).projections) for images in batches])


def _unit(rows: Tensor) -> Tensor:
    return F.normalize(rows.float(), dim=1)
