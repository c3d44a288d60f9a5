"""Augmentation of images with points: one matrix and one colour matrix per image.

It depends on (seed, epoch, key) of a sample alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from visionlab.core import geometry, seeding
from visionlab.core.checks import check_choice, check_factors, check_range
from visionlab.images import photometric
from visionlab.images.rendering import Change

Choose = Literal["each", "one"]
_CHANGES = ("affine", "crop", "mirror", "bars", "colour", "grey", "blur")
_PROBS = tuple(f"{change}_prob" for change in _CHANGES)
_VALUES = (
    *("rotation", "scale", "stretch", "shift_x", "shift_y", "crop", "crop_x", "crop_y"),
    *("bars_place", "bars_first", "bars_last", "brightness", "contrast", "blur"),
)
_DRAWS = ("choice", *_CHANGES, *_VALUES)  # disabling a change does not shift the others


@dataclass(frozen=True, kw_only=True)
class PointAugment:
    """Affine moves, crops, mirroring, black bars, brightness and contrast, grey, and blur.

    Changes are made in the order of the attributes; moves are about the centre of the image.

    Attributes:
        choose: `each` makes every change independently with its probability; `one` makes at most
            one of them, with these probabilities.
        affine_prob: probability of rotation, scale, stretch and shift together.
        rotation_degrees: maximum rotation in either direction, uniform.
        scale: least and largest factor, uniform.
        stretch: least and largest ratio of the factors of x and y, log-uniform.
        shift: maximum shift along x and along y as a share of the side, uniform.
        crop_prob: probability of cropping a square that is enlarged to the size of the image.
        crop_min_scale: minimum side of the crop as a share of the side, uniform up to 1.
        mirror_prob: probability of swapping left and right; the data set must define how points are
            permuted.
        bars_prob: probability of black bars, above and below or left and right.
        bars_max: maximum width of a bar as a share of the side.
        colour_prob: probability of changing brightness and contrast together.
        brightness: maximum change of pixels in [0, 1], uniform.
        contrast: maximum relative change of differences from middle grey, uniform.
        grey_prob: probability of removing colour.
        blur_prob: probability of a Gaussian blur.
        blur_px: widths of its kernel, odd, equally probable; 1 is no blur.
    """

    choose: Choose
    affine_prob: float
    rotation_degrees: float
    scale: Sequence[float]
    stretch: Sequence[float]
    shift: float
    crop_prob: float
    crop_min_scale: float
    mirror_prob: float
    bars_prob: float
    bars_max: float
    colour_prob: float
    brightness: float
    contrast: float
    grey_prob: float
    blur_prob: float
    blur_px: Sequence[int]

    def __post_init__(self) -> None:
        check_choice(self, get_args(Choose), "choose")
        check_range(self, "[0, 1]", *_PROBS)
        total = sum(getattr(self, name) for name in _PROBS)
        if self.choose == "one" and total > 1.0 + 1e-9:
            raise ValueError(
                f"the probabilities must add up to at most 1 with choose=one, got {total:g}"
            )
        check_factors(self, "scale", "stretch")
        check_range(self, "[0, 180]", "rotation_degrees")
        check_range(self, "[0, 0.5]", "bars_max")
        check_range(self, "[0, 1]", "shift", "brightness", "contrast")
        check_range(self, "(0, 1]", "crop_min_scale")
        if not self.blur_px or not all(width > 0 and width % 2 for width in self.blur_px):
            raise ValueError(f"blur_px must be odd numbers >= 1, got {list(self.blur_px)}")

    def __call__(self, keys: Tensor, *, size_px: int, seed: int, epoch: int) -> Change:
        """Return the augmentation of samples with keys (B,) in an epoch, counted from 0."""
        purpose = seeding.derive(seed, "augment", epoch)
        numbers = seeding.uniform(keys, seed=purpose, num_draws=len(_DRAWS))
        draws = dict(zip(_DRAWS, numbers.unbind(1), strict=True))
        made = self._made(draws)
        return Change(
            matrices=self._matrices(draws, made, size_px),
            bars=self._bars(draws, made),
            colours=self._colours(draws, made),
            blur_px=self._blur(draws, made),
        )

    def _made(self, draws: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return whether each change is made, (B,) bool."""
        if self.choose == "each":
            return {change: draws[change] < getattr(self, f"{change}_prob") for change in _CHANGES}
        made, end = {}, 0.0
        for change in _CHANGES:
            start, end = end, end + getattr(self, f"{change}_prob")
            made[change] = (draws["choice"] >= start) & (draws["choice"] < end)
        return made

    def _matrices(self, draws: dict[str, Tensor], made: dict[str, Tensor], size_px: int) -> Tensor:
        affine = made["affine"].double()
        sides = torch.full((len(affine), 2), float(size_px), dtype=torch.float64)
        turn = geometry.rotations(affine * self.rotation_degrees * _signed(draws["rotation"]))
        least, largest = self.scale
        scale = 1.0 + affine * (least + (largest - least) * draws["scale"].double() - 1.0)
        narrow, wide = (math.log(ratio) for ratio in self.stretch)
        stretch = 0.5 * affine * (narrow + (wide - narrow) * draws["stretch"].double())
        factors = torch.stack([scale * stretch.exp(), scale * (-stretch).exp()], dim=1)
        shifts = torch.stack([_signed(draws["shift_x"]), _signed(draws["shift_y"])], dim=1)
        moves = geometry.translations(affine[:, None] * self.shift * sides * shifts)
        moves = moves @ geometry.about(geometry.scalings(factors) @ turn, sides / 2)
        share = 1.0 - made["crop"] * (1.0 - self.crop_min_scale) * draws["crop"].double()
        corners = torch.stack([draws["crop_x"], draws["crop_y"]], dim=1).double()
        corners = corners * (1.0 - share[:, None]) * sides
        window = geometry.scalings((1.0 / share)[:, None].expand(-1, 2))
        window = window @ geometry.translations(-corners)
        return geometry.flips(made["mirror"], sides[:, 0], axis=0) @ window @ moves

    def _bars(self, draws: dict[str, Tensor], made: dict[str, Tensor]) -> Tensor:
        across = draws["bars_place"] < 0.5  # left and right; else above and below
        first, last = (
            made["bars"] * self.bars_max * draws[name] for name in ("bars_first", "bars_last")
        )
        return torch.stack([first * across, first * ~across, last * across, last * ~across], dim=1)

    def _colours(self, draws: dict[str, Tensor], made: dict[str, Tensor]) -> Tensor:
        shifts = made["colour"] * self.brightness * _signed(draws["brightness"]).float()
        factors = 1.0 + made["colour"] * self.contrast * _signed(draws["contrast"]).float()
        changed = photometric.contrast(factors) @ photometric.brightness(shifts)
        return photometric.grey(made["grey"]) @ changed

    def _blur(self, draws: dict[str, Tensor], made: dict[str, Tensor]) -> Tensor:
        widths = torch.tensor(list(self.blur_px))
        chosen = widths[(draws["blur"] * len(widths)).long()]
        return torch.where(made["blur"], chosen, 1)


def _signed(draws: Tensor) -> Tensor:
    """Map numbers in [0, 1) to [-1, 1)."""
    return 2.0 * draws.double() - 1.0
