"""Augmentation of images with boxes: one matrix and one colour matrix per image.

It depends on (seed, epoch, key) of a sample alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from visionlab.core import boxes as box_arithmetic
from visionlab.core import geometry, seeding
from visionlab.core.checks import check_factors, check_range
from visionlab.images.colours import Colours

# flip, vertical flip, scale, x, y, rotation: disabling one does not shift the others
NUM_DRAWS = 6


@dataclass(frozen=True, kw_only=True)
class BoxAugment:
    """Flips, rotation, scale jitter with a random crop or placement, and colours.

    The size of the image stays: an enlarged image is cropped at a random position, a reduced one is
    placed at a random position.

    Attributes:
        flip_prob: probability of mirroring left and right.
        vertical_flip_prob: probability of mirroring top and bottom.
        scale: least and largest scale factor, log-uniform.
        rotation_degrees: maximum rotation about the centre, in either direction; a box becomes the
            upright box around the rotated one, so it grows.
        min_visible: a box is dropped if less than this share of its area stays in the image.
        colours: settings of colour jitter, grey and blur; None leaves colours alone.
    """

    flip_prob: float
    vertical_flip_prob: float
    scale: Sequence[float]
    rotation_degrees: float
    min_visible: float
    colours: Colours | None

    def __post_init__(self) -> None:
        check_range(self, "[0, 1]", "flip_prob", "vertical_flip_prob", "min_visible")
        check_factors(self, "scale")
        check_range(self, "[0, 180]", "rotation_degrees")

    def matrices(self, keys: Tensor, sizes: Tensor, *, seed: int, epoch: int) -> Tensor:
        """Return the matrix of each image in an epoch counted from 0, (B, 3, 3) float64.

        Keys are (B,) int64, sizes (B, 2) float64, width and height of the images.
        """
        purpose = seeding.derive(seed, "augment", epoch)
        draws = seeding.uniform(keys, seed=purpose, num_draws=NUM_DRAWS).double()
        flip = geometry.flips(draws[:, 0] < self.flip_prob, sizes[:, 0], axis=0)
        flip = geometry.flips(draws[:, 1] < self.vertical_flip_prob, sizes[:, 1], axis=1) @ flip
        turn = geometry.about(
            geometry.rotations((2 * draws[:, 5] - 1) * self.rotation_degrees), sizes / 2
        )
        least, largest = self.scale
        factors = (least * (largest / least) ** draws[:, 2])[:, None].expand(-1, 2)
        place = geometry.translations(draws[:, 3:5] * (sizes - factors * sizes))
        return place @ geometry.scalings(factors) @ turn @ flip


def keep_visible(
    boxes: Tensor, sizes: Tensor, *, min_visible: float, enough_visible_px: float
) -> tuple[Tensor, Tensor]:
    """Return boxes (B, K, 4) clipped to their images, and which of them are kept, (B, K) bool.

    A box is kept if its area inside its image, of sizes (B, 2) as width and height, is above 0, and
    at least the share `min_visible` of the box or `enough_visible_px` square pixels.
    """
    inside = box_arithmetic.clip(boxes, sizes)
    left, whole = box_arithmetic.areas(inside), box_arithmetic.areas(boxes)
    return inside, (left > 0) & ((left >= min_visible * whole) | (left >= enough_visible_px))
