"""Augmentation for contrastive learning: one matrix and one colour matrix a view.

It depends on (seed, epoch, view, key) of a sample alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from visionlab.core import geometry, seeding
from visionlab.core.checks import check_factors, check_range
from visionlab.images.colours import Colours, Drawn

_TRIES = 10  # as torchvision
_DRAWS = (
    *(f"area_{number}" for number in range(_TRIES)),
    *(f"ratio_{number}" for number in range(_TRIES)),
    *("left", "top", "flip"),
)


class Draws(NamedTuple):
    """Random numbers of a view of some samples.

    Attributes:
        places: of crop and flip, (B,) in [0, 1) each, by name.
        colours: changes of the colours.
    """

    places: Mapping[str, Tensor]
    colours: Drawn


@dataclass(frozen=True, kw_only=True)
class ViewAugment:
    """A random crop enlarged to the size of the input, flip, colour jitter, grey and blur.

    MoCo v2 (arXiv 2003.04297, section 3) and SimCLR (arXiv 2002.05709, appendix A). Deviation: the
    crop is sampled bilinearly, without a filter where it shrinks an image by less than 2.

    Attributes:
        crop_area: least and largest area of the crop as shares of the image.
        crop_ratio: least and largest width over height of the crop, log-uniform.
        flip_prob: probability of swapping left and right.
        colours: jitter, grey and blur of a view.
    """

    crop_area: Sequence[float]
    crop_ratio: Sequence[float]
    flip_prob: float
    colours: Colours

    def __post_init__(self) -> None:
        check_factors(self, "crop_area", "crop_ratio")
        if self.crop_area[1] > 1.0:
            raise ValueError(f"crop_area must be shares <= 1, got {list(self.crop_area)}")
        check_range(self, "[0, 1]", "flip_prob")

    def draw(self, keys: Tensor, *, seed: int, epoch: int, view: int) -> Draws:
        """Return the random numbers of a view of samples with keys (B,)."""
        purpose = seeding.derive(seed, "view", view)
        seed_of_places = seeding.derive(purpose, "places", epoch)
        numbers = seeding.uniform(keys, seed=seed_of_places, num_draws=len(_DRAWS))
        return Draws(
            places=dict(zip(_DRAWS, numbers.unbind(1), strict=True)),
            colours=self.colours.draw(keys, seed=purpose, epoch=epoch),
        )

    def matrices(self, draws: Draws, regions: Tensor, *, size_px: int) -> Tensor:
        """Return crop and flip as matrices, (B, 3, 3) float64, sample to input pixels.

        Regions are (B, 4), x1, y1, x2, y2 in pixels, the boxes of the samples that are cropped.
        """
        places, ends = regions.double().tensor_split(2, dim=1)
        corners, sides = self.crops(draws, ends - places)
        scale = geometry.scalings(size_px / sides) @ geometry.translations(-(places + corners))
        lengths = torch.full((len(regions),), size_px, device=regions.device)
        return geometry.flips(draws.places["flip"] < self.flip_prob, lengths, axis=0) @ scale

    def crops(self, draws: Draws, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Return corners (x, y) and sides (width, height) of the crops, (B, 2) whole pixels each.

        torchvision's `RandomResizedCrop`: the first of ten crops that fits, or else the largest
        central one of a ratio within `crop_ratio`.
        """
        sizes = sizes.double()
        areas, ratios = (
            torch.stack(
                [draws.places[f"{name}_{number}"] for number in range(_TRIES)], dim=1
            ).double()
            for name in ("area", "ratio")
        )
        areas = _between(self.crop_area, areas) * sizes.prod(dim=1, keepdim=True)
        ratios = _between([math.log(each) for each in self.crop_ratio], ratios).exp()
        tried = torch.stack([(areas * ratios).sqrt(), (areas / ratios).sqrt()], dim=2).round()
        fits = ((tried >= 1.0) & (tried <= sizes[:, None])).all(dim=2)
        first = fits.to(torch.int8).argmax(dim=1)
        sides = tried[torch.arange(len(sizes), device=sizes.device), first]
        places = torch.stack([draws.places["left"], draws.places["top"]], dim=1).double()
        corners = (places * (sizes - sides + 1.0)).floor()
        central = self._central(sizes)
        any_fits = fits.any(dim=1, keepdim=True)
        middle = ((sizes - central) / 2.0).floor()
        return torch.where(any_fits, corners, middle), torch.where(any_fits, sides, central)

    def _central(self, sizes: Tensor) -> Tensor:
        """Return the sides of the largest crops of a ratio within bounds, (B, 2) whole pixels."""
        narrow, wide = self.crop_ratio
        width, height = sizes.unbind(1)
        return torch.stack(
            [
                torch.minimum(width, (height * wide).round()),
                torch.minimum(height, (width / narrow).round()),
            ],
            dim=1,
        ).clamp(min=1.0)


def _between(interval: Sequence[float], draws: Tensor) -> Tensor:
    """Map numbers in [0, 1) to an interval."""
    least, largest = interval
    return least + (largest - least) * draws
