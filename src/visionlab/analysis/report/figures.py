"""Figures on the page: captions, and images embedded in it."""

import base64
import io
import re
from pathlib import Path

from PIL import Image

_MAX_SVG_BYTES = 300_000  # with many points a PNG is smaller and faster to draw
_CSS_DPI = 96
_PX_PER_PT = _CSS_DPI / 72
_SVG_SIZE = re.compile(rb'<svg[^>]*?\bwidth="([\d.]+)pt"[^>]*?\bheight="([\d.]+)pt"')
_CAPTIONS = {
    "curves": "Metric over the course of training; bands are one standard deviation over seeds.",
    "schedules": "Learning rate over the course of training.",
    "norms": "Distance of each average from the raw weights, relative to their norm.",
    "value_against": "Final metric against a setting; error bars are one standard deviation over "
    "seeds.",
    "losses": "Loss over the course of training.",
    "range_test": "Loss of each step of a learning-rate range test.",
    "parallel": "Each run as a line through its settings, coloured by its final metric.",
    "stability": "Share of validation samples whose correctness is the same as an epoch before; "
    "dashed: accuracy.",
    "misclassification": "Validation samples by the share of epochs in which they were "
    "misclassified.",
    "mismatch": "Validation samples by the share of epochs in which exactly one of average and raw "
    "model was right.",
    "persistence": "Epochs in which the least stable validation samples were right or wrong.",
    "confusion": "Samples of each true class (rows) by predicted class (columns).",
    "precision_recall": "Precision over recall of detections at an IoU of 0.50.",
    "class_precision": "Average precision of each class.",
    "keypoint_errors": "Error of each keypoint relative to the normaliser: median and quartiles.",
    "ensemble_size": "Metric of ensembles against their number of members; the band is from 5 to "
    "95 % of the ensembles of a size.",
    "reliability": "Accuracy against confidence with 95 % intervals; below: histogram of "
    "confidence.",
    "overlap": "Difference or overlap of each pair of members of an ensemble.",
    "class_ap": "Metric of each class over the members of an ensemble, and of the ensemble.",
    "pck": "Share of keypoints whose error is below a multiple of the normaliser.",
}


def caption(name: str) -> str:
    """Return the caption of a figure; of an unknown kind, its name in words."""
    kinds = [kind for kind in _CAPTIONS if name.startswith(kind)]
    words = name.replace("_", " ")
    return _CAPTIONS[max(kinds, key=len)] if kinds else f"{words[:1].upper()}{words[1:]}."


def image_attributes(path: Path) -> dict[str, str | int]:
    """Return the attributes of an `img` element: a `data:` URL, and the size on paper if known.

    Of a large SVG file the PNG beside it is taken.

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
