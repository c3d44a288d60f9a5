"""Style of all figures: legible in grey and for colour-blind readers, sized for a paper's column.

Lines differ in colour, dash and marker. The colours are those of Okabe and Ito ("Color universal
design", 2008) without yellow, ordered so that neighbours differ in lightness too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.files.figures import write_figure

VERMILION, BLUE = "#D55E00", "#0072B2"
_COLOURS = ("#000000", VERMILION, BLUE, "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
NUM_COLOURS = len(_COLOURS)
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DPI = 200
_LETTER, _HANDLE, _ROW, _MARGIN = 0.075, 0.65, 0.19, 0.06  # inches, of a legend
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
DIAGONAL: LineStyle = {"color": "0.4", "linestyle": ":", "linewidth": 1.0}


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


def share_x(axes: Sequence[Axes]) -> None:
    """Give panels the same limits of x, so that they can be compared."""
    low, high = zip(*(axis.get_xlim() for axis in axes), strict=True)
    for axis in axes:
        axis.set_xlim(min(low), max(high))


def share_y(axes: Sequence[Axes]) -> None:
    """Give panels the same limits of y, so that they can be compared."""
    low, high = zip(*(axis.get_ylim() for axis in axes), strict=True)
    for axis in axes:
        axis.set_ylim(min(low), max(high))


def panel_grid(count: int, *, width: float = 3.4, height: float = 2.6, columns: int = 3) -> Figure:
    """Return a figure with `count` axes of `width` by `height` inches, at most `columns` a row."""
    num_columns = min(count, columns)
    num_rows = -(-count // num_columns)
    figure = Figure(figsize=(width * num_columns, height * num_rows), layout="constrained")
    axes = figure.subplots(num_rows, num_columns, squeeze=False).flat
    for unused in list(axes)[count:]:
        unused.remove()
    return figure


def legend_handles(figure: Figure) -> dict[str, Any]:
    """Return one labelled artist or container for each label in the panels."""
    return {
        label: handle
        for axis in figure.axes
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }


def legend_below(
    figure: Figure, handles: Mapping[str, Any] | None = None, *, title: str | None = None
) -> None:
    """Add a legend below the panels, where it hides nothing; they keep their size.

    The figure, which must have a constrained layout, grows. `handles` are artists or containers by
    label; by default `legend_handles`.
    """
    handles = legend_handles(figure) if handles is None else handles
    width, height = figure.get_size_inches()
    widest = max(map(len, handles)) * _LETTER + _HANDLE
    columns = max(1, min(len(handles), int(width / widest)))
    rows = -(-len(handles) // columns)
    figure.set_size_inches(width, height + (rows + (title is not None)) * _ROW + _MARGIN)
    figure.legend(
        handles=list(handles.values()),
        labels=list(handles),
        loc="outside lower center",
        ncols=-(-len(handles) // rows),
        title=title,
        title_fontsize="medium",
        handlelength=2.8,
        columnspacing=1.2,
    )


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and SVG; return the files.

    Raises:
        OSError: a file cannot be written.
    """
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    with styled():
        write_figure(figure, png, dpi=_DPI)
        write_figure(figure, svg, metadata={"Date": None})  # equal figures make equal files
    return [png, svg]
