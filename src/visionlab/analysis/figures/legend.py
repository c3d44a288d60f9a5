"""Legends below all panels, where they hide nothing."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

# inches at the font size of `style`
_LETTER, _HANDLE, _ROW, _MARGIN = 0.075, 0.65, 0.19, 0.06


def legend_handles(figure: Figure) -> dict[str, Any]:
    """Return one labelled artist or container for each label in the panels."""
    return {
        label: handle
        for axis in figure.axes
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }


def legend_below(figure: Figure, handles: Mapping[str, Any], *, title: str | None = None) -> None:
    """Add a legend below the panels; they keep their size and the figure grows.

    Args:
        figure: with a constrained layout.
        handles: artists or containers by label.
        title: above the labels, or None.
    """
    width, height = figure.get_size_inches()
    widest = max(map(len, handles)) * _LETTER + _HANDLE
    columns = max(1, min(len(handles), int(width / widest)))
    rows = -(-len(handles) // columns)
    columns = -(-len(handles) // rows)
    figure.set_size_inches(width, height + (rows + (title is not None)) * _ROW + _MARGIN)
    figure.legend(
        handles=list(handles.values()),
        labels=list(handles),
        loc="outside lower center",
        ncols=columns,
        title=title,
        title_fontsize="medium",
        handlelength=2.8,
        columnspacing=1.2,
    )
