"""Images in NumPy files, read one by one."""

import functools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from visionlab.images.pixels import array_rgb

SUFFIXES = (".npy", ".npz")
_CHANNELS = (1, 3, 4)


class ArrayImage(NamedTuple):
    """An image within an array of a file.

    Attributes:
        path: the file.
        array: the name of the array in an .npz, None in an .npy.
        row: the number of the image, None if the array is one image.
    """

    path: Path
    array: str | None
    row: int | None

    def __str__(self) -> str:
        """Return file, array and row, for messages."""
        name = str(self.path) if self.array is None else f"{self.path}:{self.array}"
        return name if self.row is None else f"{name}[{self.row}]"

    def rgb(self) -> Image.Image:
        """Return the image, in RGB with 8 bits a channel.

        Raises:
            OSError: the file cannot be read.
            ValueError: the file is damaged.
        """
        array = _open(self.path, self.array)
        image = np.asarray(array if self.row is None else array[self.row])
        channels_first = image.ndim == 3 and image.shape[2] not in _CHANNELS
        return array_rgb(image.transpose(1, 2, 0) if channels_first else image)


def array_images(path: Path) -> Iterator[ArrayImage]:
    """Yield the images of an .npy, or of all arrays of an .npz.

    An array is one image, (H, W), (H, W, C) or (3, H, W), or N of them: (N, H, W), (N, H, W, C) or
    (N, C, H, W), with 1, 3 or 4 channels and 8 or 16 bits each.

    Raises:
        ValueError: the file is damaged, or an array has another shape or type.
    """
    for name in _names(path):
        try:
            array = _open(path, name)
            shape, dtype = array.shape, array.dtype
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"source must hold arrays of images, got {path}: {error}") from error
        where = str(ArrayImage(path, name, None))
        is_single = _check(shape, dtype, where)
        if is_single:
            yield ArrayImage(path, name, None)
        else:
            yield from (ArrayImage(path, name, row) for row in range(shape[0]))


def _check(shape: tuple[int, ...], dtype: Any, where: str) -> bool:
    """Refuse what are no images; return whether an array is a single one."""
    if dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"source must hold uint8 or uint16 arrays, got {dtype} in {where}; "
            "multiply shares of 1 by 255 and round them"
        )
    is_single = len(shape) == 2 or (len(shape) == 3 and (shape[2] in _CHANNELS or shape[0] == 3))
    is_many = len(shape) == 3 or (len(shape) == 4 and {shape[1], shape[3]} & {*_CHANNELS})
    if not (is_single or is_many) or 0 in shape:
        raise ValueError(
            "source must hold arrays of shape (N, H, W, 1, 3 or 4), (N, H, W), (H, W, 3) or "
            f"(H, W), got {shape} in {where}"
        )
    return is_single


def _names(path: Path) -> list[str | None]:
    if path.suffix.lower() == ".npy":
        return [None]
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return list(arrays.files)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"source must hold arrays of images, got {path}: {error}") from error


def _open(path: Path, name: str | None) -> Any:
    """Return an array; of an .npy it is mapped into memory, and only what is used is read."""
    if name is None:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    return _unpacked(path, name)


@functools.lru_cache(maxsize=1)  # or each row would unpack the whole array again
def _unpacked(path: Path, name: str) -> Any:
    with np.load(path, allow_pickle=False) as arrays:
        return arrays[name]
