"""Images with boxes in batches: workers decode, the training device moves and resamples."""

import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageFile
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from visionlab import geometry, seeding
from visionlab.data.augment import normalise
from visionlab.data.batching import aspect_batches, equal_batches, num_batches
from visionlab.data.box_augment import BoxAugment, keep_visible
from visionlab.data.resize import Resize, padded
from visionlab.data.workers import Workers
from visionlab.outputs import Annotated, BoxTargets
from visionlab.task import Batch

PAD_MULTIPLE_PX = 32  # the stride of a backbone's last stage


class _Pixels(NamedTuple):
    """A decoded image, (3, H, W) uint8, smaller than the file by `factor`, or what is wrong."""

    row: int
    image: Tensor
    factor: int
    problem: str


class _Stack(NamedTuple):
    """The images of a batch, one after the other in one tensor."""

    rows: Tensor
    flat: Tensor
    shapes: list[torch.Size]
    factors: list[int]
    problems: list[str]


class BoxSplit:
    """Images with boxes in batches.

    An image larger than the model sees it, at the middle of the augmentation's scales, is first
    made smaller by a whole factor, each pixel the mean of a square; what remains, with all
    augmentation, is one matrix and one bilinear sampling.
    Images lie in the upper left corner of the batch's canvas, whose sides are the next multiples of
    32; the rest is 0, the mean colour.

    In training, images of like shape share a batch, others every epoch. Without a seed all images
    of a batch have equal canvases, so that no result depends on what else is in the batch.

    Args:
        samples: the images and their boxes.
        resize: how large the model sees them.
        normalisation: (2, 3) float32, mean and standard deviation, on the training device.
        augmentation: what is done to each image, or None.
        seed: of order and augmentation, or None for a fixed order.
        num_workers: decoding processes; 0 decodes in this one.
    """

    def __init__(
        self,
        *,
        samples: Sequence[Annotated],
        resize: Resize,
        normalisation: Tensor,
        augmentation: BoxAugment | None,
        seed: int | None,
        num_workers: int,
    ) -> None:
        if augmentation is not None and seed is None:
            raise ValueError("seed must be given where there is augmentation, got None")
        self._samples = samples
        self._normalisation = normalisation
        self._augmentation = augmentation
        self._seed = seed
        sides = [(sample.width_px, sample.height_px) for sample in samples]
        self._scales = [resize.scale(width_px=width, height_px=height) for width, height in sides]
        self._sizes = [resize.size(width_px=width, height_px=height) for width, height in sides]
        self._canvases = torch.tensor([_canvas(size) for size in self._sizes])
        middle = 1.0 if augmentation is None else math.sqrt(math.prod(augmentation.scale))
        factors = [max(1, int(1.0 / (scale * middle) + 1e-6)) for scale in self._scales]
        images = [sample.image for sample in samples]
        self._workers = Workers(
            functools.partial(_read, images, sides, factors),
            num_rows=len(samples),
            stack=_stack,
            num_workers=num_workers,
        )

    def __len__(self) -> int:
        return len(self._samples)

    def num_batches(self, batch_size: int) -> int:
        """Return how many batches one epoch has."""
        if self._seed is None:
            return len(self._plain_batches(batch_size))
        return num_batches(len(self), batch_size)

    def batches(self, *, batch_size: int, epoch: int, first_batch: int) -> Iterator[Batch]:
        """Yield batches with inputs (B, 3, H, W) float32 and targets `BoxTargets`.

        Raises:
            ValueError: a file cannot be decoded, or has another size than annotated.
        """
        if self._seed is None:
            rows = iter(self._plain_batches(batch_size)[first_batch:])
        else:
            rows = aspect_batches(
                self._canvases[:, 0] / self._canvases[:, 1],
                batch_size=batch_size,
                first_batch=first_batch,
                order_seed=seeding.derive(self._seed, "order", epoch),
            )
        for stack in self._workers.batches(rows):
            if stack.problems:
                raise ValueError(stack.problems[0])
            yield self._batch(stack, epoch)

    def _plain_batches(self, batch_size: int) -> list[Tensor]:
        groups = torch.unique(self._canvases, dim=0, return_inverse=True)[1]
        return equal_batches(groups, batch_size=batch_size)

    def _batch(self, stack: _Stack, epoch: int) -> Batch:
        device = self._normalisation.device
        numbers = stack.rows.tolist()
        samples = [self._samples[row] for row in numbers]
        keys = torch.tensor([sample.key for sample in samples])
        sizes = torch.tensor([self._sizes[row] for row in numbers], dtype=torch.float64)
        scales = torch.tensor([self._scales[row] for row in numbers], dtype=torch.float64)
        matrices = geometry.scalings(scales[:, None].expand(-1, 2))
        min_visible = 0.0
        if self._augmentation is not None and self._seed is not None:
            moves = self._augmentation.matrices(keys, sizes, seed=self._seed, epoch=epoch)
            matrices = moves @ matrices
            min_visible = self._augmentation.min_visible
        return Batch(
            self._inputs(stack, matrices),
            _targets(samples, matrices, sizes, min_visible=min_visible, device=device),
            keys.to(device),
            matrices.float().to(device),
        )

    def _inputs(self, stack: _Stack, matrices: Tensor) -> Tensor:
        """Return the images where their matrices put them, (B, 3, H, W) float32."""
        numbers = stack.rows.tolist()
        width, height = self._canvases[stack.rows].amax(dim=0).tolist()
        device = self._normalisation.device
        inputs = torch.zeros(len(numbers), 3, height, width, device=device)
        images = _unstack(stack.flat.to(device), stack.shapes)
        enlarge = torch.tensor(stack.factors, dtype=torch.float64)[:, None].expand(-1, 2)
        matrices = matrices @ geometry.scalings(enlarge)
        for place, (row, image) in enumerate(zip(numbers, images, strict=True)):
            width, height = self._sizes[row]
            inputs[place, :, :height, :width] = geometry.resample(
                normalise(image[None], self._normalisation),
                matrices[place, None],
                size=(height, width),
            )[0]
        return inputs


def _canvas(size: tuple[int, int]) -> tuple[int, int]:
    width, height = (padded(side, multiple_px=PAD_MULTIPLE_PX) for side in size)
    return width, height


def _read(
    images: Sequence[Path | Tensor],
    sides: Sequence[tuple[int, int]],
    factors: Sequence[int],
    row: int,
) -> _Pixels:
    """Decode an image of given width and height; what is wrong with it the parent says."""
    image, factor = images[row], factors[row]
    if isinstance(image, Tensor):
        pixels = image if factor == 1 else _reduced(to_pil_image(image), factor)
        return _Pixels(row, pixels, factor, "")
    return _Pixels(row, *_decode(image, sides[row], factor))


def _decode(path: Path, size: tuple[int, int], factor: int) -> tuple[Tensor, int, str]:
    """Return an image smaller by a whole factor, (3, H, W) uint8, the factor, what is wrong."""
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    nothing = torch.zeros(3, 0, 0, dtype=torch.uint8)
    try:
        with Image.open(path) as image:
            pixels = image.convert("RGB")
    except Exception:  # what a damaged file makes a decoder raise is not to be foreseen
        return nothing, factor, f"{path} must be an image, got a file that cannot be decoded"
    if pixels.size != size:
        rule = f"{path} must be {size[0]}x{size[1]} px as annotated"
        return nothing, factor, f"{rule}, got {pixels.width}x{pixels.height} px"
    return _reduced(pixels, factor), factor, ""


def _reduced(image: Image.Image, factor: int) -> Tensor:
    pixels: Tensor = pil_to_tensor(image.reduce(factor) if factor > 1 else image)
    return pixels


def _stack(images: Sequence[_Pixels]) -> _Stack:
    return _Stack(
        rows=torch.tensor([image.row for image in images]),
        flat=torch.cat([image.image.flatten() for image in images]),
        shapes=[image.image.shape for image in images],
        factors=[image.factor for image in images],
        problems=[image.problem for image in images if image.problem],
    )


def _unstack(flat: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    parts = torch.split(flat, [shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def _targets(
    samples: Sequence[Annotated],
    matrices: Tensor,
    sizes: Tensor,
    *,
    min_visible: float,
    device: torch.device,
) -> BoxTargets:
    """Return the boxes where the matrices put them; crowds are left out."""
    boxes, labels = [], []
    for sample, matrix, size in zip(samples, matrices, sizes, strict=True):
        single = ~sample.crowd
        # in float32 before anything is judged: what has an area then has one in the loss
        moved = geometry.transform_boxes(sample.boxes[single][None], matrix[None]).float()
        inside, is_kept = keep_visible(moved, size[None], min_visible=min_visible)
        boxes.append(inside[is_kept])
        labels.append(sample.labels[single][is_kept[0]])
    pad = torch.nn.utils.rnn.pad_sequence
    return BoxTargets(
        boxes=pad(boxes, batch_first=True).to(device),
        labels=pad(labels, batch_first=True, padding_value=-1).to(device),
        annotated=samples,
    )
