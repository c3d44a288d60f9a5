import gc
import multiprocessing
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from visionlab.images import decoding
from visionlab.images.decoding import Images, KeptImages, Source, Stack, find_readable
from visionlab.images.sources import find_images

CPU = torch.device("cpu")
SIZES = [(9, 5), (4, 4), (1, 7), (12, 8)]  # width and height


@pytest.fixture(autouse=True)
def _workers_end_with_their_test() -> Iterator[None]:
    yield
    if multiprocessing.active_children():
        gc.collect()


def whole(width: int, height: int) -> int:
    return 1


def halved(width: int, height: int) -> int:
    return 2 if min(width, height) >= 4 else 1


def noise(size: tuple[int, int], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (3, size[1], size[0])
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def written(path: Path, image: Tensor) -> Path:
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [written(tmp_path / f"{row}.png", noise(size, row)) for row, size in enumerate(SIZES)]


def opened(
    sources: Sequence[Source | Tensor],
    factor: Callable[[int, int], int] = whole,
    num_workers: int = 0,
) -> Images:
    return Images(sources, factor=factor, num_workers=num_workers)


def stacks(images: Images | KeptImages, *rows: Sequence[int]) -> list[Stack]:
    return list(images.batches(torch.tensor(batch) for batch in rows))


def assert_same(ours: Stack, theirs: Stack) -> None:
    for name in ("rows", "factors", "sizes"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    for our_image, their_image in zip(ours.pixels, theirs.pixels, strict=True):
        assert torch.equal(our_image, their_image)


@pytest.mark.parametrize("kind", ["files", "tensors", "tar"])
def test_images_come_as_they_were_written(files: list[Path], kind: str, tmp_path: Path) -> None:
    sources: Sequence[Source | Tensor] = files
    if kind == "tensors":
        sources = [noise(size, row) for row, size in enumerate(SIZES)]
    if kind == "tar":
        with tarfile.open(tmp_path / "images.tar", "w") as tar:
            for path in files:
                tar.add(path, path.name)
        found = find_images(tmp_path / "images.tar", [path.name for path in files])
        sources = [source for source in found if source is not None]
    first, second = stacks(opened(sources), [2, 0, 3], [1])
    assert first.rows.tolist() == [2, 0, 3]
    assert second.rows.tolist() == [1]
    assert first.sizes.tolist() == [[1, 7], [9, 5], [12, 8]]
    assert first.factors.tolist() == [1, 1, 1]
    assert first.pixels[0].dtype == torch.uint8
    for stack in (first, second):
        for row, image in zip(stack.rows.tolist(), stack.images(CPU), strict=True):
            assert torch.equal(image, noise(SIZES[row], row))


@pytest.mark.parametrize("kind", ["files", "tensors"])
def test_a_reduced_image_has_the_means_of_its_squares(tmp_path: Path, kind: str) -> None:
    image = noise((8, 6))
    source = image if kind == "tensors" else written(tmp_path / "image.png", image)
    (stack,) = stacks(opened([source, source], halved), [1])
    means = image.float().unflatten(2, (4, 2)).unflatten(1, (3, 2)).mean(dim=(2, 4))
    assert stack.factors.tolist() == [2]
    assert stack.sizes.tolist() == [[8, 6]]  # of the original
    torch.testing.assert_close(stack.images(CPU)[0].float(), means, atol=0.51, rtol=0)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_every_kind_of_picture_becomes_colours(tmp_path: Path, mode: str) -> None:
    grey = Image.new("RGB", (5, 4), (255, 255, 255)).convert(mode)
    grey.save(tmp_path / "image.tif")
    (stack,) = stacks(opened([tmp_path / "image.tif"]), [0])
    assert torch.equal(stack.images(CPU)[0], torch.full((3, 4, 5), 255, dtype=torch.uint8))


def test_workers_change_nothing_and_serve_every_epoch(files: list[Path]) -> None:
    alone, helped = opened(files, halved), opened(files, halved, num_workers=2)
    for epoch in ([[3, 1], [0], [2, 2]], [[0, 1, 2, 3]]):
        for ours, theirs in zip(stacks(alone, *epoch), stacks(helped, *epoch), strict=True):
            assert_same(ours, theirs)


def test_an_epoch_that_is_left_does_not_reach_into_the_next(files: list[Path]) -> None:
    images = opened(files, num_workers=2)
    left = images.batches(torch.tensor([row]) for row in (3, 2, 1, 0))
    assert next(left).rows.tolist() == [3]
    found = stacks(images, [0, 1], [2, 3])
    assert [stack.rows.tolist() for stack in found] == [[0, 1], [2, 3]]
    for stack, expected in zip(found, stacks(opened(files), [0, 1], [2, 3]), strict=True):
        assert_same(stack, expected)


def test_kept_images_are_those_that_would_be_decoded(files: list[Path]) -> None:
    images = opened(files, halved)
    kept = KeptImages(images, num_images=4)
    rows = ([3, 0, 0], [1, 2])
    expected = stacks(images, *rows)
    for path in files:
        path.unlink()
    for _ in range(2):
        for ours, theirs in zip(stacks(kept, *rows), expected, strict=True):
            assert_same(ours, theirs)


def test_kept_images_of_more_than_one_block_are_in_their_order() -> None:
    sources = [noise((2 + row % 3, 3), row) for row in range(150)]
    (stack,) = stacks(KeptImages(opened(sources), num_images=150), [149, 64, 63, 0])
    for row, image in zip((149, 64, 63, 0), stack.images(CPU), strict=True):
        assert torch.equal(image, sources[row])


def damage(path: Path, kind: str) -> None:
    if kind == "missing":
        path.unlink()
    elif kind == "text":
        path.write_text("no image")
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        written(path.with_suffix(".jpg"), noise((60, 50)))
        path.write_bytes(path.with_suffix(".jpg").read_bytes()[:-900])


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("kind", ["missing", "text", "empty", "cut off"])
def test_a_file_that_cannot_be_decoded_is_named(
    files: list[Path], kind: str, num_workers: int
) -> None:
    damage(files[2], kind)
    images = opened(files, num_workers=num_workers)
    message = (
        f"^{re.escape(str(files[2]))} must be an image, got a file that cannot be (decoded|read)"
    )
    with pytest.raises(ValueError, match=message):
        stacks(images, [0], [1, 2, 3])
    readable = find_readable(files, num_workers=num_workers)
    assert readable == ([0, 1, 3], [str(files[2])])
    assert [stack.rows.tolist() for stack in stacks(images, [3, 1])] == [[3, 1]]


def test_all_unreadable_files_are_found(files: list[Path]) -> None:
    sources = [files[row % 4] for row in range(130)]
    for row, kind in ((3, "missing"), (70, "text"), (128, "cut off")):
        sources[row] = written(files[0].with_name(f"bad{row}.png"), noise((5, 5)))
        damage(sources[row], kind)
    readable, others = find_readable(sources, num_workers=0)
    assert others == [str(sources[row]) for row in (3, 70, 128)]
    assert readable == [row for row in range(130) if row not in (3, 70, 128)]
    assert find_readable(files, num_workers=0) == ([0, 1, 2, 3], [])
    assert find_readable([], num_workers=0) == ([], [])


def test_a_batch_leaves_a_worker_as_few_tensors() -> None:
    sources = [noise(size, row) for row, size in enumerate(SIZES)]
    packed = decoding._read(sources, whole, (2, 0, 3))
    assert sum(isinstance(part, Tensor) for part in packed) == 2


def test_an_iteration_keeps_its_batches_when_another_starts(files: list[Path]) -> None:
    images = opened(files)
    first = images.batches(torch.tensor([[0], [1], [2]]))
    assert next(first).rows.tolist() == [0]
    assert [stack.rows.tolist() for stack in stacks(images, [3], [2])] == [[3], [2]]
    assert [stack.rows.tolist() for stack in first] == [[1], [2]]
