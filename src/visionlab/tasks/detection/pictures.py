"""Pictures of detections and annotated boxes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor

from visionlab.core.geometry import transform_boxes
from visionlab.images.pictures import find, image_grid, save_png
from visionlab.task import Batch, Split
from visionlab.tasks.detection.records import Annotated as Sample
from visionlab.tasks.detection.records import Detections

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 4
TRUTH = {"edgecolor": "#0072b2", "linestyle": "--", "linewidth": 1.6}  # Okabe and Ito's blue
FOUND = {"edgecolor": "#e69f00", "linestyle": "-", "linewidth": 1.2}  # and their orange


def draw_detections(
    folder: Path,
    samples: dict[str, Tensor],
    split: Split,
    *,
    class_names: Sequence[str],
    to_pixels: Callable[[Tensor], Tensor],
    num_images: Annotated[int, "[1, 1000]"],
    min_score: Annotated[float, "[0, 1]"],
) -> None:
    """Write `fixed.png`, always the same images, and `worst.png`, those with the most errors.

    Annotated boxes are blue and dashed, crowds dotted; detections are orange, with class and score.

    Args:
        folder: the folder of the pictures.
        samples: what `AveragePrecision.samples` returns, and `keys`.
        split: the images.
        class_names: in the order of the labels.
        to_pixels: maps inputs (B, 3, H, W) to pixels in [0, 1].
        num_images: maximum number of images in each picture.
        min_score: minimum score of detections that are drawn.
    """
    errors = samples["num_missed"] + samples["num_false"]
    count = min(num_images, len(errors))
    pictures = {
        "fixed": torch.linspace(0, len(errors) - 1, count).long().tolist(),
        "worst": errors.argsort(descending=True, stable=True)[:count].tolist(),
    }
    keys = samples["keys"].tolist()
    places: dict[int, list[Axes]] = {}
    figures = {}
    for name, rows in pictures.items():
        figures[name], axes = image_grid(count, num_columns=COLUMNS, width_in=4.0, height_in=3.4)
        for axis, row in zip(axes, rows, strict=False):
            places.setdefault(keys[row], []).append(axis)
    ends = samples["num_detections"].cumsum(0).tolist()
    for batch, number in find(split, list(places), batch_size=8):
        key = int(batch.keys[number])
        row = keys.index(key)
        found = slice(ends[row] - int(samples["num_detections"][row]), ends[row])
        chosen = samples["scores"][found] >= min_score
        detections = Detections(*(samples[part][found][chosen] for part in Detections._fields))
        missed, false = int(samples["num_missed"][row]), int(samples["num_false"][row])
        for axis in places[key]:
            axis.set_title(f"{key}: {missed} missed, {false} false", fontsize=9)
            _draw(axis, batch, number, detections, class_names=class_names, to_pixels=to_pixels)
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        save_png(figure, folder / f"{name}.png")


def _draw(
    axis: "Axes",
    batch: Batch,
    number: int,
    found: Detections,
    *,
    class_names: Sequence[str],
    to_pixels: Callable[[Tensor], Tensor],
) -> None:
    assert batch.matrices is not None
    matrix = batch.matrices[number].cpu()
    sample: Sample = batch.targets.annotated[number]
    pixels = to_pixels(batch.inputs[number : number + 1])[0].permute(1, 2, 0)
    axis.imshow(pixels.cpu().numpy())
    whole = torch.tensor([[0.0, 0.0, sample.width_px, sample.height_px]])
    ((_, _, right, bottom),) = _moved(whole, matrix)
    axis.set(xlim=(-0.5, right - 0.5), ylim=(bottom - 0.5, -0.5))  # without the canvas around it
    boxes = _moved(sample.boxes, matrix)
    rows = zip(boxes, sample.labels.tolist(), sample.crowd.tolist(), strict=True)
    for box, label, is_crowd in rows:
        style = {**TRUTH, "linestyle": ":"} if is_crowd else TRUTH
        _box(axis, box, class_names[label], style, va="top")
    boxes = _moved(found.boxes, matrix)
    for box, score, label in zip(boxes, found.scores.tolist(), found.labels.tolist(), strict=True):
        _box(axis, box, f"{class_names[label]} {score:.2f}", FOUND, va="bottom")


def _moved(boxes: Tensor, matrix: Tensor) -> list[list[float]]:
    """Return boxes of the original image in input pixels."""
    moved: list[list[float]] = transform_boxes(boxes[None], matrix[None])[0].tolist()
    return moved


def _box(axis: "Axes", box: Sequence[float], text: str, style: dict[str, Any], *, va: str) -> None:
    """Draw a box with a text under it (`top`), or over it (`bottom`)."""
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = box
    # imshow puts the centre of the first pixel at 0; our coordinates have its corner there
    axis.add_patch(Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, **style))
    axis.text(
        x1,
        y2 if va == "top" else y1,
        text,
        va=va,
        fontsize=6,
        clip_on=True,
        color="white",
        parse_math=False,
        bbox={"facecolor": style["edgecolor"], "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
    )
