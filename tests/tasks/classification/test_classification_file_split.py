import functools
import gc
import io
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms
from viewing import view

from visionlab.core import geometry
from visionlab.images.decoding import Images, Stack, find_readable
from visionlab.images.holdout import Holdout
from visionlab.images.normalise import normalise
from visionlab.images.rendering import square_reduction
from visionlab.images.splits import ImageSplit, Training
from visionlab.task import Batch
from visionlab.tasks.classification.augment import Augment, draw, pad
from visionlab.tasks.classification.records import LabelledFiles
from visionlab.tasks.classification.splits import ClassificationDataset, file_split, in_files

NORMALISATION = torch.tensor([[0.5, 0.4, 0.3], [0.2, 0.3, 0.4]])
STRONG = Augment(pad_px=2, flip_prob=0.5, cutout_px=3)
IMAGES = [  # name, mode, (width, height)
    ("rgb.png", "RGB", (20, 13)),
    ("tall.jpg", "RGB", (9, 31)),
    ("grey.png", "L", (8, 8)),
    ("palette.png", "P", (17, 12)),
    ("transparent.png", "RGBA", (11, 11)),
    ("print.jpg", "CMYK", (40, 30)),
    ("bits.png", "1", (12, 30)),
    ("tiny.png", "RGB", (1, 3)),
    ("wide.bmp", "RGB", (64, 9)),
    ("lossless.webp", "RGB", (14, 15)),
    ("SHOUTED.JPEG", "L", (10, 16)),
]


def encoded(name: str, mode: str, size: tuple[int, int]) -> bytes:
    pixels = np.random.default_rng(sum(size)).integers(0, 256, (size[1], size[0], 3), np.uint8)
    stream = io.BytesIO()
    suffix = Path(name).suffix[1:].upper().replace("JPG", "JPEG")
    Image.fromarray(pixels).convert(mode).save(stream, suffix)
    return stream.getvalue()


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    for name, mode, size in IMAGES:
        (tmp_path / name).write_bytes(encoded(name, mode, size))
    return [tmp_path / name for name, _, _ in IMAGES]


@pytest.fixture(autouse=True)
def _workers_end_with_their_test() -> Iterator[None]:
    yield
    gc.collect()


def worker_pids() -> set[int | None]:
    return {process.pid for process in multiprocessing.active_children()}


def labelled(paths: Sequence[Path], keys: Tensor | None = None) -> LabelledFiles:
    return LabelledFiles(
        sources=paths,
        labels=torch.arange(len(paths)) % 3,
        keys=torch.arange(len(paths)) * 1000 + 7 if keys is None else keys,
    )


def split_of(
    paths: Sequence[Path],
    *,
    keys: Tensor | None = None,
    size_px: int = 8,
    augmentation: Augment | None = STRONG,
    num_workers: int = 0,
) -> ImageSplit[Stack]:
    samples = labelled(paths, keys)
    factor = functools.partial(square_reduction, size_px=size_px)
    return file_split(
        samples,
        Images(samples.sources, factor=factor, num_workers=num_workers),
        size_px=size_px,
        normalisation=NORMALISATION,
        training=augmentation and Training(augmentation=augmentation, seed=5),
    )


def plain_split_of(paths: list[Path], **changes: Any) -> ImageSplit[Stack]:
    return split_of(paths, augmentation=None, **changes)


def batches(
    split: ImageSplit[Stack], batch_size: int, epoch: int = 0, first_batch: int = 0
) -> list[Batch]:
    return list(split.batches(batch_size=batch_size, epoch=epoch, first_batch=first_batch))


def assert_same(ours: list[Batch], theirs: list[Batch]) -> None:
    assert [batch.keys.tolist() for batch in ours] == [batch.keys.tolist() for batch in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine[:3], other[:3], strict=True))


def torchvision_image(path: Path, size_px: int) -> Tensor:
    """Return torchvision's documented evaluation transform of a file."""
    transform = transforms.Compose(
        [
            transforms.Resize(size_px),
            transforms.CenterCrop(size_px),
            transforms.PILToTensor(),
        ]
    )
    with Image.open(path) as image:
        return normalise(transform(image.convert("RGB"))[None], NORMALISATION)[0]


def test_images_of_all_modes_and_sizes_are_decoded(paths: list[Path]) -> None:
    for size_px in (1, 8, 13):
        (batch,) = batches(plain_split_of(paths, size_px=size_px), batch_size=20)
        assert batch.inputs.shape == (11, 3, size_px, size_px)
        assert batch.inputs.isfinite().all()


@pytest.mark.parametrize("size", [(64, 32), (120, 40), (32, 96)])
def test_smooth_images_are_resized_as_torchvision_does(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    """Images without fine detail, for which filters do not matter: to two of 256 levels."""
    x, y = (np.linspace(0, 1, length) for length in size)
    waves = [128 + 100 * np.cos(2 * x + 3 * y[:, None] + phase) for phase in range(3)]
    Image.fromarray(np.stack(waves, axis=2).astype(np.uint8)).save(tmp_path / "smooth.png")
    for size_px in (8, 16, 20):  # torchvision then rounds no side
        (batch,) = batches(plain_split_of([tmp_path / "smooth.png"], size_px=size_px), 1)
        difference = (batch.inputs[0] - torchvision_image(tmp_path / "smooth.png", size_px)).abs()
        levels = difference * NORMALISATION[1][:, None, None] * 255
        assert levels[:, 1:-1, 1:-1].max() <= 2.5


def saved(folder: Path, count: int, side: int) -> tuple[list[Path], Tensor]:
    """Write square images of noise; return files and pixels (count, 3, side, side) uint8."""
    shape = (count, side, side, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    paths = [folder / f"{number}.png" for number in range(count)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    return paths, torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


@pytest.mark.parametrize("side", [7, 32, 224])
def test_an_image_of_the_models_size_comes_through_unchanged(tmp_path: Path, side: int) -> None:
    paths, pixels = saved(tmp_path, 2, side)
    (batch,) = batches(plain_split_of(paths, size_px=side), 2)
    assert torch.equal(batch.inputs, normalise(pixels, NORMALISATION))
    assert torch.equal(batch.matrices, torch.eye(3).expand(2, 3, 3))


@pytest.mark.parametrize("side", [7, 224])
def test_a_flip_is_exact(tmp_path: Path, side: int) -> None:
    paths, pixels = saved(tmp_path, 2, side)
    flip = Augment(pad_px=0, flip_prob=1.0, cutout_px=0)
    (batch,) = batches(split_of(paths, size_px=side, augmentation=flip), 2)
    rows = (batch.keys - 7) // 1000
    assert torch.equal(batch.inputs, normalise(pixels[rows].flip(3), NORMALISATION))


@pytest.mark.parametrize("side", [9, 64])
def test_files_are_augmented_as_images_in_memory_are(tmp_path: Path, side: int) -> None:
    """Crop, border, flip and cutout have the same bits, by matrix and by integer indexing."""
    paths, pixels = saved(tmp_path, 12, side)
    strong = Augment(pad_px=3, flip_prob=0.5, cutout_px=5)
    for epoch in (0, 1):
        (batch,) = batches(split_of(paths, size_px=side, augmentation=strong), 12, epoch)
        expected = strong(
            pad(pixels, 3),
            (batch.keys - 7) // 1000,
            draws=draw(batch.keys, seed=5, epoch=epoch),
            normalisation=NORMALISATION,
        )
        assert torch.equal(batch.inputs, expected)


def test_a_large_image_is_the_mean_of_squares(tmp_path: Path) -> None:
    paths, pixels = saved(tmp_path, 1, 40)
    (batch,) = batches(plain_split_of(paths, size_px=10), 1)
    means = pixels.float().unflatten(3, (10, 4)).unflatten(2, (10, 4)).mean(dim=(3, 5))
    found = (batch.inputs * NORMALISATION[1, :, None, None] + NORMALISATION[0, :, None, None]) * 255
    torch.testing.assert_close(found, means, atol=0.51, rtol=0)


def test_matrices_map_original_to_input_pixels(paths: list[Path]) -> None:
    strong = Augment(pad_px=2, flip_prob=0.5, cutout_px=0)
    for batch in batches(split_of(paths, augmentation=strong), 4):
        assert batch.matrices is not None
        for key, matrix in zip(batch.keys.tolist(), batch.matrices, strict=True):
            width, height = IMAGES[key // 1000][2]
            centre = torch.tensor([[[width / 2, height / 2]]])
            moved = geometry.transform_points(centre, matrix[None])[0, 0]
            offset = (moved - 4).abs()
            assert (offset <= 2 + 1e-4).all()  # pad_px
            torch.testing.assert_close(offset, offset.round(), atol=1e-4, rtol=0)


def test_views_are_one_sampling_of_the_decoded_image(tmp_path: Path) -> None:
    paths, pixels = saved(tmp_path, 3, 24)
    views = [view(), view(mirror=True, brightness=0.1)]
    ((plain, other),) = split_of(paths, size_px=24).view_batches(batch_size=3, views=views)
    order = (plain.keys - 7) // 1000
    assert torch.equal(plain.inputs, normalise(pixels[order], NORMALISATION))
    mean, std = NORMALISATION[:, None, :, None, None]
    expected = (pixels[order].flip(3) / 255 + 0.1).clamp(max=1.0)
    torch.testing.assert_close(other.inputs * std + mean, expected, atol=1e-3, rtol=0)
    assert (torch.linalg.det(other.matrices) < 0).all()
    assert torch.equal(other.keys, plain.keys)
    assert torch.equal(other.targets, plain.targets)


def test_without_a_seed_files_come_as_listed(paths: list[Path]) -> None:
    found = batches(plain_split_of(paths), batch_size=4)
    assert [len(batch.keys) for batch in found] == [4, 4, 3]
    keys = torch.cat([batch.keys for batch in found])
    assert keys.tolist() == [row * 1000 + 7 for row in range(11)]
    targets = torch.cat([batch.targets for batch in found])
    assert targets.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]


def test_every_epoch_has_every_file_once_in_another_order(paths: list[Path]) -> None:
    split = split_of(paths)
    orders = [
        torch.cat([batch.keys for batch in batches(split, 4, epoch)]).tolist() for epoch in range(3)
    ]
    assert all(sorted(order) == [row * 1000 + 7 for row in range(11)] for order in orders)
    assert orders[0] != orders[1] != orders[2]


def test_types_and_counts(paths: list[Path]) -> None:
    split = split_of(paths)
    assert len(split) == 11
    assert [split.num_batches(size) for size in (1, 4, 11, 12)] == [11, 3, 1, 1]
    batch = batches(split, batch_size=4)[0]
    assert (batch.inputs.dtype, batch.targets.dtype, batch.keys.dtype) == (
        torch.float32,
        torch.int64,
        torch.int64,
    )


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_change_nothing(paths: list[Path], num_workers: int) -> None:
    alone, helped = split_of(paths), split_of(paths, num_workers=num_workers)
    for batch_size, epoch, first_batch in ((3, 0, 0), (4, 1, 0), (2, 7, 3), (3, 2, 3), (3, 2, 4)):
        expected = batches(alone, batch_size, epoch)[first_batch:]
        assert_same(batches(alone, batch_size, epoch, first_batch), expected)
        assert_same(batches(helped, batch_size, epoch, first_batch), expected)


def test_an_augmented_image_depends_on_key_and_epoch_alone(paths: list[Path]) -> None:
    def by_key(split: ImageSplit[Stack], batch_size: int) -> dict[int, Tensor]:
        return {
            int(key): image
            for batch in batches(split, batch_size, epoch=3)
            for key, image in zip(batch.keys, batch.inputs, strict=True)
        }

    all_of_them = by_key(split_of(paths), batch_size=4)
    keys = torch.tensor([4007, 1007, 9007])
    few = by_key(split_of([paths[4], paths[1], paths[9]], keys=keys), batch_size=2)
    assert sorted(few) == [1007, 4007, 9007]
    assert all(torch.equal(image, all_of_them[key]) for key, image in few.items())


def test_workers_live_on_from_epoch_to_epoch(paths: list[Path]) -> None:
    before, split = worker_pids(), split_of(paths, num_workers=2)
    assert worker_pids() == before  # none is started before it is needed
    batches(split, batch_size=4, epoch=0)
    first = worker_pids() - before
    batches(split, batch_size=3, epoch=1)
    assert worker_pids() - before == first
    assert len(first) == 2
    del split
    gc.collect()
    assert worker_pids() == before


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_epoch_broken_off_does_not_disturb_the_next(paths: list[Path], num_workers: int) -> None:
    split = split_of(paths, num_workers=num_workers)
    next(split.batches(batch_size=2, epoch=0, first_batch=0))
    assert_same(batches(split, 2, epoch=1), batches(split_of(paths), 2, epoch=1))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_reading_files_draws_nothing_from_the_global_generator(
    paths: list[Path], num_workers: int
) -> None:
    state = torch.get_rng_state()
    batches(split_of(paths, num_workers=num_workers), batch_size=4)
    assert torch.equal(torch.get_rng_state(), state)


def with_path() -> dict[str, str]:
    """Return an environment in which this file and its helpers can be imported."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


LEAVING = """
import gc, multiprocessing, pathlib, sys
from test_classification_file_split import split_of

split = split_of([pathlib.Path(sys.argv[1])] * 4, augmentation=None, num_workers=1)
list(split.batches(batch_size=2, epoch=0, first_batch=0))
if sys.argv[2] == "collected":
    cycle = [split]
    cycle.append(cycle)
    del split, cycle
    gc.collect()
    assert not multiprocessing.active_children()
if sys.argv[2] == "kept by an error":
    raise ValueError
"""


@pytest.mark.integration
@pytest.mark.parametrize("split", ["alive", "kept by an error", "collected"])
def test_workers_let_the_process_end(paths: list[Path], split: str) -> None:
    command = [sys.executable, "-c", LEAVING, str(paths[0]), split]
    done = subprocess.run(
        command, check=False, timeout=60, capture_output=True, text=True, env=with_path()
    )
    assert done.stderr.splitlines()[-1:] == (["ValueError"] if "error" in split else [])


DAMAGED = {
    "text.png": b"not an image",
    "empty.png": b"",
    "cut.jpg": encoded("a.jpg", "RGB", (40, 30))[:-300],
    "cut.png": encoded("a.png", "RGB", (40, 30))[:-300],
    "header.webp": encoded("a.webp", "RGB", (40, 30))[:20],
}


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_that_cannot_be_read_is_named(
    paths: list[Path], name: str, num_workers: int
) -> None:
    path = paths[0].with_name(name)
    path.write_bytes(DAMAGED[name])
    data = in_files(
        {"train": labelled([*paths, path])},
        class_names=["a", "b", "c"],
        size_px=8,
        num_workers=num_workers,
        unreadable=[],
        dataset=ClassificationDataset(
            val=Holdout(split=0.0, seed=0), mean=[0.5] * 3, std=[0.5] * 3
        ),
        augmentation=STRONG,
        seed=5,
        device=torch.device("cpu"),
    )
    message = f"{path} must be an image.*dataset.skip_unreadable=true"
    with pytest.raises(ValueError, match=message):
        list(data.splits["train"].batches(batch_size=4, epoch=0, first_batch=0))


def test_a_file_that_disappeared_is_named(paths: list[Path]) -> None:
    paths[2].unlink()
    with pytest.raises(ValueError, match=f"{paths[2]} must be an image"):
        batches(split_of(paths), batch_size=4)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_all_unreadable_files_are_found(paths: list[Path], num_workers: int) -> None:
    damaged = [paths[0].with_name(name) for name in DAMAGED]
    for path in damaged:
        path.write_bytes(DAMAGED[path.name])
    samples = labelled([*damaged, *paths])
    rows, dropped = find_readable(samples.sources, num_workers=num_workers)
    kept = samples.take(rows)
    assert dropped == [str(path) for path in damaged]
    assert kept.sources == paths
    assert kept.keys.tolist() == [(len(damaged) + row) * 1000 + 7 for row in range(len(paths))]
    assert kept.labels.tolist() == [(len(damaged) + row) % 3 for row in range(len(paths))]


FEW_FILES = """
import resource, sys
from pathlib import Path
from test_classification_file_split import split_of

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
split = split_of([Path(sys.argv[1])] * 600, augmentation=None, num_workers=2)
print(sum(len(batch.keys) for batch in split.batches(batch_size=300, epoch=0, first_batch=0)))
"""


@pytest.mark.integration
def test_a_large_batch_needs_few_file_descriptors(paths: list[Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FEW_FILES, str(paths[0])],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=with_path(),
    )
    assert done.stdout == "600\n", done.stderr
