"""Random colours and sharpness of an image, which depend on (seed, epoch, key) alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from visionlab.core import seeding
from visionlab.core.checks import LARGEST_FACTOR, check_factors, check_range
from visionlab.images import photometric
from visionlab.images.jitter import Jitter, colour_matrices, gaussian_blur

_STRENGTHS = ("brightness", "contrast", "saturation")
# disabling a change does not shift the others
_DRAWS = ("jitter", *_STRENGTHS, "hue", "order", "grey", "blur", "sigma")


class Drawn(NamedTuple):
    """Changes of some images.

    Attributes:
        jitter: (B,) each.
        is_grey: (B,) bool.
        sigmas_px: (B,) of the blur in input pixels; 0 is none.
    """

    jitter: Jitter
    is_grey: Tensor
    sigmas_px: Tensor

    def of(self, row: int) -> "Drawn":
        """Return the changes of one image."""
        rows = slice(row, row + 1)
        jitter = Jitter(*(each[rows] for each in self.jitter))
        return Drawn(jitter, self.is_grey[rows], self.sigmas_px[rows])


@dataclass(frozen=True, kw_only=True)
class Colours:
    """Colour jitter, grey and blur, as in MoCo v2 (arXiv 2003.04297, section 3).

    Attributes:
        jitter_prob: probability of changing brightness, contrast, saturation and hue together, in
            random order.
        brightness: factors are uniform in [1 - brightness, 1 + brightness], but at least 0.
        contrast: likewise.
        saturation: likewise.
        hue: maximum turn of the hue in either direction, of a whole turn.
        grey_prob: probability of removing colour.
        blur_prob: probability of a Gaussian blur.
        blur_sigma_px: its least and largest standard deviation, uniform, in input pixels.
    """

    jitter_prob: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    grey_prob: float
    blur_prob: float
    blur_sigma_px: Sequence[float]

    def __post_init__(self) -> None:
        check_range(self, "[0, 1]", "jitter_prob", "grey_prob", "blur_prob")
        check_range(self, f"[0, {LARGEST_FACTOR}]", *_STRENGTHS)
        check_range(self, "[0, 0.5]", "hue")
        check_factors(self, "blur_sigma_px")

    def draw(self, keys: Tensor, *, seed: int, epoch: int) -> Drawn:
        """Return the changes of images with keys (B,) in an epoch counted from 0."""
        purpose = seeding.derive(seed, "colours", epoch)
        numbers = seeding.uniform(keys, seed=purpose, num_draws=len(_DRAWS)).double()
        draws = dict(zip(_DRAWS, numbers.unbind(1), strict=True))
        is_changed = draws["jitter"] < self.jitter_prob
        factors = {
            name: torch.where(is_changed, _factors(getattr(self, name), draws[name]), 1.0)
            for name in _STRENGTHS
        }
        turns = torch.where(is_changed, self.hue * (2.0 * draws["hue"] - 1.0), 0.0)
        least, largest = self.blur_sigma_px
        sigmas = least + (largest - least) * draws["sigma"]
        return Drawn(
            jitter=Jitter(**factors, hue=turns, order=draws["order"]),
            is_grey=draws["grey"] < self.grey_prob,
            sigmas_px=torch.where(draws["blur"] < self.blur_prob, sigmas, 0.0),
        )


def recolour(pixels: Tensor, drawn: Drawn, *, normalisation: Tensor) -> Tensor:
    """Return pixels (B, 3, H, W) in [0, 255] with changed colours, normalised, float32."""
    pixels = pixels.float()
    matrices = colour_matrices(drawn.jitter, pixels.mean(dim=(2, 3)) / 255.0)
    matrices = photometric.grey(drawn.is_grey.to(matrices.device)) @ matrices
    return photometric.recolour(pixels, matrices, normalisation=normalisation)


def blur(images: Tensor, drawn: Drawn) -> Tensor:
    """Return images (B, C, H, W) with the drawn blur."""
    return gaussian_blur(images, drawn.sigmas_px)


def _factors(strength: float, draws: Tensor) -> Tensor:
    least, largest = max(0.0, 1.0 - strength), 1.0 + strength
    return least + (largest - least) * draws
