import bz2
import gzip
import io
import lzma
import pickle
import re
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from visionlab.images.sources import StoredImage, TarMember, find_images, read_bytes

names = st.text("ab./ _é", min_size=1, max_size=130).filter(
    lambda name: all(part.strip("._ ") and part[:2] != "._" for part in name.split("/"))
)


def write_tar(
    path: Path, members: Mapping[str, bytes], *, format: int = tarfile.PAX_FORMAT
) -> Path:
    with tarfile.open(path, "w:", format=format) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def contents(source: Path, *wanted: str) -> list[bytes | None]:
    found = find_images(source, wanted)
    return [None if each is None else read_bytes(each) for each in found]


def test_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"A")
    (tmp_path / "sub" / "a.jpg").write_bytes(b"B")
    found = find_images(tmp_path, ["sub/a.jpg", "a.jpg", "b.jpg", "gone/a.jpg", "sub"])
    assert found == [tmp_path / "sub" / "a.jpg", tmp_path / "a.jpg", None, None, None]
    assert contents(tmp_path, "sub/a.jpg", "a.jpg", "sub\\a.jpg") == [b"B", b"A", b"B"]


def test_members_of_a_tar_below_one_folder(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "t.tar", {"train/b.jpg": b"B" * 700, "train/a.jpg": b"A"})
    assert contents(tar, "a.jpg", "b.jpg", "c.jpg") == [b"A", b"B" * 700, None]
    assert contents(tar, "train/a.jpg", "train\\a.jpg") == [b"A", b"A"]
    assert contents(tar, "est/a.jpg", "rain/a.jpg", "jpg") == [None, None, None]


@pytest.mark.parametrize("start", ["", "./", "faces/", "./faces/"])
def test_a_path_counts_before_a_file_name(tmp_path: Path, start: str) -> None:
    members = {f"{start}a.jpg": b"1", f"{start}x/a.jpg": b"2", f"{start}y/b.jpg": b"3"}
    tar = write_tar(tmp_path / "t.tar", members)
    assert contents(tar, "a.jpg", "x/a.jpg", "b.jpg", "y/a.jpg") == [b"1", b"2", b"3", None]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    members=st.dictionaries(names, st.binary(max_size=1500), min_size=1, max_size=5),
    format=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_every_member_is_found_by_its_path(
    tmp_path: Path, members: dict[str, bytes], format: int
) -> None:
    clean = {name.strip("/"): content for name, content in members.items()}
    clean = {re.sub("/+", "/", name): content for name, content in clean.items()}
    try:
        tar = write_tar(tmp_path / "t.tar", clean, format=format)
    except ValueError:  # ustar has no room for the name
        return
    assert contents(tar, *clean) == list(clean.values())


def test_two_members_of_a_name_are_refused(tmp_path: Path) -> None:
    tar = write_tar(
        tmp_path / "t.tar", {"train/a.jpg": b"A", "test/a.jpg": b"B", "test/b.jpg": b""}
    )
    assert contents(tar, "b.jpg", "test/a.jpg") == [b"", b"B"]
    message = f"{tar} must hold one file that goes by a.jpg, got train/a.jpg and test/a.jpg"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        find_images(tar, ["a.jpg"])


def test_stray_files_and_what_is_no_file_are_left_out(tmp_path: Path) -> None:
    names = ("._t", "t/._a.jpg", "__MACOSX/t/a.jpg", "t/.ipynb_checkpoints/a.jpg", "t/in/._z.jpg")
    members = {"t/a.jpg": b"A"} | dict.fromkeys(names, b"x")
    tar = write_tar(tmp_path / "t.tar", members)
    with tarfile.open(tar, "a:") as archive:
        for name, kind in (("t/b.jpg", tarfile.SYMTYPE), ("t/c.jpg", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a.jpg"
            archive.addfile(info)
    assert contents(tar, "a.jpg", "._z.jpg", "b.jpg", "c.jpg") == [b"A", None, None, None]


def test_a_hard_link_is_the_file_it_stands_for(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"A")
    (tmp_path / "b.jpg").hardlink_to(tmp_path / "a.jpg")
    with tarfile.open(tmp_path / "t.tar", "w:") as tar:
        for name in ("a.jpg", "b.jpg"):
            tar.add(tmp_path / name, arcname=f"t/{name}")
        assert tar.getmembers()[1].islnk()
    assert contents(tmp_path / "t.tar", "a.jpg", "b.jpg") == [b"A", b"A"]


def test_a_record_is_small_and_travels(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "t.tar", {f"t/{row}.jpg": b"x" for row in range(1000)})
    found = find_images(tar, [f"{row}.jpg" for row in range(1000)])
    packed = pickle.dumps(found)
    assert len(packed) < 100 * len(found)
    assert pickle.loads(packed) == found
    assert str(found[7]) == f"{tar}: t/7.jpg"


@pytest.mark.parametrize(
    ("compress", "kind"),
    [(gzip.compress, "gzip"), (bz2.compress, "bzip2"), (lzma.compress, "xz")],
)
def test_a_compressed_tar_is_refused(
    tmp_path: Path, compress: Callable[[bytes], bytes], kind: str
) -> None:
    tar = write_tar(tmp_path / "t.tar", {"a.jpg": b"A"})
    tar.write_bytes(compress(tar.read_bytes()))
    message = f"^{tar} must be a folder or an uncompressed tar, got {kind}; unpack it$"
    with pytest.raises(ValueError, match=message):
        find_images(tar, ["a.jpg"])


def test_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("a.jpg", b"A")
    with pytest.raises(
        ValueError, match=r"must be a folder or an uncompressed tar, got zip; unpac"
    ):
        find_images(tmp_path / "t.zip", ["a.jpg"])


@pytest.mark.parametrize("content", [b"", b"no tar" * 500])
def test_what_is_no_tar_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path} must be a whole tar, got .*") as caught:
        find_images(path, ["a.jpg"])
    assert "\n" not in str(caught.value)


def test_a_tar_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "t.tar", {"a.jpg": b"A" * 2000, "b.jpg": b"B" * 2000})
    data = tar.read_bytes()
    for length in (512 + 2048 + 512 + 700, 512 + 2048 + 512 + 1999, 512 + 900, 512 + 2048 + 100):
        tar.write_bytes(data[:length])
        with pytest.raises(ValueError, match=f"^{tar} must be a whole tar, got "):
            find_images(tar, ["a.jpg"])


def test_a_tar_with_a_damaged_header_is_refused(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "t.tar", {"a.jpg": b"A", "b.jpg": b"B"})
    data = tar.read_bytes()
    tar.write_bytes(data[:1024] + b"X" + data[1025:])
    message = f"^{tar} must be a whole tar, got a damaged header at byte 1024$"
    with pytest.raises(ValueError, match=message):
        find_images(tar, ["a.jpg"])


def test_a_tar_that_has_shrunk_since_is_named(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "t.tar", {"a.jpg": b"A" * 2000})
    (source,) = find_images(tar, ["a.jpg"])
    tar.write_bytes(tar.read_bytes()[:1000])
    assert source is not None
    with pytest.raises(ValueError, match=f"^{tar} must hold 2000 bytes of a.jpg, got 488$"):
        read_bytes(source)


def test_nowhere_is_named(tmp_path: Path) -> None:
    message = f"^{tmp_path}/gone must be a folder or a tar of images, found neither$"
    with pytest.raises(FileNotFoundError, match=message):
        find_images(tmp_path / "gone", ["a.jpg"])


def test_kinds_of_sources(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "t.tar", {"a.jpg": b"A"})
    member: list[StoredImage | None] = [TarMember(tar, "a.jpg", 512, 1)]
    assert find_images(tar, ["a.jpg"]) == member
