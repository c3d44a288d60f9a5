"""Style of all figures: legible in grey and for colour-blind readers, sized for a paper's column.

Lines differ in colour, dash and marker. The colours are those of Okabe and Ito ("Color universal
design", 2008) without yellow, ordered so that neighbours differ in lightness too.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
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
    "font.family": "DejaVu Sans",  # ships with Matplotlib
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
    "svg.hashsalt": "visionlab",  # equal figures make equal files
    "svg.fonttype": "none",
}

# keyword arguments of Axes.plot: color, linestyle, marker
LineStyle = dict[str, Any]


def line_styles(labels: Iterable[str]) -> Mapping[str, LineStyle]:
    """Return a line style for each distinct label; no two are alike in grey."""
    return {
        label: {
            "color": _COLOURS[number % len(_COLOURS)],
            "linestyle": _DASHES[number % len(_DASHES)],
            "marker": _MARKERS[number % len(_MARKERS)],
        }
        for number, label in enumerate(dict.fromkeys(labels))
    }


@contextmanager
def styled() -> Iterator[None]:
    """Apply the style to figures that are made or saved within."""
    with mpl.rc_context(_SETTINGS):
        yield


def panel_grid(count: int, *, width: float = 3.4, height: float = 2.6, columns: int = 3) -> Figure:
    """Return a figure with `count` axes in rows.

    Args:
        count: of axes.
        width: of a panel in inches.
        height: of a panel in inches.
        columns: maximum number of panels in a row.
    """
    num_columns = min(count, columns)
    num_rows = -(-count // num_columns)
    figure = Figure(figsize=(width * num_columns, height * num_rows), layout="constrained")
    axes = figure.subplots(num_rows, num_columns, squeeze=False).flat
    for unused in list(axes)[count:]:
        unused.remove()
    return figure


def slug(label: str) -> str:
    """Return a label as part of a file name."""
    return re.sub(r"[^\w.+-]+", "_", label).strip("_")


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and SVG; return the files.

    Raises:
        OSError: a file cannot be written.
    """
    with styled():
        png, svg = folder / f"{name}.png", folder / f"{name}.svg"
        write_file(png, lambda file: figure.savefig(file, format="png", dpi=_DPI))
        metadata = {"Date": None}  # equal figures make equal files
        write_file(svg, lambda file: figure.savefig(file, format="svg", metadata=metadata))
    return [png, svg]
