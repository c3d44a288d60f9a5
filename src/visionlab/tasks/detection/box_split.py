"""Images with boxes in batches: workers decode, the training device moves and resamples."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.core import geometry, seeding
from visionlab.core.processes import Shard, unsharded
from visionlab.images.batching import aspect_batches, equal_batches, num_batches
from visionlab.images.decoding import Images, Stack
from visionlab.images.normalise import normalise
from visionlab.images.resize import Resize, padded
from visionlab.task import Batch
from visionlab.tasks.detection.augment import BoxAugment, keep_visible
from visionlab.tasks.detection.records import Annotated, BoxTargets

PAD_MULTIPLE_PX = 32  # the stride of a backbone's last stage


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
        self._images = Images(
            [sample.image for sample in samples],
            factor=_Reduction(resize, middle),
            num_workers=num_workers,
        )

    def __len__(self) -> int:
        return len(self._samples)

    def num_batches(self, batch_size: int) -> int:
        """Return how many batches one epoch has."""
        if self._seed is None:
            return len(self._plain_batches(batch_size))
        return num_batches(len(self), batch_size)

    def batches(
        self, *, batch_size: int, epoch: int, first_batch: int, shard: Shard = unsharded
    ) -> Iterator[Batch]:
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
        for stack in self._images.batches(shard(rows)):
            self._check_sizes(stack)
            yield self._batch(stack, epoch)

    def _check_sizes(self, stack: Stack) -> None:
        for row, (width, height) in zip(stack.rows.tolist(), stack.sizes.tolist(), strict=True):
            sample = self._samples[row]
            if (width, height) != (sample.width_px, sample.height_px):
                raise ValueError(
                    f"{sample.image} must be {sample.width_px}x{sample.height_px} px as annotated, "
                    f"got {width}x{height} px"
                )

    def _plain_batches(self, batch_size: int) -> list[Tensor]:
        groups = torch.unique(self._canvases, dim=0, return_inverse=True)[1]
        return equal_batches(groups, batch_size=batch_size)

    def _batch(self, stack: Stack, epoch: int) -> Batch:
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

    def _inputs(self, stack: Stack, matrices: Tensor) -> Tensor:
        """Return the images where their matrices put them, (B, 3, H, W) float32."""
        numbers = stack.rows.tolist()
        width, height = self._canvases[stack.rows].amax(dim=0).tolist()
        device = self._normalisation.device
        inputs = torch.zeros(len(numbers), 3, height, width, device=device)
        images = stack.images(device)
        matrices = matrices @ geometry.scalings(stack.factors[:, None].expand(-1, 2))
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


@dataclass(frozen=True)
class _Reduction:
    """How many times smaller than its original an image is kept; workers can be sent it."""

    resize: Resize
    middle_scale: float

    def __call__(self, width: int, height: int) -> int:
        scale = self.resize.scale(width_px=width, height_px=height) * self.middle_scale
        return max(1, int(1.0 / scale + 1e-6))


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
