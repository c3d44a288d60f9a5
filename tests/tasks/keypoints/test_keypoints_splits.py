import functools
import gc
import math
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from visionlab.images.decoding import Images, KeptImages, Source, Stack
from visionlab.images.normalise import normalise
from visionlab.images.rendering import square_reduction
from visionlab.images.splits import ImageSplit, Training
from visionlab.images.views import View
from visionlab.task import Batch
from visionlab.tasks.keypoints.augment import PointAugment
from visionlab.tasks.keypoints.metric import original_points
from visionlab.tasks.keypoints.records import KeypointSamples, PointTargets
from visionlab.tasks.keypoints.splits import Reader, point_split

NORMALISATION = torch.tensor([[0.5, 0.4, 0.3], [0.2, 0.3, 0.4]])
RAW = torch.tensor([[0.0] * 3, [1.0] * 3])  # inputs are then pixels in [0, 1]
SIDE = 48
MIRROR = torch.tensor([1, 0, 2])
OFF = PointAugment(
    choose="each",
    affine_prob=0.0,
    rotation_degrees=0.0,
    scale=[1.0, 1.0],
    stretch=[1.0, 1.0],
    shift=0.0,
    crop_prob=0.0,
    crop_min_scale=1.0,
    mirror_prob=0.0,
    bars_prob=0.0,
    bars_max=0.0,
    colour_prob=0.0,
    brightness=0.0,
    contrast=0.0,
    grey_prob=0.0,
    blur_prob=0.0,
    blur_px=[1],
)
MOVES = replace(
    OFF,
    affine_prob=0.8,
    rotation_degrees=180.0,
    scale=[0.6, 1.5],
    stretch=[0.6, 1.5],
    shift=0.3,
    crop_prob=0.5,
    crop_min_scale=0.4,
    mirror_prob=0.5,
)
STRONG = replace(
    MOVES,
    bars_prob=0.3,
    bars_max=0.2,
    colour_prob=0.5,
    brightness=0.2,
    contrast=0.3,
    grey_prob=0.2,
    blur_prob=0.5,
    blur_px=[3, 5],
)
SIZES = [(64, 48), (48, 64), (30, 30), (200, 100), (500, 100), (90, 60)]  # width and height
PLAIN = View(
    rotation_degrees=0.0,
    scale=1.0,
    shift=[0.0, 0.0],
    mirror=False,
    brightness=0.0,
    contrast=1.0,
    grey=False,
    blur_px=1,
    weight=1.0,
)


@pytest.fixture(autouse=True)
def _workers_end_with_their_test() -> Iterator[None]:
    yield
    if multiprocessing.active_children():
        gc.collect()


def noise(size: tuple[int, int], seed: int = 0) -> Tensor:
    shape = (3, size[1], size[0])
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def written(path: Path, image: Tensor) -> Path:
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return path


def samples_of(
    points: Sequence[Any] | np.ndarray[Any, Any], sources: Sequence[Source] | None = None
) -> KeypointSamples:
    values = np.array(points, dtype=np.float32)
    return KeypointSamples(
        sources=sources or [Path()] * len(values),
        names=[f"{row}.png" for row in range(len(values))],
        keys=torch.arange(len(values)) * 1000 + 7,
        points=values,
        requested=None,
    )


def some_points(count: int) -> np.ndarray[Any, Any]:
    """Return three points an image, of which every fourth is not known."""
    points = np.random.default_rng(1).uniform(-10, 110, (count, 3, 2)).astype(np.float32)
    points.reshape(-1, 2)[::4] = np.nan
    return points


@pytest.fixture(params=["tensors", "files"])
def sources(request: pytest.FixtureRequest, tmp_path: Path) -> list[Source]:
    """Return two images of each size."""
    images: list[Source] = []
    for row, size in enumerate(SIZES * 2):
        image = noise(size, row)
        images.append(
            written(tmp_path / f"{row}.png", image) if "files" in request.param else image
        )
    return images


def reader_of(
    sources: Sequence[Source], *, num_workers: int = 0, in_memory: bool = False
) -> Reader:
    factor = functools.partial(square_reduction, size_px=SIDE)
    images = Images(sources, factor=factor, num_workers=num_workers)
    return KeptImages(images, num_images=len(sources)) if in_memory else images


def split_of(
    sources: Sequence[Source],
    points: Sequence[Any] | np.ndarray[Any, Any] | None = None,
    *,
    num_workers: int = 0,
    in_memory: bool = False,
    **changes: Any,
) -> ImageSplit[Stack]:
    settings: dict[str, Any] = {
        "samples": samples_of(some_points(len(sources)) if points is None else points),
        "size_px": SIDE,
        "normalisation": NORMALISATION,
        "mirror": MIRROR,
        "training": None,
    }
    if "images" not in changes:
        changes["images"] = reader_of(sources, num_workers=num_workers, in_memory=in_memory)
    if "augmentation" in changes:
        augmentation, seed = changes.pop("augmentation"), changes.pop("seed")
        changes["training"] = Training(augmentation=augmentation, seed=seed)
    return point_split(**settings | changes)


def augmented(sources: Sequence[Source], **changes: Any) -> ImageSplit[Stack]:
    return split_of(sources, **{"augmentation": STRONG, "seed": 5} | changes)


def batches(
    split: ImageSplit[Stack], batch_size: int, epoch: int = 0, first_batch: int = 0
) -> list[Batch]:
    return list(split.batches(batch_size=batch_size, epoch=epoch, first_batch=first_batch))


def parts(batch: Batch) -> list[Tensor]:
    targets: PointTargets = batch.targets
    assert batch.matrices is not None
    known = [targets.points, targets.is_known, targets.original.nan_to_num(nan=-1.0)]
    return [batch.inputs, *known, batch.keys, batch.matrices]


def by_key(split: ImageSplit[Stack], batch_size: int, epoch: int = 0) -> dict[int, list[Tensor]]:
    found = {}
    for batch in batches(split, batch_size, epoch):
        for row, key in enumerate(batch.keys.tolist()):
            found[key] = [part[row] for part in parts(batch)]
    return found


def assert_equal(ours: dict[int, list[Tensor]], theirs: dict[int, list[Tensor]]) -> None:
    assert ours.keys() == theirs.keys()
    for key, values in ours.items():
        for mine, other in zip(values, theirs[key], strict=True):
            assert torch.equal(mine, other)


def only(source: Source, points: Sequence[Any], **changes: Any) -> Batch:
    (batch,) = batches(split_of([source], [points], **{"normalisation": RAW} | changes), 1)
    return batch


def test_shapes_and_types(sources: list[Source]) -> None:
    for split in (augmented(sources), split_of(sources), split_of(sources, mirror=None)):
        assert len(split) == 12
        assert split.num_batches(5) == 3
        found = batches(split, batch_size=5)
        assert [len(batch.keys) for batch in found] == [5, 5, 2]
        for batch in found:
            count = len(batch.keys)
            targets: PointTargets = batch.targets
            assert (batch.inputs.shape, batch.inputs.dtype) == (
                (count, 3, SIDE, SIDE),
                torch.float32,
            )
            assert batch.inputs.isfinite().all()
            assert (targets.points.shape, targets.points.dtype) == ((count, 3, 2), torch.float32)
            assert (targets.is_known.shape, targets.is_known.dtype) == ((count, 3), torch.bool)
            assert (targets.original.shape, targets.original.dtype) == (
                (count, 3, 2),
                torch.float32,
            )
            assert batch.keys.dtype == torch.int64
            assert batch.matrices is not None
            assert (batch.matrices.shape, batch.matrices.dtype) == ((count, 3, 3), torch.float32)


def test_targets_by_hand() -> None:
    nan = math.nan
    points = [[60, 10], [nan, nan], [0, 100]]
    batch = only(noise((200, 100)), points)
    half = SIDE / 100
    assert batch.targets.is_known.tolist() == [[True, False, True]]
    assert batch.targets.points[0].tolist() == [
        pytest.approx([(60 - 50) * half, 10 * half]),
        [0.0, 0.0],
        pytest.approx([-50 * half, 100 * half]),  # outside the picture, and kept
    ]
    original = torch.tensor([points], dtype=torch.float32)
    torch.testing.assert_close(batch.targets.original, original, equal_nan=True, rtol=0, atol=0)
    assert torch.equal(batch.targets.mirror, MIRROR)
    assert only(noise((9, 9)), points, mirror=None).targets.mirror is None


def test_a_point_with_one_coordinate_is_unknown() -> None:
    batch = only(noise((50, 50)), [[math.nan, 3], [4, math.nan], [5, 6]])
    assert batch.targets.is_known.tolist() == [[False, False, True]]
    assert not batch.targets.points[0, :2].any()


def test_mirrored_targets_by_hand() -> None:
    batch = only(
        noise((SIDE, SIDE)),
        [[3, 4], [40, 5], [20, 6]],
        augmentation=replace(OFF, mirror_prob=1.0),
        seed=1,
    )
    assert batch.targets.points[0].tolist() == [[SIDE - 40, 5], [SIDE - 3, 4], [SIDE - 20, 6]]
    assert batch.targets.original[0].tolist() == [[3, 4], [40, 5], [20, 6]]
    unknown = only(
        noise((SIDE, SIDE)),
        [[3, 4], [math.nan, math.nan], [20, 6]],
        augmentation=replace(OFF, mirror_prob=1.0),
        seed=1,
    )
    assert unknown.targets.is_known.tolist() == [[False, True, True]]
    assert unknown.targets.points[0, :2].tolist() == [[0, 0], [SIDE - 3, 4]]


def test_without_a_permutation_points_keep_their_numbers() -> None:
    mirrored = replace(OFF, mirror_prob=1.0)
    batch = only(noise((SIDE, SIDE)), [[3, 4], [40, 5]], mirror=None, augmentation=mirrored, seed=1)
    assert batch.targets.points[0].tolist() == [[SIDE - 3, 4], [SIDE - 40, 5]]


def test_an_image_of_the_models_size_comes_as_it_is() -> None:
    image = noise((SIDE, SIDE))
    batch = only(image, [[1, 2]] * 3, normalisation=NORMALISATION)
    expected = normalise(image[None], NORMALISATION)
    torch.testing.assert_close(batch.inputs, expected, atol=2e-4, rtol=0)
    assert torch.equal(batch.matrices, torch.eye(3)[None])


def test_keys_and_points_are_those_of_the_samples(sources: list[Source]) -> None:
    points = some_points(12)
    for split in (split_of(sources), augmented(sources)):
        found = by_key(split, batch_size=5)
        assert sorted(found) == [row * 1000 + 7 for row in range(12)]
        for key, (_, _, _, original, _, _) in found.items():
            assert original.tolist() == np.nan_to_num(points[key // 1000], nan=-1.0).tolist()


def test_batches_come_in_the_order_of_the_samples_or_shuffled_anew_each_epoch() -> None:
    sources = [noise((8, 8))] * 12
    plain = list(by_key(split_of(sources), 5, epoch=3))
    first, second = (list(by_key(augmented(sources), 5, epoch)) for epoch in (0, 1))
    assert plain == [row * 1000 + 7 for row in range(12)]
    assert sorted(first) == sorted(second) == plain
    assert first != plain != second != first


def test_what_happens_to_a_sample_follows_from_seed_epoch_and_key_alone(
    sources: list[Source],
) -> None:
    whole = by_key(augmented(sources), batch_size=12)
    for batch_size in (1, 5):
        assert_equal(by_key(augmented(sources), batch_size), whole)
    assert_equal(by_key(augmented(sources, in_memory=True), 4), whole)
    reordered = list(range(11, -1, -1))
    samples = samples_of(some_points(12)).take(reordered)
    turned = augmented([sources[row] for row in reordered], samples=samples)
    assert_equal(by_key(turned, 4), whole)


def test_every_epoch_and_seed_has_its_own_augmentation() -> None:
    sources, moves = [noise((8, 8))] * 12, replace(STRONG, affine_prob=1.0)
    first = by_key(augmented(sources, augmentation=moves), 12)
    for other in (
        by_key(augmented(sources, augmentation=moves), 12, epoch=1),
        by_key(augmented(sources, augmentation=moves, seed=6), 12),
    ):
        assert not any(torch.equal(other[key][-1], values[-1]) for key, values in first.items())


def test_workers_change_nothing_and_an_epoch_can_start_anywhere(tmp_path: Path) -> None:
    files = [written(tmp_path / f"{row}.png", noise(size, row)) for row, size in enumerate(SIZES)]
    images = reader_of(files, num_workers=2)
    helped, plain = augmented(files, images=images), split_of(files)
    shared = split_of(files, images=images)
    for epoch in (0, 1):
        assert_equal(by_key(helped, 4, epoch), by_key(augmented(files), 4, epoch))
        whole = batches(augmented(files), 2, epoch)
        for first_batch in (1, 2):
            started = batches(helped, 2, epoch, first_batch)
            for mine, other in zip(started, whole[first_batch:], strict=True):
                assert all(map(torch.equal, parts(mine), parts(other)))
        # a stopped epoch, then an evaluation of what shares the workers
        next(helped.batches(batch_size=1, epoch=epoch, first_batch=0))
        assert_equal(by_key(shared, 4), by_key(plain, 4))


class Declared:
    """Tiny images that are said to be large, and the rows that were read."""

    def __init__(self, sizes: Sequence[tuple[int, int]]) -> None:
        self.sizes = torch.tensor(sizes)
        self.rows: list[int] = []

    def batches(self, rows: Iterable[Tensor]) -> Iterator[Stack]:
        for batch in rows:
            self.rows += batch.tolist()
            pixels = [torch.zeros(3, 2, 2, dtype=torch.uint8)] * len(batch)
            ones = torch.ones(len(batch), dtype=torch.int64)
            yield Stack(batch, pixels, ones, self.sizes[batch])


@given(
    sizes=st.lists(st.tuples(st.integers(60, 2000), st.integers(60, 2000)), min_size=1, max_size=4),
    side=st.sampled_from([32, 96, 224]),
    epoch=st.integers(0, 10**6),
    is_mirrored=st.booleans(),
)
def test_points_come_back_to_a_thousandth_of_a_pixel(
    sizes: list[tuple[int, int]], side: int, epoch: int, is_mirrored: bool
) -> None:
    shares = np.random.default_rng(epoch).uniform(0, 1, (len(sizes), 3, 2))
    points = shares * np.array(sizes)[:, None]
    points[0, 0] = np.nan
    split = split_of(
        [],
        points,
        images=Declared(sizes),
        size_px=side,
        mirror=MIRROR if is_mirrored else None,
        augmentation=MOVES,
        seed=1,
    )
    for batch in batches(split, 3, epoch):
        found = original_points(batch.targets.points, batch)
        known = batch.targets.original.isfinite()
        assert known.sum() >= 3 * len(batch.keys) * 2 - 2
        torch.testing.assert_close(found[known], batch.targets.original[known], atol=1e-3, rtol=0)


def coloured_spots(size: tuple[int, int], points: Sequence[tuple[float, float]]) -> Tensor:
    """Return a red, a green and a blue spot on grey ground, around points."""
    x, y = (torch.arange(length) + 0.5 for length in size)
    width = min(size) / 24
    spots = [
        torch.exp(-((x - across) ** 2 + (y[:, None] - down) ** 2) / (2 * width**2))
        for across, down in points
    ]
    return (60 + 180 * torch.stack(spots)).round().byte()


@pytest.mark.parametrize("kind", ["tensor", "file"])
@pytest.mark.parametrize("size", [(60, 48), (100, 250), (331, 337)])
def test_spots_lie_at_their_target_points(tmp_path: Path, size: tuple[int, int], kind: str) -> None:
    """Spot 0 is red, 1 green, 2 blue; in a mirrored picture point 0 is where the green spot is.

    Images of 331 px are reduced sixfold first, though 331 is no multiple of 6.
    """
    middle = torch.tensor(size) / 2
    offsets = torch.tensor([[-0.2, -0.15], [0.2, -0.1], [0.05, 0.22]]) * min(size)
    points = (middle + offsets).tolist()
    source: Source = coloured_spots(size, points)
    if kind == "file":
        source = written(tmp_path / "spots.png", coloured_spots(size, points))
    moves = replace(MOVES, shift=0.05, scale=[0.8, 1.1], crop_min_scale=0.9)
    split = split_of([source] * 30, [points] * 30, augmentation=moves, seed=1, normalisation=RAW)
    (batch,) = batches(split, 30)
    x, y = torch.arange(SIDE) + 0.5, torch.arange(SIDE)[:, None] + 0.5
    is_mirrored = torch.linalg.det(batch.matrices) < 0
    assert 5 < is_mirrored.sum() < 25
    seen = 0
    for row, targets in enumerate(batch.targets.points):
        for point, target in enumerate(targets.tolist()):
            if not all(8 < place < SIDE - 8 for place in target):
                continue
            colour = int(MIRROR[point]) if is_mirrored[row] else point
            weights = (batch.inputs[row, colour] - 0.5).clamp(min=0)
            found = [float((weights * place).sum() / weights.sum()) for place in (x, y)]
            assert math.dist(found, target) < 0.3
            seen += 1
    assert seen > 50


def test_views_are_the_same_images_decoded_once() -> None:
    images = Declared(SIZES)
    split = split_of([], some_points(6), images=images)
    views = [PLAIN, replace(PLAIN, mirror=True), replace(PLAIN, rotation_degrees=20.0, scale=1.2)]
    found = list(split.view_batches(batch_size=4, views=views))
    assert [[len(batch.keys) for batch in each] for each in found] == [[4] * 3, [2] * 3]
    assert images.rows == list(range(6))
    plain = batches(split_of([], some_points(6), images=images), 4)
    for each, expected in zip(found, plain, strict=True):
        assert all(map(torch.equal, parts(each[0]), parts(expected)))
        for batch in each:
            assert torch.equal(batch.keys, expected.keys)
            back = original_points(batch.targets.points, batch)
            known = expected.targets.original.isfinite()
            torch.testing.assert_close(
                back[known], expected.targets.original[known], atol=1e-3, rtol=0
            )


def test_a_view_shows_what_it_says() -> None:
    image = noise((SIDE, SIDE))
    split = split_of([image], [[[3, 4], [40, 5], [20, 6]]], normalisation=RAW)
    brighter = replace(PLAIN, mirror=True, brightness=0.25)
    ((batch,),) = split.view_batches(batch_size=1, views=[brighter])
    expected = (image / 255 + 0.25).clamp(max=1).flip(2)[None]
    torch.testing.assert_close(batch.inputs, expected, atol=1e-4, rtol=0)
    assert batch.targets.points[0].tolist() == [[SIDE - 40, 5], [SIDE - 3, 4], [SIDE - 20, 6]]


def test_mirrored_views_take_a_permutation() -> None:
    split = split_of([noise((9, 9))], mirror=None)
    with pytest.raises(ValueError, match=r"views must not mirror points without dataset\.mirror"):
        next(split.view_batches(batch_size=1, views=[PLAIN, replace(PLAIN, mirror=True)]))
    assert len(list(split.view_batches(batch_size=1, views=[PLAIN]))) == 1


def test_samples_that_are_taken_keep_what_belongs_to_them() -> None:
    samples = replace(samples_of(some_points(4)), requested=[[0], [1], [2], [0]])
    taken = samples.take([2, 0])
    assert len(taken) == 2
    assert taken.names == ["2.png", "0.png"]
    assert taken.keys.tolist() == [2007, 7]
    assert taken.requested == [[2], [0]]
    np.testing.assert_array_equal(taken.points[[0, 1]], samples.points[[2, 0]])
    again = taken.take([1]).points
    np.testing.assert_array_equal(again[[0]], samples.points[[0]])
    assert samples_of(some_points(4)).take([1]).requested is None
