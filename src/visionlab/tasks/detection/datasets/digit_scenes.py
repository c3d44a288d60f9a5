"""Synthetic scenes of handwritten digits on cluttered backgrounds."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from visionlab.core import seeding
from visionlab.core.checks import check_at_least, check_seed
from visionlab.images.digits import CLASS_NAMES, NUM_TEST, TEST_SEED, read_digits
from visionlab.images.photometric import LUMA
from visionlab.task import Data
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.records import Annotated
from visionlab.tasks.detection.splits import DetectionDataset, from_annotations

NUM_VAL = 215  # of the 1,437 digits that are not in the test part, 15 %
KEYS_APART = 10**9  # distance of the first keys of two splits
SIZES = ((128, 128), (128, 160), (160, 128))  # height and width
EMPTY_PROB = 0.03
MAX_DIGITS = 6
NUM_PLACES = 12  # positions tried for a digit before it is left out
MAX_COVERED = 0.4  # of the smaller of two boxes; their IoU is then at most 0.4 / 1.6 = 0.25
CONTRAST = torch.tensor([-0.25, 0.25])  # minimum luminance difference of ink and background
LUMINANCE = torch.tensor(LUMA)


@dataclass(frozen=True, kw_only=True)
class DigitScenes(DetectionDataset):
    """Scenes with 0 to 6 of scikit-learn's digits; no digit is in the scenes of two splits.

    The digits of the test scenes are the test part of `Digits`. A scene depends on `seed`, its
    split and its number alone: more scenes do not change the others.

    Attributes:
        num_train: scenes to train on.
        num_val: scenes to validate on.
        num_test: scenes to test on.
        seed: of the scenes.
    """

    num_train: int
    num_val: int
    num_test: int
    seed: int

    def __post_init__(self) -> None:
        check_at_least(self, 1, "num_train", "num_val", "num_test")
        check_seed(self, "seed")

    def __call__(self, *, augmentation: BoxAugment, seed: int, device: torch.device) -> Data:
        """Return the splits; keys start at 0 (train), 10**9 (val) and 2 * 10**9 (test)."""
        return scene_splits(self, make_scenes, augmentation=augmentation, seed=seed, device=device)


def scene_splits(
    dataset: DigitScenes,
    make: Callable[..., list[Annotated]],
    *,
    augmentation: BoxAugment,
    seed: int,
    device: torch.device,
) -> Data:
    """Return the splits of scenes, which `make` makes as `make_scenes` does."""
    digits, labels = read_digits()
    parts = {}
    for number, (split, rows) in enumerate(source_rows().items()):
        parts[split] = make(
            getattr(dataset, f"num_{split}"),
            first_key=number * KEYS_APART,
            digits=digits[rows],
            labels=labels[rows],
            seed=dataset.seed,
        )
    return from_annotations(
        parts,
        class_names=CLASS_NAMES,
        class_ids=list(range(10)),
        num_workers=0,
        read_counts={},
        dataset=dataset,
        augmentation=augmentation,
        seed=seed,
        device=device,
    )


def source_rows() -> dict[str, Tensor]:
    """Return the rows of scikit-learn's digits of each split; they never change."""
    order = seeding.permutation(1797, seed=TEST_SEED)
    test, val, train = order.tensor_split([NUM_TEST, NUM_TEST + NUM_VAL])
    return {"train": train, "val": val, "test": test}


def make_scenes(
    count: int, *, first_key: int, digits: Tensor, labels: Tensor, seed: int
) -> list[Annotated]:
    """Return scenes, each of which depends on the digits, the seed and its key alone.

    The source digits are (N, 8, 8) with values from 0 (paper) to 16 (ink), their labels (N,) int64.
    """
    keys = range(first_key, first_key + count)
    return [_scene(partial(draw_numbers, key, seed), key, digits.float(), labels) for key in keys]


def draw_numbers(key: int, seed: int, purpose: str, *shape: int) -> Tensor:
    """Return random numbers in [0, 1) of a shape, for one purpose in one scene."""
    stream = seeding.derive(seed, "digit scenes", purpose)
    return seeding.uniform(torch.tensor([key]), seed=stream, num_draws=math.prod(shape)).view(shape)


def _scene(draw: Callable[..., Tensor], key: int, digits: Tensor, labels: Tensor) -> Annotated:
    """Paint clutter, then digits, then noise; areas are those of the boxes."""
    size, emptiness, number, grain = draw("scene", 4).tolist()
    canvas = clutter(draw, *SIZES[int(size * len(SIZES))])
    rows: dict[tuple[int, ...], int] = {}  # of the digits that are placed, by box
    num_digits = 0 if emptiness < EMPTY_PROB else 1 + int(number * MAX_DIGITS)
    for numbers in draw("digits", MAX_DIGITS, 8 + 2 * NUM_PLACES)[:num_digits].tolist():
        row = int(numbers[0] * len(digits))
        alpha = enlarge(digits[row], size=numbers[1], aspect=numbers[2])
        if box := paint(canvas, alpha, rows, numbers[3:]):
            rows[box] = row
    canvas += noise(draw, canvas, grain)
    return annotate_scene(canvas, key, rows, labels)


def noise(draw: Callable[..., Tensor], canvas: Tensor, grain: float) -> Tensor:
    """Return noise like a canvas; grain is from 0 (weak) to 1 (strong)."""
    return (draw("noise", *canvas.shape[1:]) - 0.5) * (0.02 + 0.16 * grain)


def annotate_scene(
    canvas: Tensor, key: int, rows: Mapping[tuple[int, ...], int], labels: Tensor
) -> Annotated:
    """Return a painted scene; `rows` are those of the digits by box."""
    boxes = torch.tensor(list(rows), dtype=torch.float64).view(-1, 4)
    return Annotated(
        key=key,
        name=f"scene {key}",
        image=(canvas.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8),
        width_px=canvas.shape[2],
        height_px=canvas.shape[1],
        boxes=boxes,
        labels=labels[list(rows.values())],
        crowd=torch.zeros(len(rows), dtype=torch.bool),
        areas=(boxes[:, 2:] - boxes[:, :2]).prod(dim=1),
    )


def clutter(draw: Callable[..., Tensor], height: int, width: int) -> Tensor:
    """Return a gradient with blobs, rectangles and arcs, (3, height, width) in [0, 1]."""
    shade, num_rectangles, num_arcs = draw("shade", 3).tolist()
    gradient = F.interpolate(draw("gradient", 1, 3, 2, 2), (6, 6), mode="bilinear")
    blobs = 0.7 * shade + 0.3 * gradient + 0.35 * (draw("blobs", 1, 3, 6, 6) - 0.5)
    canvas = F.interpolate(blobs, (height, width), mode="bicubic")[0]
    y, x = torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5
    rectangles = draw("rectangles", 6, 8)[: 1 + int(num_rectangles * 6)]
    for left, top, wide, high, opacity, *colour in rectangles.tolist():
        columns = (x - left * width).abs() < 8.0 + 42.0 * wide
        lines = (y - top * height).abs() < 8.0 + 42.0 * high
        canvas.lerp_(torch.tensor(colour).view(3, 1, 1), columns * lines * (0.15 + 0.5 * opacity))
    arcs = draw("arcs", 10, 10)[: 2 + int(num_arcs * 9)]
    for left, top, angle, bend, length, thickness, opacity, *colour in arcs.tolist():
        to_x, to_y = x - left * width, y - top * height  # of the middle of the arc
        angle, radius = math.tau * angle, 30.0 / (bend + 0.02)
        to_centre = torch.hypot(to_x - radius * math.cos(angle), to_y - radius * math.sin(angle))
        alpha = (1.0 + 1.5 * thickness - (to_centre - radius).abs()).clamp(0.0, 1.0)
        alpha *= torch.hypot(to_x, to_y) < 12.0 + 36.0 * length
        canvas.lerp_(torch.tensor(colour).view(3, 1, 1), alpha * (0.3 + 0.6 * opacity))
    return canvas.clamp_(0.0, 1.0)


def enlarge(digit: Tensor, *, size: float, aspect: float) -> Tensor:
    """Return the opacity of each pixel of a digit's tight box, (h, w) in [0, 1].

    The digit is (8, 8); size 0 to 1 makes it about 18 to 56 pixels high, aspect narrow to wide.
    """
    high = 22.0 * 3.0**size
    shape = round(high), round(high * (0.85 + 0.3 * aspect))
    large = F.interpolate(F.pad(digit, (1, 1, 1, 1))[None, None], shape, mode="bilinear")[0, 0]
    alpha = ((large / large.max() - 0.3) / 0.4).clamp(0.0, 1.0)
    rows, columns = alpha.any(dim=1).nonzero(), alpha.any(dim=0).nonzero()
    return alpha[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]


def paint(
    canvas: Tensor, alpha: Tensor, taken: Iterable[Sequence[int]], numbers: list[float]
) -> tuple[int, ...] | None:
    """Paint a digit at a position where it fits and is legible; return its box, or None."""
    high, wide = alpha.shape
    for x, y in zip(numbers[5::2], numbers[6::2], strict=True):
        left, top = int(x * (canvas.shape[2] - wide + 1)), int(y * (canvas.shape[1] - high + 1))
        box = (left, top, left + wide, top + high)
        under = canvas[:, top : top + high, left : left + wide]
        if all(_is_apart(box, other) for other in taken) and (colour := _ink(under, numbers[:5])):
            under.lerp_(torch.tensor(colour).view(3, 1, 1), alpha)
            return box
    return None


def _is_apart(box: Sequence[int], other: Sequence[int]) -> bool:
    """Return whether two boxes overlap little, relative to the smaller one."""
    wide = max(0, min(box[2], other[2]) - max(box[0], other[0]))
    high = max(0, min(box[3], other[3]) - max(box[1], other[1]))
    return wide * high <= MAX_COVERED * min((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))


def _ink(under: Tensor, look: list[float]) -> list[float] | None:
    """Return a colour darker or lighter than nearly all of (3, h, w), or None."""
    side, amount, *colour = look
    grey = torch.einsum("c,chw->hw", LUMINANCE, under)
    below, above = (grey.quantile(torch.tensor([0.05, 0.95])) + CONTRAST).tolist()
    if below < 0.0 and above > 1.0:
        return None
    is_dark = above > 1.0 or (below >= 0.0 and side < 0.5)
    wanted = amount * below if is_dark else above + amount * (1.0 - above)
    has = float(LUMINANCE @ torch.tensor(colour))
    end = float(wanted > has)  # towards black or white: no channel leaves [0, 1]
    return [end + (part - end) * (wanted - end) / (has - end) for part in colour]
