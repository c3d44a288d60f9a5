"""Figures as images embedded in the page."""

import base64
import io
import re
from pathlib import Path

from PIL import Image

_MAX_SVG_BYTES = 300_000  # with many points a PNG is smaller and faster to draw
_CSS_DPI = 96
_PX_PER_PT = _CSS_DPI / 72
_SVG_SIZE = re.compile(rb'<svg[^>]*?\bwidth="([\d.]+)pt"[^>]*?\bheight="([\d.]+)pt"')


def image_attributes(path: Path) -> dict[str, str | int]:
    """Return the attributes of an `img` element: a `data:` URL, and the size on paper if known.

    Args:
        path: of an SVG or PNG file; of a large SVG the PNG beside it is taken.

    Raises:
        OSError: the file cannot be read.
    """
    png = path.with_suffix(".png")
    if path.suffix == ".svg" and path.stat().st_size > _MAX_SVG_BYTES and png.exists():
        path = png
    content = path.read_bytes()
    is_png = content.startswith(b"\x89PNG")
    kind, size = ("png", _png_size(content)) if is_png else ("svg+xml", _svg_size(content))
    url = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return {"src": url, **dict(zip(("width", "height"), map(round, size), strict=False))}


def _svg_size(content: bytes) -> list[float]:
    match = _SVG_SIZE.search(content)
    return [float(each) * _PX_PER_PT for each in match.groups()] if match else []


def _png_size(content: bytes) -> list[float]:
    with Image.open(io.BytesIO(content)) as image:
        dpi = image.info.get("dpi", (_CSS_DPI, _CSS_DPI))
        return [size / each * _CSS_DPI for size, each in zip(image.size, dpi, strict=True)]
