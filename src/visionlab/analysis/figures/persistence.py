"""Bar codes: in which epochs the least stable samples were misclassified."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from visionlab.analysis.figures.lines import check_legible, check_long_enough
from visionlab.analysis.figures.style import legend_below, line_styles
from visionlab.analysis.groups import SettingGroup, setting_groups
from visionlab.analysis.labels import slug
from visionlab.analysis.models import RAW_LABEL, ModelRecord
from visionlab.analysis.options import FigureOptions
from visionlab.analysis.predictions import Array, at_common_epochs, load_correctness
from visionlab.analysis.records import RunRecord
from visionlab.analysis.stability import least_stable

# loads images (H, W, 3) uint8 of the validation samples of a run, given its folder and their keys
LoadImages = Callable[[Path, Sequence[int]], Sequence[Array]]
TASK = "classification"
_MIN_EPOCHS = 5
_BAR = 0.42  # distance of the two bars of a sample, whose height is 1
_FILLED = 0.9  # of that distance
_RIGHT = "0.9"  # grey
_WIDTH, _ROW, _MARGIN, _IMAGE = 3.4, 0.26, 0.55, 0.45  # inches


@dataclass(frozen=True, kw_only=True)
class _BarCode:
    """The least stable samples of one run, the least stable first."""

    run: RunRecord
    epochs: Array  # increasing, (E,)
    wrong: Mapping[str, Array]  # (E, S) bool by model label, the raw model first
    keys: Sequence[int]
    names: Sequence[str]  # of the samples, with their class


def draw_persistence(
    models: Sequence[ModelRecord], options: FigureOptions, load_images: LoadImages | None = None
) -> Mapping[str, Figure]:
    """Draw the epochs in which the least stable samples of the first seed were misclassified.

    There is a figure per setting. Each sample has a bar for the raw model and below it one for the
    average with the largest decay; with `load_images`, its image is beside them.
    """
    bar_codes = {
        group.label: bar_code
        for group in setting_groups(models, task=TASK)
        if (bar_code := _bar_code(group, options)) is not None
    }
    longest = max((len(each.epochs) for each in bar_codes.values()), default=0)
    if not bar_codes:
        return {}
    check_long_enough("persistence", num_epochs=longest, least=_MIN_EPOCHS)
    check_legible("persistence", figures=len(bar_codes))
    figures = {}
    for label, bar_code in bar_codes.items():
        name = f"persistence_{slug(label)}" if len(bar_codes) > 1 else "persistence"
        images = load_images and load_images(bar_code.run.folder, bar_code.keys)
        figures[name] = _figure(bar_code, images)
    return figures


def _bar_code(group: SettingGroup, options: FigureOptions) -> _BarCode | None:
    """Return the least stable samples, or None if fewer than two epochs have predictions."""
    with_decay = [each for each in group.averages if each.models[0].name.startswith("ema_")]
    member = (with_decay or group.averages or group.members)[-1]
    model = member.models[0]
    raw = load_correctness(model.run, "model", options.epochs)
    average = load_correctness(model.run, model.name, options.epochs) if member.is_average else None
    if raw is not None and average is not None:
        raw, average = at_common_epochs(raw, average)
    if raw is None or len(raw.epochs) < 2:
        return None
    shown = {RAW_LABEL: raw} if average is None else {RAW_LABEL: raw, member.label: average}
    columns = least_stable(
        raw.correct,
        None if average is None else average.correct,
        sort=options.sort,
        count=options.num_samples,
    )
    keys, labels = raw.keys[columns].tolist(), raw.labels[columns].tolist()
    classes = model.run.labels
    return _BarCode(
        run=model.run,
        epochs=raw.epochs,
        wrong={label: ~each.correct[:, columns] for label, each in shown.items()},
        keys=keys,
        names=[
            f"{classes[label] if classes else label} {key}"
            for key, label in zip(keys, labels, strict=True)
        ],
    )


def _figure(bar_code: _BarCode, images: Sequence[Array] | None) -> Figure:
    count = len(bar_code.keys)
    left = 0.0 if images is None else _IMAGE
    size = (_WIDTH + left, (_ROW if images is None else _IMAGE) * count + _MARGIN)
    figure = Figure(figsize=size, layout="constrained")
    widths = [max(left, 1e-3), _WIDTH]
    grid = figure.add_gridspec(count, 2, width_ratios=widths, hspace=0, wspace=0)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(h_pad=0.03, hspace=0)  # images line up with their rows
    _draw_bars(figure.add_subplot(grid[:, 1]), bar_code)
    for row, image in enumerate(images or []):
        axis = figure.add_subplot(grid[row, 0])
        axis.imshow(image, interpolation="nearest")
        axis.axis("off")
    styles = line_styles(bar_code.wrong)
    handles = {f"{label}: wrong": Patch(color=style["color"]) for label, style in styles.items()}
    legend_below(figure, {**handles, "right": Patch(color=_RIGHT)})
    return figure


def _draw_bars(axis: Axes, bar_code: _BarCode) -> None:
    """Draw the bars of each sample from y to y + 1, the least stable on top."""
    edges = _edges(bar_code.epochs)
    count = len(bar_code.keys)
    gap = (1 - _BAR * len(bar_code.wrong)) / 2
    styles = line_styles(bar_code.wrong)
    for number, (label, wrong) in enumerate(bar_code.wrong.items()):
        for sample in range(count):
            place = (sample + gap + number * _BAR, _BAR * _FILLED)
            axis.broken_barh([(edges[0], edges[-1] - edges[0])], place, color=_RIGHT, zorder=1)
            bars = spans(edges, wrong[:, sample])
            axis.broken_barh(bars, place, color=styles[label]["color"], linewidth=0, zorder=2)
    axis.set(xlim=(edges[0], edges[-1]), ylim=(count, 0))
    axis.set_xlabel(f"epoch (seed {bar_code.run.seed})")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_yticks(np.arange(count) + 0.5, bar_code.names)
    axis.set_ylabel("class and key of the sample")
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False)
    axis.spines["left"].set_visible(False)


def spans(edges: Array, wrong: Array) -> list[tuple[float, float]]:
    """Return start and width of each run of wrong epochs, from edges (E + 1,) and wrong (E,)."""
    changes = np.diff(np.concatenate([[False], wrong, [False]]).astype(int))
    starts, ends = edges[changes == 1], edges[changes == -1]
    return [(float(low), float(high - low)) for low, high in zip(starts, ends, strict=True)]


def _edges(epochs: Array) -> Array:
    """Return the borders halfway between at least two epochs, (E + 1,)."""
    middles = (epochs[1:] + epochs[:-1]) / 2
    first, last = 2 * epochs[0] - middles[0], 2 * epochs[-1] - middles[-1]
    edges: Array = np.concatenate([[first], middles, [last]])
    return edges
