"""The images that a user names: files, folders, tars and arrays."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from visionlab.images.arrays import SUFFIXES as ARRAYS
from visionlab.images.arrays import ArrayImage, array_images
from visionlab.images.paths import SUFFIXES
from visionlab.images.sources import StoredImage, list_images

_ARCHIVES = (".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip")  # those but .tar are refused
_FOUND = "a file, folder, tar or array of images"


class ImageSources(NamedTuple):
    """Images and their names, in equal order; no name is there twice."""

    names: list[str]
    sources: list[StoredImage | ArrayImage]


def find_sources(places: Sequence[str]) -> ImageSources:
    """Return the images in places: image files, folders, uncompressed tars, .npy and .npz files.

    In a place, * stands for any characters. Images of a single folder or tar have the names of
    their paths in it; others have their whole path before it. Of folders and tars, files that are
    no images by their extension are left out, and so are hidden ones.

    Raises:
        FileNotFoundError: a place does not exist.
        ValueError: there is no image, a file cannot be read, or an image is named twice.
    """
    paths = [path for place in places for path in _expanded(place)]
    found: dict[str, StoredImage | ArrayImage] = {}
    for path in paths:
        for name, source in _images(path):
            full = name if len(paths) == 1 else f"{path}/{name}" if name != str(path) else name
            if full in found:
                raise ValueError(f"source must name each image once, got {full} twice")
            found[full] = source
    if not found:
        raise ValueError(
            f"source must hold images ({', '.join(SUFFIXES)}, or arrays), "
            f"got none in {', '.join(map(str, paths))}"
        )
    return ImageSources(list(found), list(found.values()))


def _expanded(place: str) -> list[Path]:
    """Return the paths that a place stands for."""
    path = Path(place).expanduser()
    if path.exists():
        return [path]
    matching = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207, absolute too
    if not matching:
        raise FileNotFoundError(f"source must be {_FOUND}, looked for {place}")
    return matching


def _images(path: Path) -> Iterator[tuple[str, StoredImage | ArrayImage]]:
    """Yield the images of a path with their names below it, or its own for a file."""
    suffix = path.suffix.lower()
    if path.is_dir():
        yield from list_images(path)
    elif suffix in ARRAYS:
        for image in array_images(path):
            yield str(image), image
    elif suffix in _ARCHIVES:
        yield from list_images(path)
    else:
        yield str(path), path
