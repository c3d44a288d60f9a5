"""Pictures: lookup of samples by key, and figures of images in a grid."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from visionlab.files.figures import write_figure
from visionlab.task import Batch, Split

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def find(split: Split, keys: Sequence[int], *, batch_size: int) -> Iterator[tuple[Batch, int]]:
    """Yield batch and row of the samples with some keys, in the order of the split."""
    wanted, num_left = torch.tensor(keys), len(keys)
    for batch in split.batches(batch_size=batch_size, epoch=0, first_batch=0):
        rows = torch.isin(batch.keys.cpu(), wanted).nonzero()[:, 0].tolist()
        yield from ((batch, row) for row in rows)
        num_left -= len(rows)
        if num_left == 0:
            break


def image_grid(
    num_images: int, *, num_columns: int, width_in: float, height_in: float
) -> "tuple[Figure, list[Axes]]":
    """Return a figure and at least `num_images` axes of a size in inches, row by row."""
    from matplotlib.figure import Figure

    num_rows = max(1, -(-num_images // num_columns))
    size = (width_in * num_columns, height_in * num_rows)
    figure = Figure(figsize=size, layout="constrained")
    no_ticks: Any = {"xticks": [], "yticks": []}  # invisible ones would take most of the time
    axes = list(figure.subplots(num_rows, num_columns, squeeze=False, subplot_kw=no_ticks).ravel())
    for axis in axes:
        axis.axis("off")
    return figure, axes


def save_png(figure: "Figure", path: Path) -> None:
    """Write a figure atomically; its folder must exist."""
    write_figure(figure, path, dpi=100)
