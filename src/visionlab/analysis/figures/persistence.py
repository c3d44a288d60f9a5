"""Bar codes: after which epochs the least stable samples were wrong (persistence)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from visionlab.analysis.asked import Asked
from visionlab.analysis.figures.legends import put_below
from visionlab.analysis.figures.style import looks, slug, styled
from visionlab.analysis.panels import Line, Panel, panels_of
from visionlab.analysis.predictions import Correctness, common, correctness
from visionlab.analysis.records import Record
from visionlab.analysis.stability import least_stable

Array = np.ndarray[Any, Any]
# maps the folder of a run and keys of its validation samples to pictures, (H, W, 3) uint8
Pictures = Callable[[Path, Sequence[int]], Sequence[Array]]
TASK = "classification"
IN_TRAINING = "no average"
BAR = 0.42  # from one row to the next; a sample has the height 1
_FILLED = 0.9  # of that
_RIGHT = "0.9"
_WIDTH, _ROW, _AROUND, _PICTURES = 3.4, 0.26, 0.55, 0.45  # inches


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """The least stable samples of one run.

    Attributes:
        run: whose samples they are.
        epochs: rising, (E,).
        wrong: (E, S) bool, by the label of the model, that in training first.
        keys: of the samples, the least stable first.
        names: of the samples, with their class.
    """

    run: Record
    epochs: Array
    wrong: Mapping[str, Array]
    keys: Sequence[int]
    names: Sequence[str]


def draw_persistence(asked: Asked) -> Mapping[str, Figure]:
    """Draw after which epochs the least stable samples of the first seed were wrong.

    A figure for each setting of training; for each sample a row of the model in training, and below
    it one of the average with the largest decay.
    """
    return {name: _figure(chosen, None) for name, chosen in _all_chosen(asked).items()}


def draw_persistence_with_pictures(asked: Asked, pictures: Pictures) -> Mapping[str, Figure]:
    """Draw what `draw_persistence` draws, and beside the rows of each sample its picture."""
    return {
        name: _figure(chosen, pictures(chosen.run.folder, chosen.keys))
        for name, chosen in _all_chosen(asked).items()
    }


def _all_chosen(asked: Asked) -> dict[str, _Chosen]:
    """Return what each figure shows, by its name."""
    settings = panels_of(asked.models, task=TASK)
    found = {panel.label: _choose(panel, asked) for panel in settings}
    drawn = {label: chosen for label, chosen in found.items() if chosen is not None}
    return {
        f"persistence_{slug(label)}" if len(drawn) > 1 else "persistence": chosen
        for label, chosen in drawn.items()
    }


def _choose(panel: Panel, asked: Asked) -> _Chosen | None:
    """Return the least stable samples, or None if there are no two epochs."""
    with_decay = [line for line in panel.averages if line.models[0].name.startswith("ema_")]
    line = (with_decay or panel.averages or panel.lines)[-1]
    run = line.models[0].run
    tables = _tables(run, line, asked.epochs)
    if not tables or len(tables[0][1].epochs) < 2:
        return None
    (_, in_training), *averages = tables
    columns = least_stable(
        in_training.correct,
        averages[0][1].correct if averages else None,
        sort=asked.sort,
        count=asked.num_samples,
    )
    keys, classes = in_training.keys[columns].tolist(), run.about.get("labels")
    labels = in_training.labels[columns].tolist()
    return _Chosen(
        run=run,
        epochs=in_training.epochs,
        wrong={label: ~table.correct[:, columns] for label, table in tables},
        keys=keys,
        names=[
            f"{classes[label] if classes else label} {key}"
            for key, label in zip(keys, labels, strict=True)
        ],
    )


def _tables(
    run: Record, line: Line, epochs: tuple[int, int] | None
) -> list[tuple[str, Correctness]]:
    """Return the model in training of a run, and beside it an average where it has one."""
    in_training = correctness(run, "model", epochs)
    if in_training is None:
        return []
    average = correctness(run, line.models[0].name, epochs) if line.is_average else None
    if average is None:
        return [(IN_TRAINING, in_training)]
    in_training, average = common(in_training, average)
    return [(IN_TRAINING, in_training), (line.label, average)]


def _figure(chosen: _Chosen, pictures: Sequence[Array] | None) -> Figure:
    count = len(chosen.keys)
    beside = 0.0 if pictures is None else _PICTURES
    with styled():
        size = (_WIDTH + beside, (_ROW if pictures is None else _PICTURES) * count + _AROUND)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.add_gridspec(
            count, 2, width_ratios=[max(beside, 1e-3), _WIDTH], hspace=0, wspace=0
        )
        engine = figure.get_layout_engine()
        assert isinstance(engine, ConstrainedLayoutEngine)
        engine.set(h_pad=0.03, hspace=0)  # a picture stands beside its rows
        axis = figure.add_subplot(grid[:, 1])
        _draw_bars(axis, chosen)
        for row, picture in enumerate(pictures or []):
            beside_axis = figure.add_subplot(grid[row, 0])
            beside_axis.imshow(picture, interpolation="nearest")
            beside_axis.axis("off")
        colours = _colours(list(chosen.wrong))
        handles = [
            Patch(color=colour, label=f"{label}: wrong") for label, colour in colours.items()
        ]
        put_below(figure, [*handles, Patch(color=_RIGHT, label="right")], title=None)
    return figure


def _draw_bars(axis: Axes, chosen: _Chosen) -> None:
    """Draw the rows of each sample from y to y + 1, the least stable on top."""
    edges = _edges(chosen.epochs)
    count = len(chosen.keys)
    colours = _colours(list(chosen.wrong))
    gap = (1 - BAR * len(colours)) / 2
    for number, (label, wrong) in enumerate(chosen.wrong.items()):
        for sample in range(count):
            place = (sample + gap + number * BAR, BAR * _FILLED)
            axis.broken_barh([(edges[0], edges[-1] - edges[0])], place, color=_RIGHT, zorder=1)
            axis.broken_barh(
                spans(edges, wrong[:, sample]), place, color=colours[label], linewidth=0, zorder=2
            )
    axis.set(xlim=(edges[0], edges[-1]), ylim=(count, 0))
    axis.set_xlabel(f"epoch (seed {chosen.run.seed})")
    axis.set_yticks(np.arange(count) + 0.5, chosen.names)
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False)
    axis.spines["left"].set_visible(False)


def spans(edges: Array, wrong: Array) -> list[tuple[float, float]]:
    """Return start and width of each unbroken row of epochs that are wrong.

    Args:
        edges: of the epochs, (E + 1,).
        wrong: (E,) bool.
    """
    changes = np.diff(np.concatenate([[False], wrong, [False]]).astype(int))
    starts, ends = edges[changes == 1], edges[changes == -1]
    return [(float(low), float(high - low)) for low, high in zip(starts, ends, strict=True)]


def _edges(epochs: Array) -> Array:
    """Return where the bars of at least two epochs begin and end: halfway to the next, (E + 1,)."""
    middles = (epochs[1:] + epochs[:-1]) / 2
    edges: Array = np.concatenate(
        [[2 * epochs[0] - middles[0]], middles, [2 * epochs[-1] - middles[-1]]]
    )
    return edges


def _colours(labels: Sequence[str]) -> dict[str, str]:
    return {label: look.color for label, look in looks(labels).items()}
