"""Image files of a data set: in a folder, or members of a tar that is not unpacked."""

import posixpath
import tarfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from visionlab.images.paths import (
    SUFFIXES,
    forward_slashes,
    is_stray,
    missing_files,
    walk_files,
)

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK": "zip",
}


class TarMember(NamedTuple):
    """The bytes of an image within a tar.

    Attributes:
        archive: the tar.
        name: the path within it.
        offset: of its first byte in the tar.
        size: in bytes.
    """

    archive: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        """Return archive and name, for messages."""
        return f"{self.archive}: {self.name}"


StoredImage = Path | TarMember


def find_images(source: Path, names: Sequence[str]) -> list[StoredImage | None]:
    """Return the images with some names, None for each one that is missing.

    Names are paths relative to `source`, a folder or an uncompressed tar, with slashes or
    backslashes. A member of a tar is found by its path, by its path below the only top-level
    folder, or else by its file name; stray members (see `paths.is_stray`) only by their path.

    Raises:
        FileNotFoundError: `source` does not exist.
        ValueError: the tar cannot be read in place, or two members match a name.
    """
    names = list(map(forward_slashes, names))
    if source.is_dir():
        return _find_files(source, names)
    if not source.is_file():
        raise FileNotFoundError(f"{source} must be a folder or a tar of images, found neither")
    return _find_members(source, names)


def list_images(source: Path) -> list[tuple[str, StoredImage]]:
    """Return all images in a folder, at any depth, or in an uncompressed tar, sorted by name.

    Names are paths below the folder or within the tar; stray files (see `paths.is_stray`) and those
    that are no images by their extension are left out.

    Raises:
        FileNotFoundError: `source` does not exist.
        ValueError: the folder cannot be read, or the tar not in place.
    """
    if source.is_dir():
        found: list[tuple[str, StoredImage]] = [
            (path.relative_to(source).as_posix(), path) for path in walk_files(source)
        ]
    elif source.is_file():
        found = [(posixpath.normpath(member.name), member) for member in _members(source)]
    else:
        raise FileNotFoundError(f"{source} must be a folder or a tar of images, found neither")
    return sorted(
        (name, image)
        for name, image in found
        if name.lower().endswith(SUFFIXES) and not any(map(is_stray, name.split("/")))
    )


def read_bytes(source: StoredImage) -> bytes:
    """Return the content of an image file.

    Raises:
        OSError: the file cannot be read.
        ValueError: the tar has become shorter.
    """
    if isinstance(source, Path):
        return source.read_bytes()
    with source.archive.open("rb") as file:
        file.seek(source.offset)
        content = file.read(source.size)
    if len(content) != source.size:
        raise ValueError(
            f"{source.archive} must hold {source.size} bytes of {source.name}, got {len(content)}"
        )
    return content


def _find_files(folder: Path, names: Sequence[str]) -> list[StoredImage | None]:
    paths = [folder / name for name in names]
    absent = set(missing_files(paths))
    return [None if path in absent else path for path in paths]


def _find_members(archive: Path, names: Sequence[str]) -> list[StoredImage | None]:
    members = [(posixpath.normpath(member.name), member) for member in _members(archive)]
    is_plain = {path: not any(map(is_stray, path.split("/"))) for path, _ in members}
    tops = {path.split("/")[0] for path, _ in members if is_plain[path]}
    paths, bases = defaultdict[str, list[TarMember]](list), defaultdict[str, list[TarMember]](list)
    for path, member in members:
        for spelling in {path, path.partition("/")[2] if len(tops) == 1 else path}:
            paths[spelling].append(member)
        if is_plain[path]:
            bases[posixpath.basename(path)].append(member)
    found: list[StoredImage | None] = []
    for name in names:
        wanted = posixpath.normpath(name)
        candidates = paths.get(wanted) or bases.get(wanted, [])
        if len(candidates) > 1:
            raise ValueError(
                f"{archive} must hold one file that goes by {name}, got "
                f"{' and '.join(member.name for member in candidates[:2])}"
            )
        found.append(candidates[0] if candidates else None)
    return found


def _members(archive: Path) -> list[TarMember]:
    """Return the files of a tar; a hard link is replaced by its target."""
    _require_plain(archive)
    files: dict[str, TarMember] = {}
    found = []
    try:
        with tarfile.open(archive, "r:") as tar:
            for info in tar:
                if info.islnk() and info.linkname in files:
                    member = files[info.linkname]._replace(name=info.name)
                elif info.isreg() and not info.issparse():
                    member = TarMember(archive, info.name, info.offset_data, info.size)
                else:
                    continue
                files[info.name] = member
                found.append(member)
            _require_end(archive, tar.offset)
    except tarfile.TarError as error:
        raise ValueError(f"{archive} must be a whole tar, got {error}") from error
    return found


def _require_plain(archive: Path) -> None:
    with archive.open("rb") as file:
        start = file.read(8)
    for mark, kind in _COMPRESSED.items():
        if start.startswith(mark):
            raise ValueError(
                f"{archive} must be a folder or an uncompressed tar, got {kind}; unpack it"
            )


def _require_end(archive: Path, offset: int) -> None:
    """Check that a tar ends after its last member: tarfile skips a damaged header."""
    with archive.open("rb") as file:
        file.seek(offset)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"a damaged header at byte {offset}")
