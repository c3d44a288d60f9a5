"""Figures of images in a grid."""

from pathlib import Path
from typing import TYPE_CHECKING

from visionlab.files.atomic import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def image_grid(
    num_images: int, *, num_columns: int, width_in: float, height_in: float
) -> "tuple[Figure, list[Axes]]":
    """Return a figure and at least `num_images` axes of a size in inches, row by row."""
    from matplotlib.figure import Figure

    num_rows = max(1, -(-num_images // num_columns))
    size = (width_in * num_columns, height_in * num_rows)
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(num_rows, num_columns, squeeze=False).ravel())
    for axis in axes:
        axis.axis("off")
    return figure, axes


def save_png(figure: "Figure", path: Path) -> None:
    """Write a figure atomically; its folder must exist."""
    write_file(path, lambda file: figure.savefig(file, format="png", dpi=100))
