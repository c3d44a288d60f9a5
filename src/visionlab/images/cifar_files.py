"""Files of CIFAR-10 and CIFAR-100, read without running code from a pickle."""

import pickle
import urllib.error
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10


SIDE_PX = 32


class Labelled(NamedTuple):
    """Images (N, 3, 32, 32) uint8 and their labels, (N,) int64."""

    images: Tensor
    labels: Tensor


class CifarFiles(NamedTuple):
    """The content of all files, images in the official order."""

    train: Labelled
    test: Labelled
    class_names: list[str]


@dataclass(frozen=True, kw_only=True)
class CifarSettings:
    """Settings of CIFAR for every task.

    Attributes:
        num_classes: 10 or 100.
        root: the folder that holds `cifar-10-batches-py` or `cifar-100-python`.
        download: fetch the archive if the inner folder is missing.
        verify: refuse files whose md5 sums are not the official ones.
    """

    num_classes: int
    root: str
    download: bool
    verify: bool

    def __post_init__(self) -> None:
        if self.num_classes not in (10, 100):
            raise ValueError(f"num_classes must be 10 or 100, got {self.num_classes}")


def read_cifar(settings: CifarSettings) -> CifarFiles:
    """Return CIFAR-10 or -100.

    Raises:
        FileNotFoundError: a folder or a file is missing.
        ValueError: a file is not the official one, or not a batch of images.
    """
    from torchvision.datasets import CIFAR10, CIFAR100

    source = CIFAR10 if settings.num_classes == 10 else CIFAR100
    folder = Path(settings.root).expanduser() / source.base_folder
    if settings.download and not folder.exists():
        _download(source, folder.parent)
    if not folder.is_dir():
        raise FileNotFoundError(f"dataset.root must hold {source.base_folder}, looked for {folder}")
    names = _names(folder, source, verify=settings.verify)
    if len(names) != settings.num_classes:
        raise ValueError(f"{folder} must name {settings.num_classes} classes, got {len(names)}")
    train, test = (
        _read_all(folder, files, verify=settings.verify)
        for files in (source.train_list, source.test_list)
    )
    return CifarFiles(train, test, names)


def _download(source: "type[CIFAR10]", root: Path) -> None:
    from torchvision.datasets.utils import download_and_extract_archive

    try:
        download_and_extract_archive(source.url, root, filename=source.filename, md5=source.tgz_md5)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"dataset.root must hold {source.base_folder}, looked for {root / source.base_folder}; "
            f"its download failed ({error})"
        ) from error


def _names(folder: Path, source: "type[CIFAR10]", *, verify: bool) -> list[str]:
    meta = source.meta
    content = _unpickle(folder / meta["filename"], md5=meta["md5"], verify=verify)
    names = content.get(meta["key"])
    if not isinstance(names, list):
        raise ValueError(
            f"{folder / meta['filename']} must hold {meta['key']}, got keys "
            f"{sorted(map(str, content))}"
        )
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _read_all(folder: Path, files: Sequence[tuple[str, str]], *, verify: bool) -> Labelled:
    parts = [_read(folder / name, md5=md5, verify=verify) for name, md5 in files]
    return Labelled(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _read(path: Path, *, md5: str, verify: bool) -> Labelled:
    content = _unpickle(path, md5=md5, verify=verify)
    images, labels = content.get("data"), content.get("labels", content.get("fine_labels"))
    labels = labels.tolist() if isinstance(labels, np.ndarray) else labels
    if (
        not isinstance(labels, list)
        or not all(isinstance(label, int | np.integer) for label in labels)
        or not isinstance(images, np.ndarray)
        or (images.dtype, images.shape[1:]) != (np.uint8, (3072,))
    ):
        raise ValueError(
            f"{path} must hold images (N, 3072) and whole numbers as labels, got keys "
            f"{sorted(map(str, content))}"
        )
    if len(images) != len(labels):
        raise ValueError(
            f"{path} must hold one label an image, got {len(labels)} for {len(images)}"
        )
    return Labelled(torch.from_numpy(images.reshape(-1, 3, 32, 32).copy()), torch.tensor(labels))


class _ArraysOnly(pickle.Unpickler):
    """Unpickler of plain containers and NumPy arrays; refuses everything else."""

    _ALLOWED = frozenset({"_reconstruct", "ndarray", "dtype", "encode", "scalar", "_frombuffer"})
    _MODULES = ("numpy", "_codecs")

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] in self._MODULES and name in self._ALLOWED:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _unpickle(path: Path, *, md5: str, verify: bool) -> dict[str, Any]:
    from torchvision.datasets.utils import check_md5

    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    if verify and not check_md5(path, md5):
        raise ValueError(
            f"{path} must be the official file with md5 {md5}; set dataset.verify=false to read "
            "another copy"
        )
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file, encoding="latin1").load()
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(f"{path} is not a batch of images, {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a dictionary, got {type(content).__name__}")
    # copies written by Python 3 may have keys of bytes
    return {key.decode() if isinstance(key, bytes) else key: each for key, each in content.items()}
