"""How all figures look: legible in grey and for the colour-blind, at the size of a paper's column.

Lines differ in colour, dash and marker. The colours are those of Okabe and Ito ("Color universal
design", 2008) without yellow, ordered so that neighbours differ in lightness too.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from visionlab.files.atomic import write_file

_COLOURS = ("#000000", "#D55E00", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
NUM_COLOURS = len(_COLOURS)
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DPI = 200
_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "0.88",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "svg.hashsalt": "visionlab",  # the same figure is the same file
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Look:
    """How one of several lines or bars looks."""

    color: str
    linestyle: Any
    marker: str


def looks(labels: Sequence[str]) -> Mapping[str, Look]:
    """Return a look for each label; no two are alike in grey."""
    return {
        label: Look(
            _COLOURS[number % len(_COLOURS)],
            _DASHES[number % len(_DASHES)],
            _MARKERS[number % len(_MARKERS)],
        )
        for number, label in enumerate(labels)
    }


@contextmanager
def styled() -> Iterator[None]:
    """Let figures that are made within look like ours."""
    with mpl.rc_context(_SETTINGS):
        yield


def panels(count: int, *, width: float = 3.4, height: float = 2.6, columns: int = 3) -> Figure:
    """Return a figure with axes in rows, the first `count` of which are there.

    Args:
        count: of panels.
        width: of one, in inches.
        height: of one, in inches.
        columns: at most.
    """
    across = min(count, columns)
    down = -(-count // across)
    figure = Figure(figsize=(width * across, height * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).flat
    for unused in list(axes)[count:]:
        unused.remove()
    return figure


def slug(label: str) -> str:
    """Return a label as a part of the name of a file."""
    return re.sub(r"[^\w.+-]+", "_", label)


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and SVG, and return the files.

    Raises:
        OSError: a file cannot be written.
    """
    with styled():
        png, svg = folder / f"{name}.png", folder / f"{name}.svg"
        write_file(png, lambda file: figure.savefig(file, format="png", dpi=_DPI))
        metadata = {"Date": None}  # the same figure is the same file
        write_file(svg, lambda file: figure.savefig(file, format="svg", metadata=metadata))
    return [png, svg]
