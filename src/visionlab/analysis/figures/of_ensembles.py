"""Figures of ensembles by name; each is drawn from panels, one for each ensemble and split."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from visionlab.analysis.figures.class_spread import draw_class_ap
from visionlab.analysis.figures.ensemble_panels import Panel, PanelGroup, ensemble_panels
from visionlab.analysis.figures.ensemble_size import draw_ensemble_size
from visionlab.analysis.figures.overlap import draw_overlap
from visionlab.analysis.figures.reliability import draw_reliability
from visionlab.analysis.labels import join_names
from visionlab.analysis.models import ModelRecord

ENSEMBLE_FIGURES: Mapping[str, Callable[[Sequence[Panel]], Mapping[str, Figure]]] = {
    "ensemble_size": draw_ensemble_size,
    "reliability": draw_reliability,
    "overlap": draw_overlap,
    "class_ap": draw_class_ap,
}


def ensemble_makers(
    name: str, models: Sequence[ModelRecord], folders: Sequence[Path]
) -> list[Callable[[], Mapping[str, Figure]]]:
    """Return functions that draw a figure, one for each task and data set.

    See `ensemble_panels` for the arguments.
    """
    return [partial(_draw, name, group) for group in ensemble_panels(name, models, folders)]


def _draw(name: str, group: PanelGroup) -> Mapping[str, Figure]:
    figures = ENSEMBLE_FIGURES[name](group.panels)
    return {join_names(each, group.ending): figure for each, figure in figures.items()}
