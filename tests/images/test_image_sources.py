import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from visionlab.images.arrays import ArrayImage, array_images
from visionlab.images.image_sources import find_sources
from visionlab.images.pixels import array_rgb


def picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (3, 2), (value, value, value)).save(path)
    return path


def names(*places: Any) -> list[str]:
    return find_sources([str(place) for place in places]).names


def test_a_folder_has_paths_below_it_and_nothing_but_images(tmp_path: Path) -> None:
    for name in ("b.png", "sub/a.jpg", ".hidden/c.png", "._d.png", "a.PNG"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("words")
    assert names(tmp_path) == ["a.PNG", "b.png", "sub/a.jpg"]


def test_files_have_the_names_that_were_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("in/b.png", "in/a.png", "in/sub/c.png", "a.png"):
        picture(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert names("in/a.png") == ["in/a.png"]
    assert names("in/*.png") == ["in/a.png", "in/b.png"]
    assert names("a.png", "in") == ["a.png", "in/a.png", "in/b.png", "in/sub/c.png"]
    with pytest.raises(ValueError, match=r"source must name each image once, got a\.png twice"):
        names("a.png", "*.png")


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path: Path) -> None:
    assert names(picture(tmp_path / "a[1].png")) == [str(tmp_path / "a[1].png")]


def test_a_tar_has_the_paths_in_it(tmp_path: Path) -> None:
    content = picture(tmp_path / "a.png").read_bytes()
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        info = tarfile.TarInfo("in/a.png")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    assert names(tmp_path / "t.tar") == ["in/a.png"]


@pytest.mark.parametrize("name", ["t.tar.gz", "t.zip", "t.tgz"])
def test_compressed_archives_are_refused(name: str, tmp_path: Path) -> None:
    marks = {"t.zip": b"PK\x03\x04"}
    (tmp_path / name).write_bytes(marks.get(name, b"\x1f\x8b") + b"0" * 20)
    with pytest.raises(
        ValueError, match=r"must be a folder or an uncompressed tar, got (gzip|zip)"
    ):
        names(tmp_path / name)


def test_what_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"source must be .*, looked for .*gone"):
        names(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"looked for .*\*\.png"):
        names(tmp_path / "*.png")
    with pytest.raises(ValueError, match=r"source must hold images .*, got none in"):
        names(tmp_path)


RAMP = np.arange(2 * 6 * 5 * 3, dtype=np.uint8).reshape(2, 6, 5, 3)  # (N, H, W, C)


@pytest.mark.parametrize(
    ("array", "rows"),
    [
        (RAMP, [0, 1]),
        (RAMP.transpose(0, 3, 1, 2), [0, 1]),
        (RAMP[0], [None]),
        (RAMP[0].transpose(2, 0, 1), [None]),
        (RAMP.astype(np.uint16) * 256 + 7, [0, 1]),
    ],
    ids=["NHWC", "NCHW", "HWC", "CHW", "sixteen bits"],
)
def test_arrays_of_all_layouts_are_images(
    array: np.ndarray[Any, Any], rows: list[int | None], tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", first=array)
    for name, key in (("a.npy", None), ("a.npz", "first")):
        path = tmp_path / name
        assert [*array_images(path)] == [ArrayImage(path, key, row) for row in rows]
        for image, expected in zip(array_images(path), RAMP, strict=False):
            assert np.array_equal(np.asarray(image.rgb()), expected)


def test_grey_and_transparent_arrays_are_read_as_files_are() -> None:
    grey = RAMP[0, :, :, 0]
    for array in (grey, grey[:, :, None]):
        assert np.array_equal(np.asarray(array_rgb(array)), np.stack([grey] * 3, axis=2))
    clear = np.zeros((2, 2, 4), np.uint8)
    clear[0, 0] = (10, 20, 30, 255)
    pixels = np.asarray(array_rgb(clear))
    assert pixels[0, 0].tolist() == [10, 20, 30]
    assert pixels[1, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2, 3)), "must hold uint8 or uint16 arrays, got float64"),
        (np.zeros((2, 2, 3), np.int64), "got int64"),
        (np.zeros(5, np.uint8), r"must hold arrays of shape .*, got \(5,\)"),
        (np.zeros((2, 5, 5, 5), np.uint8), r"got \(2, 5, 5, 5\)"),
        (np.zeros((0, 5, 5, 3), np.uint8), r"got \(0, 5, 5, 3\)"),
        (np.array([{}], dtype=object), "must hold arrays of images, got .*a.npy"),
    ],
)
def test_other_arrays_are_refused(
    array: np.ndarray[Any, Any], message: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        names(tmp_path / "a.npy")
