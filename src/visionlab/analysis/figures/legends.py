"""Legends below all panels, where they hide nothing."""

import math
from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.figure import Figure

# inches at the size of our letters
_LETTER, _HANDLE, _ROW, _MARGIN = 0.075, 0.55, 0.18, 0.12


def put_below(figure: Figure, handles: Sequence[Artist]) -> None:
    """Put a legend below the panels, which keep their size: the figure grows.

    Args:
        figure: with a constrained layout.
        handles: what is explained, with labels.
    """
    width, height = figure.get_size_inches()
    widest = max(len(str(handle.get_label())) for handle in handles) * _LETTER + _HANDLE
    rows = math.ceil(len(handles) / max(1, int(width / widest)))
    columns = math.ceil(len(handles) / rows)
    figure.set_size_inches(width, height + rows * _ROW + _MARGIN)
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns)
