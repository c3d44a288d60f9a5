"""Folders as people have them."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from visionlab.tasks.classification.datasets.class_folders import (
    class_folders,
    find_parts,
    find_samples,
    readable_names,
)


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(root: Path, part: str = "train") -> list[str]:
    folders = find_parts(root)
    samples = find_samples(root, folders, class_folders(folders["train"]))
    return [str(Path(str(source)).relative_to(root)) for source in samples[part].sources]


STRAY = [
    "cat/.ipynb_checkpoints/a-checkpoint.jpg",
    "cat/deep/.hidden/a.jpg",
    "cat/deep/__MACOSX/._a.jpg",
    "cat/._a.jpg",
    "cat/Thumbs.db",
    "cat/desktop.ini",
    "cat/@eaDir/a.jpg",
    ".git/a.jpg",
    "__MACOSX/cat/._a.jpg",
    ".DS_Store",
]


@pytest.mark.parametrize("layout", ["", "train/"])
def test_stray_files_and_folders_are_left_out(tmp_path: Path, layout: str) -> None:
    root = tmp_path / ".cache"  # the folder itself may be hidden
    kept = [f"{layout}{name}" for name in ("cat/a.jpg", "cat/deep/b.PNG", "dog/a.jpg")]
    touch(root, *kept, *(f"{layout}{name}" for name in STRAY))
    assert found(root) == kept


def test_files_that_are_left_out_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "cat/a.jpg", "cat/a.HEIC", "cat/b.heic", "dog/a.gif", "dog/b", "dog/.c.jpg")
    touch(tmp_path, "loose.jpg", "readme.txt")
    assert found(tmp_path) == ["cat/a.jpg"]
    assert "left out 5 files (2 .heic, " in caplog.text
    for count in ("1 .gif", "1 no extension", "1 hidden or of the system"):
        assert count in caplog.text
    assert f"{tmp_path}: left out images in no class folder: 1" in caplog.text
    (tmp_path / "cat" / "a.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"found none in .* \(2 .heic"):
        found(tmp_path)


def test_a_link_to_a_folder_is_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.jpg", "data/cat/b.jpg", "data/dog/c.jpg")
    (tmp_path / "data" / "cat" / "around").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "cat" / "linked").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "data") == ["cat/b.jpg", "cat/linked/a.jpg", "dog/c.jpg"]


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "valid", "test"),
        ("Training", "validation", "Testing"),
        ("TRAIN", "Val", "testing"),
    ],
)
def test_other_names_of_parts_are_recognised_and_said(
    tmp_path: Path, train: str, val: str, test: str, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, *(f"{part}/{name}/a.jpg" for part in (train, val, test) for name in "ab"))
    with caplog.at_level(logging.INFO):
        parts = find_parts(tmp_path)
    assert parts == {"train": tmp_path / train, "val": tmp_path / val, "test": tmp_path / test}
    assert f"val is read from {tmp_path / val}" in caplog.text
    assert ("train is read from" in caplog.text) == (train != "train")


def test_unused_folders_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "train/a/a.jpg", "val/a/a.jpg", "valid/a/a.jpg", "extra/a.jpg", ".git/x")
    assert find_parts(tmp_path) == {"train": tmp_path / "train", "val": tmp_path / "val"}
    assert f"unused folders of {tmp_path}: extra, valid" in caplog.text


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["cat/a", "dog/a", "test/a"], "train folder or classes only, got cat, dog, test .*train$"),
        (["valid", "invalid"], "got invalid, valid in .*; if valid is a class, move all"),
        (["valid/a", "validation/a", "train/a"], "one folder for val, got valid and validation"),
        (["car", "plane", "train"], "hold classes in train, got none beside car, plane"),
        (["cats"], "must hold at least 2 classes, got cats$"),
        (["photos/cat", "photos/dog"], "at least 2 classes, got photos; did you mean .*/photos$"),
    ],
)
def test_folders_that_may_be_a_class_or_a_part_are_asked_about(
    tmp_path: Path, folders: Sequence[str], message: str
) -> None:
    touch(tmp_path, *(f"{folder}/a.jpg" for folder in folders))
    with pytest.raises(ValueError, match=message):
        found(tmp_path)


def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "cat/a.jpg", "dog/a.jpg")

    def walk(folder: Path, *, onerror: object, followlinks: bool) -> list[object]:
        assert callable(onerror)
        onerror(PermissionError(13, "Permission denied", str(folder)))
        return []

    monkeypatch.setattr("visionlab.images.paths.os.walk", walk)
    message = f"^{tmp_path / 'cat'} must be a readable folder, got: Permission denied$"
    with pytest.raises(ValueError, match=message):
        found(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.txt", "n01 cat\nn02 dog, wild\nn03 not there\n"),
        ("names.csv", 'folder,name\nn02,"dog, wild"\nn01,cat\n'),
        ("names.tsv", "n01\tcat\r\nn02\tdog, wild\r\n"),
        ("names.json", '{"n01": "cat", "n02": "dog, wild", "n03": "x"}'),
    ],
)
def test_readable_names(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert readable_names(path, ["n01", "n02"]) == ["cat", "dog, wild"]


def test_readable_names_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("bird crane\nbird 2 crane\ndog dog")
    assert readable_names(path, ["bird", "bird 2", "dog"]) == [
        "crane (bird)",
        "crane (bird 2)",
        "dog",
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"n01 cat\n", "must name every class, got no n02 in"),
        ("a.txt", b"n01 cat\nn02\n", "must name every class, got no n02 in"),
        ("a.txt", b"\xff\xfe", "must be a text or JSON file, got"),
        ("a.json", b"[1", "must be a text or JSON file, got"),
        ("a.json", b'{"n01": 1}', "must be a text or JSON file, got"),
    ],
)
def test_wrong_files_of_names_are_named(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^dataset.class_names {message}.*{re.escape(name)}$"):
        readable_names(path, ["n01", "n02"])
    with pytest.raises(FileNotFoundError, match=r"dataset.class_names must be a file, looked for"):
        readable_names(tmp_path / "nowhere.txt", ["n01"])
