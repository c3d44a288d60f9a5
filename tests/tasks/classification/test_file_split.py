import gc
import io
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from visionlab.images.normalise import normalise
from visionlab.task import Batch
from visionlab.tasks.classification.augment import Augment
from visionlab.tasks.classification.file_split import FileSplit, find_unreadable

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


def split_of(paths: list[Path], **changes: Any) -> FileSplit:
    settings: dict[str, Any] = {
        "paths": paths,
        "labels": torch.arange(len(paths)) % 3,
        "keys": torch.arange(len(paths)) * 1000 + 7,
        "size_px": 8,
        "normalisation": NORMALISATION,
        "augmentation": STRONG,
        "seed": 5,
        "num_workers": 0,
    }
    return FileSplit(**settings | changes)


def plain_split_of(paths: list[Path], **changes: Any) -> FileSplit:
    return split_of(paths, augmentation=None, seed=None, **changes)


def batches(split: FileSplit, batch_size: int, epoch: int = 0, first_batch: int = 0) -> list[Batch]:
    return list(split.batches(batch_size=batch_size, epoch=epoch, first_batch=first_batch))


def assert_same(ours: list[Batch], theirs: list[Batch]) -> None:
    assert [batch.keys.tolist() for batch in ours] == [batch.keys.tolist() for batch in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine[:3], other[:3], strict=True))


def naive_image(path: Path, size_px: int) -> Tensor:
    """Return what torchvision's documented evaluation transform makes of a file."""
    transform = transforms.Compose(
        [
            transforms.Resize(size_px),
            transforms.CenterCrop(size_px),
            transforms.PILToTensor(),
        ]
    )
    with Image.open(path) as image:
        return normalise(transform(image.convert("RGB"))[None], NORMALISATION)[0]


@pytest.mark.parametrize("size_px", [1, 8, 13])
def test_images_of_all_modes_and_sizes_are_decoded_as_torchvision_does(
    paths: list[Path], size_px: int
) -> None:
    (batch,) = batches(plain_split_of(paths, size_px=size_px), batch_size=20)
    expected = torch.stack([naive_image(path, size_px) for path in paths])
    assert batch.inputs.shape == (11, 3, size_px, size_px)
    assert torch.equal(batch.inputs, expected)


def test_grey_images_are_grey_and_colours_keep_their_channel(tmp_path: Path) -> None:
    path = tmp_path / "half.png"
    Image.new("RGB", (6, 4), (200, 100, 0)).save(path)
    (batch,) = batches(plain_split_of([path], normalisation=torch.tensor([[0.0], [1 / 255]])), 1)
    assert [channel.unique().round().tolist() for channel in batch.inputs[0]] == [[200], [100], [0]]


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
    def by_key(split: FileSplit, batch_size: int) -> dict[int, Tensor]:
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


LEAVING = """
import gc, multiprocessing, pathlib, sys, torch
from visionlab.tasks.classification.file_split import FileSplit

split = FileSplit(
    paths=[pathlib.Path(sys.argv[1])] * 4,
    labels=torch.zeros(4, dtype=torch.int64),
    keys=torch.arange(4),
    size_px=8,
    normalisation=torch.ones(2, 3),
    augmentation=None,
    seed=None,
    num_workers=1,
)
list(split.batches(batch_size=2, epoch=0, first_batch=0))
if sys.argv[2] == "collected":
    split.itself = split
    del split
    gc.collect()
    assert not multiprocessing.active_children()
if sys.argv[2] == "kept by an error":
    raise ValueError
"""


@pytest.mark.integration
@pytest.mark.parametrize("split", ["alive", "kept by an error", "collected"])
def test_workers_let_the_process_end(paths: list[Path], split: str) -> None:
    command = [sys.executable, "-c", LEAVING, str(paths[0]), split]
    done = subprocess.run(command, check=False, timeout=20, capture_output=True, text=True)
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
    message = f"{path} cannot be read as an image; set dataset.skip_unreadable=true"
    with pytest.raises(ValueError, match=message):
        batches(split_of([*paths, path], num_workers=num_workers), batch_size=4)


def test_a_file_that_disappeared_is_named(paths: list[Path]) -> None:
    paths[2].unlink()
    with pytest.raises(ValueError, match=f"{paths[2]} cannot be read as an image"):
        batches(split_of(paths), batch_size=4)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_all_unreadable_files_are_found(paths: list[Path], num_workers: int) -> None:
    damaged = [paths[0].with_name(name) for name in DAMAGED]
    for path in damaged:
        path.write_bytes(DAMAGED[path.name])
    found = find_unreadable([*damaged, *paths], num_workers=num_workers)
    assert found == list(range(len(damaged)))


FEW_FILES = """
import resource, sys
from pathlib import Path
import torch
from visionlab.tasks.classification.file_split import FileSplit

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
split = FileSplit(
    paths=[Path(sys.argv[1])] * 600,
    labels=torch.zeros(600),
    keys=torch.arange(600),
    size_px=8,
    normalisation=torch.ones(2, 3),
    augmentation=None,
    seed=None,
    num_workers=2,
)
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
    )
    assert done.stdout == "600\n", done.stderr
