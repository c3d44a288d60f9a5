import os
import pickle
import struct
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import calculate_md5

from visionlab.images.holdout import Holdout
from visionlab.task import Batch, Data
from visionlab.tasks.classification.augment import Augment
from visionlab.tasks.classification.datasets.cifar import Cifar

TRAIN_FILES = [f"data_batch_{number}" for number in range(1, 6)]
Write = Callable[[Path, Any], None]


def write_pickle(path: Path, content: Any) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


def write_newest_pickle(path: Path, content: Any) -> None:
    path.write_bytes(pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL))


def write_python_2_pickle(path: Path, content: Any) -> None:
    """Write as Python 2 did for the official files: all text and all bytes are byte strings."""

    class Python2Pickler(pickle._Pickler):
        def save_string(self, text: str | bytes) -> None:
            raw = text if isinstance(text, bytes) else text.encode("latin1")
            self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
            self.memoize(text)

        dispatch = pickle._Pickler.dispatch | {str: save_string, bytes: save_string}

    with path.open("wb") as file:
        Python2Pickler(file, protocol=2).dump(content)
    path.write_bytes(path.read_bytes().replace(b"cnumpy._core.", b"cnumpy.core."))


def pixels(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)


def batch_of(count: int, seed: int, num_classes: int = 10) -> dict[str, Any]:
    labels = [(seed + row) % num_classes for row in range(count)]
    return {"data": pixels(count, seed), "labels": labels, "batch_label": "part"}


def write_cifar10(root: Path, write: Write = write_pickle) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for seed, name in enumerate([*TRAIN_FILES, "test_batch"]):
        write(folder / name, batch_of(4, seed))
    write(folder / "batches.meta", {"label_names": [f"class {label}" for label in range(10)]})
    return folder


def write_cifar100(root: Path) -> Path:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for seed, name in enumerate(["train", "test"]):
        content = batch_of(12, seed + 90, num_classes=100)
        fine = content.pop("labels")
        write_pickle(folder / name, content | {"fine_labels": fine, "coarse_labels": [0] * 12})
    write_pickle(folder / "meta", {"fine_label_names": [f"fine {label}" for label in range(100)]})
    return folder


def read(
    root: Path,
    *,
    num_classes: int = 10,
    download: bool = False,
    verify: bool = False,
    split: float = 0.0,
) -> Data:
    """Return the data with pixels as they are, 0 to 255."""
    dataset = Cifar(
        num_classes=num_classes,
        root=str(root),
        download=download,
        verify=verify,
        val=Holdout(split=split, seed=1234),
        mean=[0.0] * 3,
        std=[1 / 255] * 3,
    )
    augmentation = Augment(pad_px=0, flip_prob=0.0, cutout_px=0)
    return dataset(augmentation=augmentation, seed=0, device=torch.device("cpu"))


def whole(data: Data, split: str) -> Batch:
    size = len(data.splits[split])
    return next(data.splits[split].batches(batch_size=size, epoch=0, first_batch=0))


def ordered(batch: Batch) -> tuple[Tensor, Tensor]:
    order = batch.keys.argsort()
    return batch.inputs[order].round().to(torch.uint8), batch.targets[order]


@pytest.mark.parametrize("write", [write_pickle, write_newest_pickle, write_python_2_pickle])
def test_cifar_10_has_its_images_in_the_official_order(tmp_path: Path, write: Write) -> None:
    write_cifar10(tmp_path, write)
    data = read(tmp_path)
    images, labels = ordered(whole(data, "train_plain"))
    expected = np.concatenate([pixels(4, seed) for seed in range(5)]).reshape(-1, 3, 32, 32)
    assert np.array_equal(images.numpy(), expected)
    assert labels.tolist() == [(seed + row) % 10 for seed in range(5) for row in range(4)]
    images, labels = ordered(whole(data, "test"))
    assert np.array_equal(images.numpy(), pixels(4, 5).reshape(-1, 3, 32, 32))
    assert labels.tolist() == [5, 6, 7, 8]


def test_pixels_are_stored_channel_by_channel_and_row_by_row(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path)
    image = np.zeros((1, 3072), dtype=np.uint8)
    image[0, [0, 33, 1024 + 31, 2048 + 32 * 31]] = [1, 2, 3, 4]
    write_pickle(folder / "test_batch", {"data": image, "labels": [0]})
    images, _ = ordered(whole(read(tmp_path), "test"))
    places = images.nonzero().tolist()
    assert places == [[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 31], [0, 2, 31, 0]]


def test_cifar_10_says_its_classes_and_splits(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    data = read(tmp_path, split=0.1)
    assert list(data.class_names) == [f"class {label}" for label in range(10)]
    assert data.sizes == {"num_classes": 10}
    sizes = {name: len(split) for name, split in data.splits.items()}
    assert sizes == {"train": 18, "train_plain": 18, "val": 2, "test": 4}


def test_cifar_100_takes_the_fine_labels(tmp_path: Path) -> None:
    write_cifar100(tmp_path)
    data = read(tmp_path, num_classes=100)
    _, labels = ordered(whole(data, "train"))
    assert labels.tolist() == [*range(90, 100), 0, 1]
    assert len(data.splits["test"]) == 12
    assert data.sizes == {"num_classes": 100}
    assert data.class_names[99] == "fine 99"


def test_class_names_may_be_byte_strings(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path)
    write_pickle(folder / "batches.meta", {"label_names": [b"cat"] * 10})
    assert list(read(tmp_path).class_names) == ["cat"] * 10


def test_keys_may_be_byte_strings(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path)
    labels = {b"labels": [3], b"data": np.full((1, 3072), 7, dtype=np.uint8)}
    write_newest_pickle(folder / "test_batch", labels)
    write_newest_pickle(folder / "batches.meta", {b"label_names": [b"cat"] * 10})
    assert ordered(whole(read(tmp_path), "test"))[1].tolist() == [3]


def test_other_copies_are_refused_unless_told_otherwise(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    message = "batches.meta must be the official file with md5 5ff9c542.*set dataset.verify=false"
    with pytest.raises(ValueError, match=message):
        read(tmp_path, verify=True)


@pytest.mark.parametrize("changed", ["data_batch_1", "data_batch_5", "test_batch", "batches.meta"])
def test_every_file_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    folder = write_cifar10(tmp_path)

    def listed(*names: str) -> list[list[str]]:
        return [[name, calculate_md5(folder / name)] for name in names]

    meta = CIFAR10.meta | {"md5": calculate_md5(folder / "batches.meta")}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    monkeypatch.setattr(CIFAR10, "train_list", listed(*TRAIN_FILES))
    monkeypatch.setattr(CIFAR10, "test_list", listed("test_batch"))
    assert len(read(tmp_path, verify=True).splits["train"]) == 20
    (folder / changed).write_bytes((folder / changed).read_bytes() + b" ")
    with pytest.raises(ValueError, match=f"{changed} must be the official file with md5"):
        read(tmp_path, verify=True)
    assert len(read(tmp_path, verify=False).splits["train"]) == 20


@pytest.mark.parametrize(
    ("num_classes", "folder"), [(10, "cifar-10-batches-py"), (100, "cifar-100-python")]
)
def test_a_missing_folder_is_named(tmp_path: Path, num_classes: int, folder: str) -> None:
    message = f"dataset.root must hold {folder}, looked for {tmp_path / folder}"
    with pytest.raises(FileNotFoundError, match=message):
        read(tmp_path, num_classes=num_classes)


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write_cifar10(tmp_path)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{folder / name} does not exist"):
        read(tmp_path)


class Intruder:
    """Creates a file when it is unpickled without care."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("name", ["data_batch_2", "batches.meta"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, name: str) -> None:
    folder, marker = write_cifar10(tmp_path), tmp_path / "marker"
    intruder = Intruder(marker)
    write_pickle(folder / name, batch_of(4, 0) | {"label_names": intruder, "more": intruder})
    with pytest.raises(
        ValueError, match=rf"{name} is not a batch of images, it asks for \w+.system"
    ):
        read(tmp_path)
    assert not marker.exists()
    pickle.loads((folder / name).read_bytes())
    assert marker.exists()  # the pickle would have run


@pytest.mark.parametrize(
    "stream",
    [
        b"cnumpy.testing\nrundocs\n.",
        b"cnumpy\nfromfile\n.",
        b"cnumpy_like\nndarray\n.",
        b"c_codecs\nregister\n.",
        b"cbuiltins\neval\n.",
    ],
)
def test_functions_beyond_array_building_are_refused(tmp_path: Path, stream: bytes) -> None:
    folder = write_cifar10(tmp_path)
    (folder / "test_batch").write_bytes(stream)
    with pytest.raises(ValueError, match="test_batch is not a batch of images, it asks for"):
        read(tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 40, 5_000, 12_000])
def test_a_truncated_pickle_is_named(tmp_path: Path, kept: int) -> None:
    path = write_cifar10(tmp_path) / "data_batch_4"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=f"{path} is not a batch of images"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": pixels(4, 0)[:, :3071], "labels": [0] * 4}, r"must hold images \(N, 3072\)"),
        ({"data": pixels(4, 0).reshape(4, 3, 1024), "labels": [0] * 4}, "must hold images"),
        ({"data": pixels(4, 0).tolist(), "labels": [0] * 4}, "must hold images"),
        ({"data": pixels(4, 0)}, r"as labels, got keys \['data'\]"),
        ({"labels": [0] * 4}, r"as labels, got keys \['labels'\]"),
        *(
            ({"data": pixels(4, 0), "labels": labels, 1: 2}, r"as labels, got keys \['1', 'data'")
            for labels in (3, None, ["a"] * 4, [0.5, 1.7, 2, 3], [None, 1, 2, 3])
        ),
        ({"data": pixels(4, 0), "labels": [0] * 3}, "one label an image, got 3 for 4"),
        ({"data": pixels(4, 0).astype(np.float32), "labels": [0] * 4}, "must hold images"),
        ([1, 2], "must hold a dictionary, got list"),
    ],
    ids=[
        *("width", "rank", "list", "no labels", "no images"),
        *("number", "none", "texts", "fractions", "null", "count", "float", "no dictionary"),
    ],
)
def test_a_file_that_is_no_batch_of_images_is_named(
    tmp_path: Path, content: Any, message: str
) -> None:
    folder = write_cifar10(tmp_path)
    write_pickle(folder / "data_batch_2", content)
    with pytest.raises(ValueError, match=f"data_batch_2.*{message}"):
        read(tmp_path)


@pytest.mark.parametrize("label", [10, -1])
def test_a_label_outside_the_classes_is_refused(tmp_path: Path, label: int) -> None:
    folder = write_cifar10(tmp_path)
    write_pickle(folder / "data_batch_1", {"data": pixels(4, 0), "labels": [0, 9, label, 1]})
    with pytest.raises(ValueError, match=rf"labels must be in \[0, 10\), got {label} at sample 2"):
        read(tmp_path)


def test_a_wrong_number_of_class_names_is_refused(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path)
    write_pickle(folder / "batches.meta", {"label_names": ["cat"] * 9})
    with pytest.raises(ValueError, match=f"{folder} must name 10 classes, got 9"):
        read(tmp_path)


def test_missing_class_names_are_refused(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path)
    write_pickle(folder / "batches.meta", {"names": ["cat"] * 10})
    with pytest.raises(ValueError, match=r"batches\.meta"):
        read(tmp_path)


@pytest.mark.parametrize("num_classes", [2, 0, 20])
def test_another_number_of_classes_is_refused(tmp_path: Path, num_classes: int) -> None:
    with pytest.raises(ValueError, match=f"num_classes must be 10 or 100, got {num_classes}"):
        read(tmp_path, num_classes=num_classes)


def replace_download(
    monkeypatch: pytest.MonkeyPatch, download: Callable[[Path], object]
) -> list[Path]:
    """Let `download` stand for the network; return the list of the folders it is given."""
    roots: list[Path] = []

    def stand_in(url: str, root: str | Path, *, filename: str, md5: str) -> None:
        assert url.endswith(filename)
        assert len(md5) == 32
        roots.append(Path(root).expanduser())  # as torchvision does
        download(roots[-1])

    monkeypatch.setattr("torchvision.datasets.utils.download_and_extract_archive", stand_in)
    return roots


@pytest.mark.parametrize(
    "failure",
    [
        urllib.error.URLError("no network"),
        OSError("disk full"),
        RuntimeError("File not found or corrupted."),
    ],
)
def test_a_failed_download_says_where_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail(root: Path) -> None:
        raise failure

    replace_download(monkeypatch, fail)
    looked_for = tmp_path / "cifar-10-batches-py"
    with pytest.raises(FileNotFoundError) as caught:
        read(tmp_path, download=True)
    assert str(caught.value) == (
        f"dataset.root must hold cifar-10-batches-py, looked for {looked_for}; "
        f"its download failed ({failure})"
    )


def test_a_missing_folder_is_downloaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = replace_download(monkeypatch, write_cifar10)
    for _ in range(2):
        assert len(read(tmp_path / "new", download=True).splits["test"]) == 4
    assert roots == [tmp_path / "new"]


def test_a_home_folder_is_looked_for_where_it_is_downloaded_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    replace_download(monkeypatch, write_cifar10)
    assert len(read(Path("~/data"), download=True).splits["test"]) == 4


@pytest.mark.slow
def test_the_real_cifar_10_has_its_published_sizes_and_split() -> None:
    root = os.environ.get("VISIONLAB_CIFAR10")
    if root is None:
        pytest.skip("VISIONLAB_CIFAR10 does not name the folder of cifar-10-batches-py")
    data = read(Path(root), split=0.1)
    sizes = {name: len(split) for name, split in data.splits.items()}
    assert sizes == {"train": 45_000, "train_plain": 45_000, "val": 5_000, "test": 10_000}
    assert list(data.class_names)[:3] == ["airplane", "automobile", "bird"]
    assert whole(data, "val").keys[:5].tolist() == [18565, 21590, 23866, 22031, 24392]
    assert whole(data, "test").targets.bincount().tolist() == [1_000] * 10
    counts, total = torch.zeros(10, dtype=torch.int64), torch.zeros(3, dtype=torch.float64)
    for name in ("train_plain", "val"):
        for batch in data.splits[name].batches(batch_size=1_000, epoch=0, first_batch=0):
            counts += batch.targets.bincount(minlength=10)
            total += batch.inputs.double().sum(dim=(0, 2, 3))
    assert counts.tolist() == [5_000] * 10
    means = total / (50_000 * 1024 * 255)
    assert means.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=1e-4)
