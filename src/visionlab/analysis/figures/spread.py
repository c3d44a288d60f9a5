"""Error of landmarks against the spread of an ensemble's members."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from visionlab.analysis.ensembles import EnsembleRecord
from visionlab.analysis.figures.ensemble_panels import CANDIDATES, STYLES, Panel
from visionlab.analysis.figures.lines import check_legible
from visionlab.analysis.figures.style import DIAGONAL, legend_below, panel_grid, share_x, share_y
from visionlab.analysis.predictions import Array

_DIAGONAL = "spread as large as error"
_MARGIN = 1.05  # times the largest value


def draw_spread(name: str, ensembles: Sequence[Panel]) -> Mapping[str, Figure]:
    """Draw the error of landmarks against the spread of members, in bins of equally many.

    Both are root mean squares. Points above the dotted line err more than their members differ.
    Panels have the same scale.
    """
    panels = [each for each in ensembles if each.ensemble.spread]
    if not panels:
        return {}
    check_legible(name, panels=len(panels))
    figure = panel_grid(len(panels), width=3.4, height=3.2)
    handles: dict[str, Line2D] = {}
    for axis, (title, _, ensemble) in zip(figure.axes, panels, strict=True):
        handles |= _draw(axis, ensemble)
        axis.set_title(textwrap.fill(title, 42))
    share_x(figure.axes)
    share_y(figure.axes)
    legend_below(figure, handles)
    return {name: figure}


def _draw(axis: Axes, ensemble: EnsembleRecord) -> dict[str, Line2D]:
    handles: dict[str, Line2D] = {
        label: axis.plot(bins.spread, bins.error, **STYLES[label])[0]
        for name, label in CANDIDATES.items()
        if (bins := ensemble.spread.get(name)) is not None
    }
    handles[_DIAGONAL] = axis.axline((0, 0), slope=1, **DIAGONAL)
    found = ensemble.spread.values()
    axis.set(xlim=(0, _end([bins.spread for bins in found])), xlabel="spread of members (px)")
    axis.set(ylim=(0, _end([bins.error for bins in found])), ylabel="error (px)")
    return handles


def _end(columns: Sequence[Array]) -> float:
    """Return the end of an axis from 0 on, beyond the largest known value."""
    return _MARGIN * float(np.nanmax([0.0, *np.concatenate(columns)])) or 1.0
