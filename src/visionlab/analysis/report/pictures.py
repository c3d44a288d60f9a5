"""Figures as parts of a page: nothing has to be fetched for them."""

import base64
import io
import re
from pathlib import Path

from PIL import Image

from visionlab.analysis.report.elements import Html, box, tag

_MAX_SVG_BYTES = 300_000  # a PNG of many points is smaller, and quicker to draw
_CSS_DPI = 96
_PT = _CSS_DPI / 72
_SVG_SIZE = re.compile(rb'<svg[^>]*?\bwidth="([\d.]+)pt"[^>]*?\bheight="([\d.]+)pt"')


def figure(name: str, path: Path, *, caption: str) -> Html:
    """Return a figure with its caption.

    Args:
        name: of the figure.
        path: of its SVG or PNG; of a large SVG the PNG beside it is taken.
        caption: what it shows.

    Raises:
        OSError: the file cannot be read.
    """
    shown = _smaller(path)
    content = shown.read_bytes()
    width, height = _size(content)
    kind = "png" if shown.suffix == ".png" else "svg+xml"
    image = tag(
        "img",
        src=f"data:image/{kind};base64,{base64.b64encode(content).decode()}",
        alt=f"{name}: {caption}",
        width=width,
        height=height,
    )
    return tag(
        "figure",
        box(image, label=name, class_="box picture"),
        tag("figcaption", tag("b", name), ": ", caption),
    )


def _smaller(path: Path) -> Path:
    png = path.with_suffix(".png")
    is_large = path.suffix == ".svg" and path.stat().st_size > _MAX_SVG_BYTES
    return png if is_large and png.exists() else path


def _size(content: bytes) -> tuple[str | None, str | None]:
    """Return width and height on paper, in pixels of CSS, as far as the file says."""
    if not content.startswith(b"\x89PNG"):
        found = _SVG_SIZE.search(content)
        width, height = (float(each) * _PT for each in found.groups()) if found else (0.0, 0.0)
    else:
        with Image.open(io.BytesIO(content)) as image:
            across, down = image.info.get("dpi", (_CSS_DPI, _CSS_DPI))
            width, height = image.width / across * _CSS_DPI, image.height / down * _CSS_DPI
    return (f"{width:.0f}", f"{height:.0f}") if width and height else (None, None)
