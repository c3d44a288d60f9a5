"""Augmentation for contrastive learning: one matrix and one colour matrix a view.

It depends on (seed, epoch, view, key) of a sample alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.core import geometry, seeding
from visionlab.core.checks import LARGEST_FACTOR, check_factors, check_range
from visionlab.images import photometric
from visionlab.images.jitter import Jitter, colour_matrices, gaussian_blur

_TRIES = 10  # as torchvision
_JITTER = ("brightness", "contrast", "saturation")
_PROBS = ("flip_prob", "jitter_prob", "grey_prob", "blur_prob")
_DRAWS = (  # disabling a change does not shift the others
    *(f"area_{number}" for number in range(_TRIES)),
    *(f"ratio_{number}" for number in range(_TRIES)),
    *("left", "top", "flip", "jitter", *_JITTER, "hue", "order", "grey", "blur", "sigma"),
)
Draws = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class ViewAugment:
    """A random crop enlarged to the size of the input, flip, colour jitter, grey and blur.

    MoCo v2 (arXiv 2003.04297, section 3) and SimCLR (arXiv 2002.05709, appendix A). Deviation: the
    crop is sampled bilinearly, without a filter where it shrinks an image by less than 2.

    Attributes:
        crop_area: least and largest area of the crop as shares of the image.
        crop_ratio: least and largest width over height of the crop, log-uniform.
        flip_prob: probability of swapping left and right.
        jitter_prob: probability of changing brightness, contrast, saturation and hue together, in
            random order.
        brightness: factors are uniform in [1 - brightness, 1 + brightness], but at least 0.
        contrast: likewise.
        saturation: likewise.
        hue: maximum turn of the hue in either direction, of a whole turn.
        grey_prob: probability of removing colour.
        blur_prob: probability of a Gaussian blur.
        blur_sigma_px: its least and largest standard deviation, uniform.
    """

    crop_area: Sequence[float]
    crop_ratio: Sequence[float]
    flip_prob: float
    jitter_prob: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    grey_prob: float
    blur_prob: float
    blur_sigma_px: Sequence[float]

    def __post_init__(self) -> None:
        check_factors(self, "crop_area", "crop_ratio", "blur_sigma_px")
        if self.crop_area[1] > 1.0:
            raise ValueError(f"crop_area must be shares <= 1, got {list(self.crop_area)}")
        check_range(self, "[0, 1]", *_PROBS)
        check_range(self, f"[0, {LARGEST_FACTOR}]", *_JITTER)
        check_range(self, "[0, 0.5]", "hue")

    def draw(self, keys: Tensor, *, seed: int, epoch: int, view: int) -> Draws:
        """Return the random numbers of a view of samples with keys (B,), (B,) in [0, 1) each."""
        purpose = seeding.derive(seed, "view", epoch, view)
        numbers = seeding.uniform(keys, seed=purpose, num_draws=len(_DRAWS))
        return dict(zip(_DRAWS, numbers.unbind(1), strict=True))

    def matrices(self, draws: Draws, regions: Tensor, *, size_px: int) -> Tensor:
        """Return crop and flip as matrices, (B, 3, 3) float64, sample to input pixels.

        Regions are (B, 4), x1, y1, x2, y2 in pixels, the boxes of the samples that are cropped.
        """
        places, ends = regions.double().tensor_split(2, dim=1)
        corners, sides = self.crops(draws, ends - places)
        scale = geometry.scalings(size_px / sides) @ geometry.translations(-(places + corners))
        lengths = torch.full((len(regions),), size_px, device=regions.device)
        return geometry.flips(draws["flip"] < self.flip_prob, lengths, axis=0) @ scale

    def crops(self, draws: Draws, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Return corners (x, y) and sides (width, height) of the crops, (B, 2) whole pixels each.

        torchvision's `RandomResizedCrop`: the first of ten crops that fits, or else the largest
        central one of a ratio within `crop_ratio`.
        """
        sizes = sizes.double()
        areas, ratios = (
            torch.stack([draws[f"{name}_{number}"] for number in range(_TRIES)], dim=1).double()
            for name in ("area", "ratio")
        )
        areas = _between(self.crop_area, areas) * sizes.prod(dim=1, keepdim=True)
        ratios = _between([math.log(each) for each in self.crop_ratio], ratios).exp()
        tried = torch.stack([(areas * ratios).sqrt(), (areas / ratios).sqrt()], dim=2).round()
        fits = ((tried >= 1.0) & (tried <= sizes[:, None])).all(dim=2)
        first = fits.to(torch.int8).argmax(dim=1)
        sides = tried[torch.arange(len(sizes), device=sizes.device), first]
        places = torch.stack([draws["left"], draws["top"]], dim=1).double()
        corners = (places * (sizes - sides + 1.0)).floor()
        central = self._central(sizes)
        any_fits = fits.any(dim=1, keepdim=True)
        middle = ((sizes - central) / 2.0).floor()
        return torch.where(any_fits, corners, middle), torch.where(any_fits, sides, central)

    def recolour(self, pixels: Tensor, draws: Draws, *, normalisation: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) float in [0, 255], with other colours, normalised, blurred."""
        means = pixels.mean(dim=(2, 3)) / 255.0
        matrices = colour_matrices(self._jitter(draws), means)
        matrices = photometric.grey(draws["grey"] < self.grey_prob).to(matrices.device) @ matrices
        images = photometric.recolour(pixels, matrices, normalisation=normalisation)
        sigmas = _between(self.blur_sigma_px, draws["sigma"])
        return gaussian_blur(images, sigmas * (draws["blur"] < self.blur_prob))

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

    def _jitter(self, draws: Draws) -> Jitter:
        made = (draws["jitter"] < self.jitter_prob).double()
        factors = {}
        for name in _JITTER:
            strength: float = getattr(self, name)
            factor = _between((max(0.0, 1.0 - strength), 1.0 + strength), draws[name].double())
            factors[name] = 1.0 + made * (factor - 1.0)
        hue = made * _between((-self.hue, self.hue), draws["hue"].double())
        return Jitter(**factors, hue=hue, order=draws["order"])


def _between(interval: Sequence[float], draws: Tensor) -> Tensor:
    """Map numbers in [0, 1) to an interval."""
    least, largest = interval
    return least + (largest - least) * draws
