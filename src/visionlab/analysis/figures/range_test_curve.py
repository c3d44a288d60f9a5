"""Loss over learning rate in a range test."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.files.atomic import write_file

_COLOUR, _MARK = "#0072b2", "#d55e00"  # Okabe and Ito's blue and vermilion


def draw_range_test(
    path: Path,
    *,
    lrs: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: float | None,
) -> None:
    """Write a picture of the loss of each step and of the smoothed loss over the learning rate.

    Args:
        path: of the picture, a PNG; its folder is made if missing.
        lrs: of each step.
        losses: of each step.
        smoothed: of each step.
        suggestion: rate to mark, one of `lrs`, or None.
    """
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axis = figure.subplots()
    way = "up" if lrs[-1] > lrs[0] else "down"
    axis.set_title(f"Range test: the rate moves {way} from {lrs[0]:.3g} to {lrs[-1]:.3g}")
    draw_curve(axis, lrs=lrs, losses=losses, smoothed=smoothed, suggestion=suggestion)
    axis.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, lambda file: figure.savefig(file, format="png", dpi=120))


def draw_curve(
    axis: Axes,
    *,
    lrs: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: float | None,
) -> None:
    """Draw the curve of a range test; arguments as for `draw_range_test`."""
    axis.plot(lrs, losses, color=_COLOUR, alpha=0.25, linewidth=0.8, label="loss of each step")
    axis.plot(lrs, smoothed, color=_COLOUR, linewidth=2.0, label="smoothed")
    if suggestion is not None:
        axis.axvline(suggestion, color=_MARK, linestyle="--", linewidth=1.0)
        axis.plot(
            [suggestion],
            [smoothed[list(lrs).index(suggestion)]],
            "o",
            color=_MARK,
            label=f"falls fastest: lr {suggestion:.2g}",
        )
    axis.set_xscale("log")
    axis.set_xlabel("learning rate")
    axis.set_ylabel("training loss")
    # a loss that explodes would flatten the rest
    top = max(smoothed[: smoothed.index(min(smoothed)) + 1])
    margin = 0.25 * (top - min(losses)) or 1.0
    axis.set_ylim(min(losses) - 0.2 * margin, top + margin)
