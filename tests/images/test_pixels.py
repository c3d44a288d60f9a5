"""Pixels of image files as a viewer shows them; expected values are seen by eye."""

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionlab.images import pixels
from visionlab.images.decoding import Images, find_readable
from visionlab.images.paths import header_size
from visionlab.images.pixels import UnsupportedImageError, decode_rgb, open_image

WHITE = [255, 255, 255]
ROWS = np.array([[1, 2, 3], [4, 5, 6]], np.uint8) * 40  # 3 wide, 2 high
UPRIGHT = {  # EXIF 2.32, table "Orientation": where row 0 and column 0 of the stored pixels lie
    1: ROWS,
    2: ROWS[:, ::-1],
    3: ROWS[::-1, ::-1],
    4: ROWS[::-1],
    5: ROWS.T,
    6: ROWS[::-1].T,
    7: ROWS[::-1, ::-1].T,
    8: ROWS.T[::-1],
}


def decoded(content: bytes) -> list[list[list[int]]]:
    rows: list[list[list[int]]] = np.asarray(decode_rgb(open_image(io.BytesIO(content)))).tolist()
    return rows


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(bits: int, colour_type: int, row: bytes, *, width: int, transparent: bytes = b"") -> bytes:
    """Return a PNG of one row."""
    header = struct.pack(">IIBBBBB", width, 1, bits, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    if transparent:
        chunks.insert(1, (b"tRNS", transparent))
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("kind", "depth"),
    [
        *((kind, np.uint8) for kind in ("PNG", "WEBP", "TIFF")),
        ("PNG", np.uint16),
        ("TIFF", np.uint16),
    ],
)
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_images_are_upright(tmp_path: Path, orientation: int, depth: type, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(ROWS.astype(depth) * (256 if depth == np.uint16 else 1))
    image = image if depth == np.uint16 else image.convert("RGB")
    path = tmp_path / "image"
    options = {"lossless": True} if kind == "WEBP" else {}
    path.write_bytes(encoded(image, kind, exif=exif, **options))
    found = np.array(decoded(path.read_bytes()))
    assert found[:, :, 0].tolist() == UPRIGHT[orientation].tolist()
    assert header_size(path) == found.shape[1::-1]


def test_damaged_exif_is_ignored() -> None:
    content = encoded(Image.new("RGB", (3, 2), "white"), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff")
    assert decoded(content) == [[WHITE] * 3] * 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_the_highest_8_of_16_bits_are_kept(kind: str) -> None:
    levels = Image.fromarray(np.array([[0, 255, 256, 32768, 65535]], np.uint16))
    assert decoded(encoded(levels, kind)) == [[[level] * 3 for level in (0, 0, 1, 128, 255)]]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(16, 2, struct.pack(">3H", 0, 32768, 65535), width=1), [[0, 128, 255]]),
        (png(16, 4, struct.pack(">4H", 0, 65535, 0, 0), width=2), [[0, 0, 0], WHITE]),
        (png(16, 0, b"\0\0\0\1", width=2, transparent=b"\0\1"), [[0, 0, 0], WHITE]),
        (png(2, 0, b"\x10", width=2, transparent=b"\0\1"), [[0, 0, 0], WHITE]),
        (png(4, 0, b"\x01", width=2, transparent=b"\0\1"), [[0, 0, 0], WHITE]),
        (png(1, 0, b"\x00", width=2, transparent=b"\0\0"), [WHITE, WHITE]),
        (png(8, 2, bytes(6), width=2, transparent=bytes(6)), [WHITE, WHITE]),
    ],
    ids=["RGB 16", "LA 16", "grey 16", "grey 2", "grey 4", "grey 1", "RGB 8"],
)
def test_png_of_any_depth_and_transparency(content: bytes, expected: list[list[int]]) -> None:
    assert decoded(content) == [expected]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_transparent_pixels_are_drawn_over_white(mode: str, kind: str) -> None:
    image = Image.fromarray(np.array([[[9, 9, 9, 0], [9, 9, 9, 128], [9, 9, 9, 255]]], np.uint8))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    content = encoded(image.convert(mode), kind, **options)
    assert decoded(content) == [[WHITE, [132, 132, 132], [9, 9, 9]]]


@pytest.mark.parametrize(("kind", "transparency"), [("PNG", 1), ("PNG", b"\xff\0"), ("GIF", 1)])
def test_palettes_with_transparency(kind: str, transparency: object) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 0, 0, 0, 40, 50, 60])
    content = encoded(image, kind, transparency=transparency)
    assert decoded(content) == [[[10, 20, 30], WHITE, [40, 50, 60]]]


def test_white_is_zero_in_some_tiff_files() -> None:
    image = Image.fromarray(np.array([[0, 65535]], np.uint16))
    content = encoded(image, "TIFF", tiffinfo={262: 0})
    assert decoded(content) == [[WHITE, [0, 0, 0]]]


@pytest.mark.parametrize(
    ("dtype", "name"), [(np.float32, "floating point"), (np.int32, "32-bit integers")]
)
def test_pixels_that_cannot_be_shown_are_refused_by_name(
    tmp_path: Path, dtype: type, name: str
) -> None:
    path = tmp_path / "deep.tif"
    Image.fromarray(np.ones((2, 2), dtype)).save(path)
    message = f"^{path} must have 8 or 16 bits a channel, got .*{name}.*; convert it$"
    with pytest.raises(ValueError, match=message):
        find_readable([path], num_workers=0)
    images = Images([path], factor=min, num_workers=0, hint="; skip it")
    with pytest.raises(ValueError, match=message):
        next(images.batches([np.zeros(1, int)]))  # type: ignore[list-item]


def tiff(*, bits: int, channels: int, kind: int, extra: int = 0) -> bytes:
    """Return a whole TIFF of a pixel; kinds are 1 (unsigned), 2 (signed) and 3 (floating)."""
    pixels = bytes(bits // 8 * channels)
    photometric = 2 if channels == 3 else 1
    tags = {256: 1, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 0, 277: channels, 278: 1}
    tags |= {279: len(pixels), 339: kind, **({338: 0} if extra else {})}
    counts = {258: channels, 339: channels, 338: extra}
    start, arrays, entries = 8 + 2 + 12 * len(tags) + 4, b"", b""
    for tag, value in sorted(tags.items()):
        count = counts.get(tag, 1)
        values = struct.pack(f"<{count}H", *[value] * count)
        if len(values) > 4:
            arrays, values = arrays + values, struct.pack("<I", start + len(arrays))
        entries += struct.pack("<HHI", tag, 3, count) + values.ljust(4, b"\0")
    content = struct.pack("<4sIH", b"II*\0", 8, len(tags)) + entries + bytes(4) + arrays
    place = content.index(struct.pack("<HHI", 273, 3, 1)) + 8
    return content[:place] + struct.pack("<I", len(content)) + content[place + 4 :] + pixels


UNKNOWN = {
    "float32 RGB": tiff(bits=32, channels=3, kind=3),
    "uint32 RGB": tiff(bits=32, channels=3, kind=1),
    "float16": tiff(bits=16, channels=1, kind=3),
    "float64": tiff(bits=64, channels=1, kind=3),
    "grey and alpha of 16 bits": tiff(bits=16, channels=2, kind=1, extra=1),
    "5 bands of 16 bits": tiff(bits=16, channels=5, kind=1, extra=4),
}


@pytest.mark.parametrize("content", UNKNOWN.values(), ids=UNKNOWN)
def test_a_whole_tiff_of_another_kind_is_not_damaged(tmp_path: Path, content: bytes) -> None:
    assert decoded(tiff(bits=8, channels=3, kind=1)) == [[[0, 0, 0]]]
    path = tmp_path / "deep.tif"
    path.write_bytes(content)
    for read in (header_size, lambda path: find_readable([path], num_workers=0)):
        with pytest.raises(UnsupportedImageError if read is header_size else ValueError) as caught:
            read(path)
        assert re.fullmatch(f"{path} must have 8 or 16 bits .* TIFF; convert it", str(caught.value))
    path.write_bytes(content[:60])
    assert find_readable([path], num_workers=0) == ([], [str(path)])


def test_an_image_beyond_the_limit_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (5, 2)).save(path)
    monkeypatch.setenv(pixels.MAX_PIXELS, "10")
    assert find_readable([path], num_workers=0) == ([0], [])
    monkeypatch.setenv(pixels.MAX_PIXELS, "9")
    message = f"^{path} must have at most 9 pixels, got 5x2; .* {pixels.MAX_PIXELS} "
    for read in (header_size, lambda path: find_readable([path], num_workers=0)):
        with pytest.raises(ValueError, match=message):
            read(path)
    monkeypatch.setenv(pixels.MAX_PIXELS, "many")
    with pytest.raises(ValueError, match=f"{pixels.MAX_PIXELS} .* got 'many'"):
        header_size(path)


def test_the_limit_is_that_of_pillow() -> None:
    header = struct.pack(">IIBBBBB", 14000, 13000, 8, 2, 0, 0, 0)
    content = png(8, 2, b"", width=1)
    chunk = b"IHDR" + header
    large = content[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:]
    with pytest.raises(UnsupportedImageError, match="178,956,970 pixels, got 14000x13000"):
        open_image(io.BytesIO(large))


def test_no_program_is_started_by_an_image(tmp_path: Path) -> None:
    path = tmp_path / "script.jpg"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n%%EndComments\n%%EOF\n")
    assert find_readable([path], num_workers=0) == ([], [str(path)])
