"""Pictures of predicted points, and their errors."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor

from visionlab.core.geometry import transform_points
from visionlab.files import atomic as storage
from visionlab.images.pictures import find, image_grid, save_png
from visionlab.task import Batch, Split
from visionlab.tasks.keypoints.records import PointTargets

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4
TRUTH, PREDICTED = "#56b4e9", "#e69f00"  # Okabe and Ito's sky blue and orange
_MAX_NAME = 28


def draw_points(
    folder: Path,
    samples: dict[str, Tensor],
    split: Split,
    *,
    class_names: Sequence[str],
    to_pixels: Callable[[Tensor], Tensor],
    num_images: Annotated[int, "[1, 1000]"],
) -> None:
    """Write `worst.png`, `pck.png` and `errors_by_point.csv`, unless no point is known.

    Args:
        folder: the folder of the files.
        samples: what `PointErrors.samples` returns, `keys`, and `loss` (N,) if it is known; of an
            ensemble it is not, and the mean error in pixels takes its place.
        split: the images; `split.samples` has `names` and `keys`.
        class_names: of the points.
        to_pixels: maps inputs (B, 3, S, S) to pixels in [0, 1].
        num_images: maximum number of images.
    """
    errors = samples["errors_px"].cpu()
    if errors.isnan().all():
        return
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "worst": _draw_worst(samples, split, to_pixels=to_pixels, num_images=num_images),
        "pck": _draw_pck(errors / samples["normaliser_px"].cpu()[:, None]),
    }
    for name, figure in figures.items():
        save_png(figure, folder / f"{name}.png")
    storage.write_text(folder / "errors_by_point.csv", _by_point(errors, class_names))


def _draw_worst(
    samples: dict[str, Tensor],
    split: Split,
    *,
    to_pixels: Callable[[Tensor], Tensor],
    num_images: int,
) -> "Figure":
    """Return a figure of the images with the largest losses, with true and predicted points."""
    errors = samples["errors_px"].cpu()
    known = ~errors.isnan().all(dim=1)
    losses = samples["loss"].cpu().float() if "loss" in samples else errors.nanmean(dim=1)
    losses = torch.where(known, losses, -math.inf)
    worst = losses.argsort(descending=True, stable=True)[: min(num_images, int(known.sum()))]
    keys = samples["keys"].cpu()[worst].tolist()
    names = dict(zip(split.samples.keys.tolist(), split.samples.names, strict=True))  # type: ignore[attr-defined]
    found = {int(batch.keys[row]): (batch, row) for batch, row in find(split, keys, batch_size=64)}
    figure, axes = image_grid(len(keys), num_columns=COLUMNS, width_in=3.2, height_in=3.6)
    for axis, row, key in zip(axes, worst.tolist(), keys, strict=False):
        batch, number = found[key]
        truth, guess = _seen(batch, number, samples["points"][row].cpu())
        pixels = to_pixels(batch.inputs[number : number + 1])[0].permute(1, 2, 0).cpu().numpy()
        side = pixels.shape[0]
        axis.imshow(pixels, extent=(0, side, side, 0))  # pixel corners have whole coordinates
        for start, end in zip(truth.tolist(), guess.tolist(), strict=True):
            axis.plot(*zip(start, end, strict=True), color="white", linewidth=0.5, alpha=0.6)
        axis.plot(*truth.T.tolist(), ".", color=TRUTH, markersize=3, label="true")
        axis.plot(*guess.T.tolist(), ".", color=PREDICTED, markersize=3, label="predicted")
        axis.set(xlim=(0, side), ylim=(side, 0))
        mean = float(samples["errors_px"][row].nanmean())
        loss = f"loss {losses[row]:.3g}, " if "loss" in samples else ""
        title = f"{names[key][-_MAX_NAME:]}\n{loss}{mean:.1f} px"
        axis.set_title(title, fontsize=8)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _seen(batch: Batch, number: int, guess: Tensor) -> tuple[Tensor, Tensor]:
    """Return the known points of a sample and their predictions in input pixels, (K, 2) each."""
    targets: PointTargets = batch.targets
    assert batch.matrices is not None
    matrix = batch.matrices[number, None].cpu()
    original = targets.original[number].cpu()
    known = original.isfinite().all(dim=1)
    pair = torch.stack([original[known], guess[known]])
    truth, found = transform_points(pair, matrix.expand(2, -1, -1))
    return truth, found


def _draw_pck(relative: Tensor) -> "Figure":
    """Return a figure of the share of points below an error, as a function of the error."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 3.6), layout="constrained")
    axis = figure.subplots()
    distances = relative[~relative.isnan()].double().sort().values
    if len(distances):
        shares = torch.arange(1, len(distances) + 1) / len(distances)
        kept = torch.linspace(0, len(distances) - 1, min(len(distances), 2000)).long()
        axis.step(distances[kept].tolist(), shares[kept].tolist(), where="post", color="#0072b2")
        median = float(distances[(len(distances) - 1) // 2])
        axis.set_xlim(0, max(4 * median, 1e-6))
        axis.axvline(median, color="#555555", linestyle=":", linewidth=1)
        text = f"median {median:.3f}"
        axis.annotate(text, (median, 0.03), xytext=(4, 0), fontsize=8, textcoords="offset points")
    axis.set(ylim=(0, 1), xlabel="error / normaliser", ylabel="share of points (PCK)")
    axis.grid(alpha=0.3)
    return figure


def _by_point(errors: Tensor, class_names: Sequence[str]) -> str:
    """Return a table of how often each point is known, with its mean and median error in pixels."""
    rows: list[list[object]] = [["point", "num_known", "mean_px", "median_px"]]
    known = (~errors.isnan()).sum(dim=0).tolist()
    columns = (class_names, known, errors.nanmean(dim=0), errors.nanmedian(dim=0).values)
    for name, count, mean, median in zip(*columns, strict=True):
        rows.append([name, count, f"{float(mean):.4f}", f"{float(median):.4f}"])
    return storage.csv_text(rows)
