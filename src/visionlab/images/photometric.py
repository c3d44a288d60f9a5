"""Changes of colour and sharpness of whole batches; the linear ones combine into one matrix.

A colour matrix acts on (red, green, blue, 1) with pixels in [0, 1]; matrices are (B, 4, 4) float64,
and the first operation is the rightmost factor, as in `geometry.py`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in PIL


def brightness(shifts: Tensor) -> Tensor:
    """Return the matrices that add (B,) shifts to every channel."""
    matrices = _identities(shifts)
    matrices[:, :3, 3] = shifts[:, None]
    return matrices


def contrast(factors: Tensor) -> Tensor:
    """Return the matrices that multiply the distance from the middle grey by (B,) factors."""
    matrices = _identities(factors) * factors[:, None, None]
    matrices[:, :3, 3] = 0.5 * (1.0 - factors[:, None])
    matrices[:, 3, 3] = 1.0
    return matrices


def grey(is_grey: Tensor) -> Tensor:
    """Return the matrices that replace colours by their luma where `is_grey`, (B,) bool, is set."""
    matrices = _identities(is_grey)
    matrices[is_grey, :3, :3] = torch.tensor(LUMA, dtype=torch.float64, device=is_grey.device)
    return matrices


def recolour(images: Tensor, matrices: Tensor, *, normalisation: Tensor) -> Tensor:
    """Return normalised images with changed colours, clipped at black and white.

    Colour change and normalisation are one matrix per image; black and white are normalised too.
    Images are (B, 3, H, W) floating point in [0, 255], `normalisation` is (2, 3), mean and standard
    deviation of pixels in [0, 1].
    """
    mean, std = normalisation
    matrices = matrices.to(images.device)
    linear = (matrices[:, :3, :3] / (255.0 * std[:, None])).to(images.dtype)
    offsets = ((matrices[:, :3, 3] - mean) / std).to(images.dtype)
    with torch.autocast(images.device.type, enabled=False):  # bfloat16 has fewer than 256 levels
        moved = torch.baddbmm(offsets[:, :, None], linear, images.flatten(2)).view_as(images)
    black, white = (((level - mean) / std)[:, None, None] for level in (0.0, 1.0))
    torch.maximum(moved, black, out=moved)  # clamp_ takes four times as long with tensors
    return torch.minimum(moved, white, out=moved)


def blur(images: Tensor, kernel_px: Tensor) -> Tensor:
    """Return images blurred by Gaussians of (B,) odd widths; 1 leaves an image as it is.

    The standard deviation is half the width, rounded down. The border is mirrored.
    """
    blurred = images
    for width in sorted(set(kernel_px.tolist()) - {1}):
        rows = (kernel_px == width).nonzero()[:, 0].to(images.device)
        if blurred is images:
            blurred = images.clone()
        blurred[rows] = _blur(images[rows], int(width))
    return blurred


def _blur(images: Tensor, width: int) -> Tensor:
    """Return images blurred along one axis after the other, as sums of shifted images."""
    places = torch.arange(width) - width // 2
    kernel = torch.exp(-0.5 * (places / (width // 2)) ** 2)
    weights = (kernel / kernel.sum()).tolist()
    pad = width // 2
    for axis in (2, 3):
        border = (pad, pad, 0, 0) if axis == 3 else (0, 0, pad, pad)
        padded, length = F.pad(images, border, mode="reflect"), images.shape[axis]
        images = sum(
            padded.narrow(axis, start, length) * weight for start, weight in enumerate(weights)
        )
    return images


def _identities(like: Tensor) -> Tensor:
    eye = torch.eye(4, dtype=torch.float64, device=like.device)
    return eye.expand(len(like), 4, 4).clone()
