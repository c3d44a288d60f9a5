import gc
import multiprocessing
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from viewing import view

from visionlab.core import geometry
from visionlab.images.colours import Colours
from visionlab.images.decoding import Stack
from visionlab.images.normalise import normalise
from visionlab.images.resize import Resize
from visionlab.images.splits import ImageSplit, Training
from visionlab.task import Batch
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.records import Annotated
from visionlab.tasks.detection.splits import box_split

NORMALISATION = torch.tensor([[0.5, 0.4, 0.3], [0.2, 0.3, 0.4]])
RAW = torch.tensor([[0.0] * 3, [1.0] * 3])  # inputs are then pixels in [0, 1]
RESIZE = Resize(short_px=40, long_px=72)
AS_IT_IS = Resize(short_px=48, long_px=64)  # of images of 64x48 px
OFF = BoxAugment(
    flip_prob=0.0,
    vertical_flip_prob=0.0,
    scale=[1.0, 1.0],
    rotation_degrees=0.0,
    min_visible=0.0,
    colours=None,
)
STRONG = BoxAugment(
    flip_prob=0.5,
    vertical_flip_prob=0.5,
    scale=[0.5, 2.0],
    rotation_degrees=20,
    min_visible=0.3,
    colours=None,
)
# width and height; resized to 53x40, 40x53, 40x40, 72x36, 72x14 and 60x40 px
SIZES = [(64, 48), (48, 64), (30, 30), (200, 100), (500, 100), (90, 60)]


@pytest.fixture(autouse=True)
def _workers_end_with_their_test() -> Iterator[None]:
    yield
    if multiprocessing.active_children():
        gc.collect()


def annotated(
    key: int,
    image: Path | Tensor,
    size: tuple[int, int],
    boxes: Sequence[Sequence[float]] = (),
    labels: Sequence[int] = (),
    crowd: Sequence[bool] = (),
) -> Annotated:
    corners = torch.tensor(boxes, dtype=torch.float64).view(-1, 4)
    return Annotated(
        name="a.jpg",
        key=key,
        image=image,
        width_px=size[0],
        height_px=size[1],
        boxes=corners,
        labels=torch.tensor(labels or [0] * len(corners), dtype=torch.int64),
        crowd=torch.tensor(crowd or [False] * len(corners), dtype=torch.bool),
        areas=(corners[:, 2:] - corners[:, :2]).prod(dim=1),
    )


def noise(size: tuple[int, int], seed: int = 0) -> Tensor:
    shape = (3, size[1], size[0])
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def written(path: Path, image: Tensor) -> Path:
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return path


def square(size: tuple[int, int], box: tuple[int, int, int, int]) -> Tensor:
    """Return a black image with a white box."""
    image = torch.zeros(3, size[1], size[0], dtype=torch.uint8)
    image[:, box[1] : box[3], box[0] : box[2]] = 255
    return image


@pytest.fixture(params=["tensors", "files"])
def samples(request: pytest.FixtureRequest, tmp_path: Path) -> list[Annotated]:
    """Return two images of each size, with row % 3 boxes each."""
    found = []
    for row, size in enumerate(SIZES * 2):
        image: Path | Tensor = noise(size, row)
        if request.param == "files":
            image = written(tmp_path / f"{row}.png", noise(size, row))
        boxes = [[3.0, 4.0, 23.0, 20.0], [5.5, 6.0, 29.0, 30.0]][: row % 3]
        found.append(annotated(row * 1000 + 7, image, size, boxes, [row % 4, 2][: row % 3]))
    return found


def split_of(
    samples: Sequence[Annotated],
    *,
    augmentation: BoxAugment | None = STRONG,
    seed: int = 5,
    resize: Resize = RESIZE,
    normalisation: Tensor = NORMALISATION,
    num_workers: int = 0,
) -> ImageSplit[Stack]:
    return box_split(
        samples,
        resize=resize,
        normalisation=normalisation,
        num_workers=num_workers,
        training=augmentation and Training(augmentation=augmentation, seed=seed),
    )


def plain_split_of(samples: Sequence[Annotated], **changes: Any) -> ImageSplit[Stack]:
    return split_of(samples, **{"augmentation": None} | changes)


def batches(
    split: ImageSplit[Stack], batch_size: int, epoch: int = 0, first_batch: int = 0
) -> list[Batch]:
    return list(split.batches(batch_size=batch_size, epoch=epoch, first_batch=first_batch))


def only(sample: Annotated, **changes: Any) -> Batch:
    (batch,) = batches(plain_split_of([sample], **{"normalisation": RAW} | changes), 1)
    return batch


def by_key(
    split: ImageSplit[Stack], batch_size: int, epoch: int = 0
) -> dict[int, tuple[Tensor, ...]]:
    """Return the whole of each sample: input, boxes, labels, matrix."""
    found = {}
    for batch in batches(split, batch_size, epoch):
        assert batch.matrices is not None
        for place, key in enumerate(batch.keys.tolist()):
            real = batch.targets.labels[place] >= 0
            targets = [batch.targets.boxes[place][real], batch.targets.labels[place][real]]
            found[key] = (batch.inputs[place], *targets, batch.matrices[place])
    return found


def assert_same(ours: list[Batch], theirs: list[Batch]) -> None:
    assert [batch.keys.tolist() for batch in ours] == [batch.keys.tolist() for batch in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.matrices is not None
        assert other.matrices is not None
        assert torch.equal(mine.inputs, other.inputs)
        assert torch.equal(mine.targets.boxes, other.targets.boxes)
        assert torch.equal(mine.targets.labels, other.targets.labels)
        assert torch.equal(mine.matrices, other.matrices)
        assert mine.targets.annotated == other.targets.annotated


def bright_box(image: Tensor) -> list[float]:
    """Return the box around the pixels that are more than half white."""
    rows, columns = (image[0] > 0.5).nonzero().unbind(1)
    return [float(side) for side in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]


def test_shapes_and_types(samples: list[Annotated]) -> None:
    for split in (split_of(samples), plain_split_of(samples)):
        for batch in batches(split, batch_size=3):
            count, most = len(batch.keys), batch.targets.boxes.shape[1]
            height, width = batch.inputs.shape[2:]
            assert batch.inputs.shape == (count, 3, height, width)
            assert batch.inputs.dtype == torch.float32
            assert batch.inputs.isfinite().all()
            assert batch.keys.dtype == torch.int64
            assert batch.targets.boxes.shape == (count, most, 4)
            assert batch.targets.boxes.dtype == torch.float32
            assert batch.targets.labels.shape == (count, most)
            assert batch.targets.labels.dtype == torch.int64
            assert batch.matrices is not None
            assert (batch.matrices.shape, batch.matrices.dtype) == ((count, 3, 3), torch.float32)


@pytest.mark.parametrize("is_training", [False, True])
def test_a_canvas_is_as_small_as_a_multiple_of_32_can_be(
    samples: list[Annotated], is_training: bool
) -> None:
    sizes = {
        sample.key: RESIZE.size(width_px=sample.width_px, height_px=sample.height_px)
        for sample in samples
    }
    split = split_of(samples) if is_training else plain_split_of(samples)
    for batch in batches(split, batch_size=4):
        widths, heights = zip(*(sizes[key] for key in batch.keys.tolist()), strict=True)
        height, width = batch.inputs.shape[2:]
        assert width % 32 == height % 32 == 0
        assert max(widths) <= width < max(widths) + 32
        assert max(heights) <= height < max(heights) + 32


@pytest.mark.parametrize(
    ("short", "expected"), [(31, (32, 64)), (32, (32, 64)), (33, (64, 96)), (64, (64, 128))]
)
def test_known_canvases(short: int, expected: tuple[int, int]) -> None:
    sample = annotated(0, noise((60, 30)), (60, 30))
    batch = only(sample, resize=Resize(short_px=short, long_px=500))
    assert tuple(batch.inputs.shape[2:]) == expected


def test_beside_the_image_is_the_mean_colour() -> None:
    sample = annotated(0, torch.full((3, 30, 30), 255, dtype=torch.uint8), (30, 30))
    (image,) = only(sample, normalisation=NORMALISATION).inputs
    assert image.shape == (3, 64, 64)
    assert (image[:, 40:] == 0).all()
    assert (image[:, :, 40:] == 0).all()
    inside = image[:, 1:39, 1:39].flatten(1)
    white = ((1 - NORMALISATION[0]) / NORMALISATION[1])[:, None].expand_as(inside)
    torch.testing.assert_close(inside, white)


def test_an_image_of_the_models_size_comes_as_it_is() -> None:
    image = noise((64, 48))
    batch = only(annotated(0, image, (64, 48)), resize=AS_IT_IS, normalisation=NORMALISATION)
    expected = normalise(image[None], NORMALISATION)
    torch.testing.assert_close(batch.inputs[:, :, :48, :64], expected, atol=1e-4, rtol=0)
    assert torch.equal(batch.matrices, torch.eye(3)[None])


def test_keys_and_annotations_are_those_of_the_samples(samples: list[Annotated]) -> None:
    known = {sample.key: sample for sample in samples}
    for split in (split_of(samples), plain_split_of(samples)):
        assert len(split) == 12
        found = batches(split, batch_size=5)
        keys = [key for batch in found for key in batch.keys.tolist()]
        assert sorted(keys) == sorted(known)
        annotations = [sample for batch in found for sample in batch.targets.annotated]
        assert all(mine is known[key] for key, mine in zip(keys, annotations, strict=True))


def test_matrices_lead_from_annotated_to_target_boxes(samples: list[Annotated]) -> None:
    known = {sample.key: sample for sample in samples}
    for split in (plain_split_of(samples), split_of(samples, augmentation=OFF)):
        for key, (_, boxes, labels, matrix) in by_key(split, batch_size=3).items():
            moved = geometry.transform_boxes(known[key].boxes[None], matrix[None])[0]
            torch.testing.assert_close(boxes, moved.float(), atol=1e-3, rtol=0)
            assert labels.tolist() == known[key].labels.tolist()


@pytest.mark.parametrize(
    ("size", "scale"), [((64, 48), 40 / 48), ((200, 100), 0.36), ((30, 30), 4 / 3)]
)
def test_plain_matrices_scale_by_the_rule(size: tuple[int, int], scale: float) -> None:
    batch = only(annotated(0, noise(size), size, [[1.0, 2.0, 10.0, 20.0]]))
    assert batch.matrices is not None
    torch.testing.assert_close(
        batch.matrices[0], torch.diag(torch.tensor([scale, scale, 1.0])), atol=1e-6, rtol=0
    )
    assert batch.targets.boxes[0, 0].tolist() == pytest.approx(
        [scale, 2 * scale, 10 * scale, 20 * scale], rel=1e-6
    )


def test_targets_by_hand() -> None:
    boxes = [[8, 4, 24, 20], [0, 0, 64, 48], [-8, 10, 8, 18], [60, 40, 80, 60], [70, 1, 90, 9]]
    batch = only(annotated(0, noise((64, 48)), (64, 48), boxes, [3, 1, 2, 4, 5]), resize=AS_IT_IS)
    assert batch.targets.boxes.tolist() == [
        [[8, 4, 24, 20], [0, 0, 64, 48], [0, 10, 8, 18], [60, 40, 64, 48]]
    ]
    assert batch.targets.labels.tolist() == [[3, 1, 2, 4]]


def test_flipped_targets_by_hand() -> None:
    sample = annotated(0, noise((64, 48)), (64, 48), [[8, 4, 24, 20]], [3])
    both = replace(OFF, flip_prob=1.0, vertical_flip_prob=1.0)
    batch = only(sample, resize=AS_IT_IS, augmentation=both, seed=1)
    assert batch.targets.boxes.tolist() == [[[40, 28, 56, 44]]]
    torch.testing.assert_close(
        batch.inputs[0, :, :48, :64], sample.image.flip(1, 2) / 255, atol=1e-4, rtol=0
    )


MOVES: dict[str, dict[str, Any]] = {
    "plain": {},
    "flip": {"flip_prob": 1.0},
    "vertical flip": {"vertical_flip_prob": 1.0},
    "both flips": {"flip_prob": 1.0, "vertical_flip_prob": 1.0},
    "smaller": {"scale": [0.5, 0.9], "flip_prob": 0.5},
    "larger": {"scale": [1.1, 1.6]},
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("kind", ["tensor", "file"])
@pytest.mark.parametrize("times", [1, 2, 7])
def test_a_bright_square_lies_in_its_target_box(
    tmp_path: Path, move: str, kind: str, times: int
) -> None:
    """Times 7, the image is first reduced by a factor, also where 7 is no multiple of it."""
    size, (x1, y1, x2, y2) = (64 * times, 48 * times), (12, 8, 40, 32)
    box = (x1 * times, y1 * times, x2 * times, y2 * times)
    image: Path | Tensor = square(size, box)
    if kind == "file":
        image = written(tmp_path / "square.png", square(size, box))
    split = split_of(
        [annotated(key, image, size, [box]) for key in range(6)],
        resize=AS_IT_IS,
        normalisation=RAW,
        augmentation=replace(OFF, **MOVES[move]),
    )
    for image, boxes, _, _ in by_key(split, batch_size=6).values():
        assert len(boxes) == 1
        assert bright_box(image) == pytest.approx(boxes[0].tolist(), abs=0.8)


@pytest.mark.parametrize("size", [(64, 48), (450, 337)])
def test_a_turned_square_is_centred_in_its_target_box(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    width, height = size
    box = (width * 3 // 8, height * 3 // 8, width * 5 // 8, height * 5 // 8)
    path = written(tmp_path / "square.png", square(size, box))
    split = split_of(
        [annotated(key, path, size, [box]) for key in range(20)],
        resize=AS_IT_IS,
        normalisation=RAW,
        augmentation=replace(STRONG, rotation_degrees=180.0, scale=[0.7, 1.2]),
    )
    for image, boxes, _, matrix in by_key(split, batch_size=20).values():
        y, x = (torch.arange(side) + 0.5 for side in image.shape[1:])
        total = image[0].sum()
        centre = [(image[0] * x).sum() / total, (image[0] * y[:, None]).sum() / total]
        middle = (boxes[0, :2] + boxes[0, 2:]) / 2
        assert [float(part) for part in centre] == pytest.approx(middle.tolist(), abs=0.2)
        area = (box[2] - box[0]) * (box[3] - box[1]) * float(torch.linalg.det(matrix).abs())
        assert float(total) == pytest.approx(area, rel=0.03)


@pytest.mark.parametrize("kind", ["tensor", "file"])
def test_a_large_image_becomes_the_mean_of_its_squares(tmp_path: Path, kind: str) -> None:
    image = noise((256, 192))
    means = image.float().unflatten(2, (64, 4)).unflatten(1, (48, 4)).mean(dim=(2, 4))
    source = image if kind == "tensor" else written(tmp_path / "large.png", image)
    batch = only(annotated(0, source, (256, 192)), resize=AS_IT_IS)
    found = batch.inputs[0, :, :48, :64] * 255
    torch.testing.assert_close(found, means, atol=0.55, rtol=0)  # 8 bits a channel


def test_what_may_be_enlarged_is_reduced_less() -> None:
    stripes = torch.zeros(3, 96, 128, dtype=torch.uint8)
    stripes[:, :, ::2] = 255
    samples = [annotated(key, stripes, (128, 96)) for key in range(8)]
    reduced = only(samples[0], resize=AS_IT_IS).inputs[0, :, :48, :64]
    torch.testing.assert_close(reduced, torch.full_like(reduced, 128 / 255), atol=1e-3, rtol=0)
    larger = replace(OFF, scale=[2.0, 2.0])
    split = split_of(samples, resize=AS_IT_IS, normalisation=RAW, augmentation=larger)
    contrasts = [image[:, :48, :64].std() for image, *_ in by_key(split, batch_size=8).values()]
    assert max(contrasts) > 0.3  # as far as the random place lies on whole pixels


def test_tensors_and_files_give_the_same_inputs(tmp_path: Path) -> None:
    drawn = [annotated(row, noise(size, row), size) for row, size in enumerate(SIZES)]
    filed = [
        replace(sample, image=written(tmp_path / f"{sample.key}.png", sample.image))
        for sample in drawn
        if isinstance(sample.image, Tensor)
    ]
    for build in (split_of, plain_split_of):
        for ours, theirs in zip(batches(build(drawn), 3), batches(build(filed), 3), strict=True):
            assert torch.equal(ours.inputs, theirs.inputs)


@pytest.mark.parametrize("size", [(1000, 1), (1, 1000), (1, 1), (997, 3)])
def test_extreme_shapes_are_read(tmp_path: Path, size: tuple[int, int]) -> None:
    path = written(tmp_path / "thin.png", torch.full((3, *size[::-1]), 255, dtype=torch.uint8))
    batch = only(annotated(0, path, size, [[0.0, 0.0, *size]]))
    width, height = RESIZE.size(width_px=size[0], height_px=size[1])
    assert bright_box(batch.inputs[0]) == [0, 0, width, height]
    assert batch.targets.labels.tolist() == [[0]]


@pytest.mark.parametrize("is_training", [False, True])
def test_images_without_boxes(is_training: bool) -> None:
    none = [annotated(key, noise((64, 48)), (64, 48)) for key in range(2)]
    some = annotated(2, noise((64, 48)), (64, 48), [[1, 2, 30, 40], [2, 3, 40, 30]], [1, 6])
    augmentation = OFF if is_training else None
    (batch,) = batches(split_of(none, augmentation=augmentation), 2)
    assert batch.targets.boxes.shape == (2, 0, 4)
    assert batch.targets.labels.shape == (2, 0)
    assert (batch.targets.boxes.dtype, batch.targets.labels.dtype) == (torch.float32, torch.int64)
    (batch,) = batches(split_of([*none, some], augmentation=augmentation), 3)
    labels = dict(zip(batch.keys.tolist(), batch.targets.labels.tolist(), strict=True))
    assert labels == {0: [-1, -1], 1: [-1, -1], 2: [1, 6]}
    assert (batch.targets.boxes[batch.targets.labels < 0] == 0).all()
    assert (batch.targets.boxes[batch.targets.labels >= 0] != 0).all()


def test_crowds_are_annotated_and_no_targets() -> None:
    boxes = [[1, 2, 30, 40], [2, 3, 40, 30], [4, 5, 20, 20]]
    crowd = [False, True, False]
    sample = annotated(0, noise((64, 48)), (64, 48), boxes, [1, 2, 3], crowd)
    only_crowd = annotated(1, noise((64, 48)), (64, 48), boxes[:1], [4], [True])
    (batch,) = batches(plain_split_of([sample, only_crowd], resize=AS_IT_IS), 2)
    assert batch.targets.labels.tolist() == [[1, 3], [-1, -1]]
    assert batch.targets.boxes.tolist() == [[boxes[0], boxes[2]], [[0] * 4] * 2]
    assert [kept.crowd.tolist() for kept in batch.targets.annotated] == [crowd, [True]]
    assert [len(kept.boxes) for kept in batch.targets.annotated] == [3, 1]


def test_boxes_that_leave_the_picture_are_dropped_with_their_labels() -> None:
    size = (64, 48)
    boxes = [[x, y, x + 8, y + 8] for x in range(0, 64, 8) for y in range(0, 48, 8)]
    samples = [
        annotated(key, noise(size), size, boxes, list(range(len(boxes)))) for key in range(8)
    ]
    larger = replace(OFF, scale=[2.0, 2.0], min_visible=0.5)
    split = split_of(samples, resize=AS_IT_IS, augmentation=larger)
    for _, kept, labels, matrix in by_key(split, batch_size=3).values():
        moved = geometry.transform_boxes(samples[0].boxes[None], matrix[None])[0]
        expected = []
        for label, (x1, y1, x2, y2) in enumerate(moved.tolist()):
            seen = max(0, min(x2, 64) - max(x1, 0)) * max(0, min(y2, 48) - max(y1, 0))
            if seen >= 0.5 * 16 * 16:
                expected.append(label)
        assert labels.tolist() == expected
        assert 0 < len(labels) < len(boxes)
        assert (kept >= 0).all()
        assert (kept <= torch.tensor([64, 48, 64, 48])).all()


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("build", [split_of, plain_split_of])
def test_workers_and_resuming_change_nothing(
    samples: list[Annotated], build: Any, num_workers: int
) -> None:
    alone, helped = build(samples), build(samples, num_workers=num_workers)
    for batch_size, epoch, first_batch in ((3, 0, 0), (5, 1, 1), (2, 7, 3), (4, 2, 99)):
        expected = batches(alone, batch_size, epoch)
        assert len(expected) == alone.num_batches(batch_size)
        expected = expected[first_batch:]
        assert_same(batches(alone, batch_size, epoch, first_batch), expected)
        assert_same(batches(helped, batch_size, epoch, first_batch), expected)


def test_an_evaluated_image_depends_on_nothing_else_in_its_batch(samples: list[Annotated]) -> None:
    alone = by_key(plain_split_of(samples), batch_size=1)
    assert len(alone) == 12
    for few, batch_size, epoch in ((samples, 4, 0), (samples, 100, 3), (samples[3:9], 2, 0)):
        together = by_key(plain_split_of(few), batch_size, epoch)
        assert len(together) == len(few)
        for key, parts in together.items():
            assert all(torch.equal(a, b) for a, b in zip(parts, alone[key], strict=True))


def test_a_training_image_depends_on_key_and_epoch_alone(samples: list[Annotated]) -> None:
    sizes = {
        sample.key: RESIZE.size(width_px=sample.width_px, height_px=sample.height_px)
        for sample in samples
    }
    together = by_key(split_of(samples), batch_size=12, epoch=3)
    apart = by_key(split_of(samples[5:9][::-1]), batch_size=2, epoch=3)
    later = by_key(split_of(samples), batch_size=12, epoch=4)
    other = by_key(split_of(samples, seed=6), batch_size=12, epoch=3)
    assert len(apart) == 4
    for key, (image, *rest) in apart.items():
        width, height = sizes[key]
        assert torch.equal(image[:, :height, :width], together[key][0][:, :height, :width])
        assert all(torch.equal(a, b) for a, b in zip(rest, together[key][1:], strict=True))
        assert not torch.equal(rest[-1], later[key][-1])
        assert not torch.equal(rest[-1], other[key][-1])
    for key, (width, height) in sizes.items():
        assert (together[key][0][:, height:] == 0).all()
        assert (together[key][0][:, :, width:] == 0).all()


def test_colours_change_pixels_by_key_and_no_boxes(samples: list[Annotated]) -> None:
    colours = Colours(
        jitter_prob=1.0,
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.1,
        grey_prob=0.5,
        blur_prob=1.0,
        blur_sigma_px=[0.5, 2.0],
    )
    plain = by_key(split_of(samples), batch_size=12)
    split = split_of(samples, augmentation=replace(STRONG, colours=colours))
    together, apart = by_key(split, batch_size=12), by_key(split, batch_size=1)
    for key, (image, *rest) in together.items():
        assert all(torch.equal(a, b) for a, b in zip(rest, plain[key][1:], strict=True))
        assert (image - plain[key][0]).abs().max() > 0.1
        height, width = apart[key][0].shape[1:]
        assert torch.equal(image[:, :height, :width], apart[key][0])
        assert not image[:, height:].any()  # the mean colour stays


def test_the_order_of_training_follows_from_seed_and_epoch(samples: list[Annotated]) -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        split = split_of(samples, seed=seed)
        return [batch.keys.tolist() for batch in batches(split, 2, epoch)]

    assert order(5, 0) == order(5, 0)
    assert order(5, 0) != order(5, 1)
    assert order(5, 0) != order(6, 0)


def test_training_images_of_like_shape_share_batches(samples: list[Annotated]) -> None:
    for batch in batches(split_of(samples), batch_size=2):
        sides = [(sample.width_px, sample.height_px) for sample in batch.targets.annotated]
        canvases = {  # 64x64 of 64x48, 48x64, 30x30 and 90x60; 96x64 of 200x100; 96x32 of 500x100
            {(200, 100): 1, (500, 100): 2}.get(side, 0) for side in sides
        }
        assert len(canvases) == 1


@pytest.mark.parametrize(("batch_size", "count"), [(1, 12), (2, 6), (5, 4), (8, 3), (100, 3)])
def test_plain_batches_are_of_equal_canvases(
    samples: list[Annotated], batch_size: int, count: int
) -> None:
    split = plain_split_of(samples)
    found = batches(split, batch_size)
    assert len(found) == split.num_batches(batch_size) == count
    assert split_of(samples).num_batches(batch_size) == -(-12 // batch_size)
    assert_same(found, batches(split, batch_size, epoch=1))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_nothing_is_drawn_from_the_global_generator(
    samples: list[Annotated], num_workers: int
) -> None:
    state = torch.get_rng_state()
    batches(split_of(samples, num_workers=num_workers), batch_size=4)
    assert torch.equal(torch.get_rng_state(), state)


def test_samples_are_left_as_they_are(samples: list[Annotated]) -> None:
    images = [sample.image.clone() for sample in samples if isinstance(sample.image, Tensor)]
    boxes = [sample.boxes.clone() for sample in samples]
    batches(split_of(samples), batch_size=4)
    kept = [sample.image for sample in samples if isinstance(sample.image, Tensor)]
    assert all(torch.equal(a, b) for a, b in zip(images, kept, strict=True))
    assert all(torch.equal(a, b.boxes) for a, b in zip(boxes, samples, strict=True))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK"])
def test_images_of_all_modes_are_read(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    Image.new("RGB", (64, 48), (255, 255, 255)).convert(mode).save(path)
    batch = only(annotated(0, path, (64, 48)), resize=AS_IT_IS)
    torch.testing.assert_close(
        batch.inputs[0, :, :48, :64], torch.ones(3, 48, 64), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_image_of_another_size_than_annotated_is_named(tmp_path: Path, num_workers: int) -> None:
    path = written(tmp_path / "turned.png", noise((48, 64)))
    right = annotated(0, noise((64, 48)), (64, 48))
    split = plain_split_of([right, annotated(1, path, (64, 48))], num_workers=num_workers)
    message = f"^{re.escape(str(path))} must be 64x48 px as annotated, got 48x64 px$"
    with pytest.raises(ValueError, match=message):
        batches(split, batch_size=2)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("damage", ["text", "cut", "empty", "missing"])
def test_a_file_that_cannot_be_decoded_is_named(
    tmp_path: Path, damage: str, num_workers: int
) -> None:
    path = written(tmp_path / "damaged.png", noise((64, 48)))
    whole = path.read_bytes()
    path.write_bytes({"text": b"no image", "cut": whole[:-3000]}.get(damage, b""))
    if damage == "missing":
        path.unlink()
    split = split_of([annotated(1, path, (64, 48))], num_workers=num_workers)
    got = "got a file that cannot be (decoded|read .*); dataset.drop_invalid=true drops such files$"
    message = f"^{re.escape(str(path))} must be an image, {got}"
    with pytest.raises(ValueError, match=message):
        batches(split, batch_size=2)


def test_a_plain_view_is_the_plain_batch(samples: list[Annotated]) -> None:
    split = plain_split_of(samples)
    plain = batches(split, batch_size=2)
    for batch, (viewed,) in zip(
        plain, split.view_batches(batch_size=2, views=[view(weight=0.5)]), strict=True
    ):
        assert torch.equal(batch.inputs, viewed.inputs)
        assert torch.equal(batch.keys, viewed.keys)
        assert torch.equal(batch.targets.boxes, viewed.targets.boxes)


def test_a_mirrored_view_mirrors_each_image_and_its_boxes(samples: list[Annotated]) -> None:
    split = plain_split_of(samples)
    views = [view(), view(mirror=True)]
    for plain, mirrored in split.view_batches(batch_size=2, views=views):
        for row, (width, height) in enumerate(plain.targets.sizes.long().tolist()):
            image, other = (batch.inputs[row, :, :height, :width] for batch in (plain, mirrored))
            torch.testing.assert_close(other.flip(2), image, atol=2e-2, rtol=0.0)
            is_real = plain.targets.labels[row] >= 0
            boxes, moved = (batch.targets.boxes[row, is_real] for batch in (plain, mirrored))
            expected = torch.stack(
                [width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1
            )
            torch.testing.assert_close(moved, expected)
        points = geometry.transform_boxes(
            torch.tensor([[[1.0, 2.0, 5.0, 6.0]]]).expand(len(plain.keys), -1, -1).double(),
            mirrored.matrices.double() @ torch.linalg.inv(plain.matrices.double()),
        )
        widths = plain.targets.sizes[:, 0].double()
        torch.testing.assert_close(points[:, 0, 0], widths - 5.0, atol=1e-4, rtol=0.0)


def test_the_rest_of_the_canvas_stays_empty_in_a_view(samples: list[Annotated]) -> None:
    turned = view(rotation_degrees=30.0, brightness=0.2, blur_px=3)
    for (batch,) in plain_split_of(samples).view_batches(batch_size=2, views=[turned]):
        for row, (width, height) in enumerate(batch.targets.sizes.long().tolist()):
            assert not batch.inputs[row, :, height:].any()
            assert not batch.inputs[row, :, :, width:].any()


def test_batches_live_where_the_normalisation_does(samples: list[Annotated]) -> None:
    elsewhere = split_of(samples, normalisation=NORMALISATION.to("meta"))  # as a GPU, without one
    for batch in batches(elsewhere, batch_size=5):
        assert batch.matrices is not None
        tensors = (*batch.targets[:2], batch.inputs, batch.keys, batch.matrices)
        assert {tensor.device.type for tensor in tensors} == {"meta"}
