"""Legends below all panels, where they hide nothing."""

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.figure import Figure

# inches at the size of our letters
_LETTER, _HANDLE, _ROW, _MARGIN = 0.075, 0.65, 0.19, 0.06


def put_below(figure: Figure, handles: Sequence[Artist], *, title: str | None) -> None:
    """Put a legend below the panels, which keep their size: the figure grows.

    Args:
        figure: with a constrained layout.
        handles: what is explained, with labels.
        title: said above them, or None.
    """
    width, height = figure.get_size_inches()
    widest = max(len(str(handle.get_label())) for handle in handles) * _LETTER + _HANDLE
    columns = max(1, min(len(handles), int(width / widest)))
    rows = -(-len(handles) // columns)
    columns = -(-len(handles) // rows)
    figure.set_size_inches(width, height + (rows + (title is not None)) * _ROW + _MARGIN)
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=columns,
        title=title,
        title_fontsize="medium",
        handlelength=2.8,
        columnspacing=1.2,
    )
