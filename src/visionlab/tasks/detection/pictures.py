"""Pictures of detections and annotated boxes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor

from visionlab.core import oriented_boxes
from visionlab.core.geometry import transform_boxes, transform_points
from visionlab.files.figures import lay_out
from visionlab.images.pictures import find, image_grid, save_png
from visionlab.task import Batch, Split
from visionlab.tasks.detection.metric import RIGHT, WRONG
from visionlab.tasks.detection.records import Annotated as Sample
from visionlab.tasks.detection.records import Detections

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
_Style = dict[str, Any]
TRUTH: _Style = {"edgecolor": "#0072b2", "linestyle": "--", "linewidth": 1.6}  # Okabe and Ito's
CROWD: _Style = {**TRUTH, "linestyle": ":"}
FOUND: _Style = {"edgecolor": "#e69f00", "linestyle": "-", "linewidth": 1.2}
MAX_LABELLED = 40  # boxes of an image; with more, boxes are thin and without text
_MAX_NAME, _MAX_CLASS = 44, 24  # characters


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
        min_score: minimum score of detections that are drawn and counted.
    """
    missed, false = count_errors(samples, min_score=min_score)
    count = min(num_images, len(missed))
    pictures = {
        "fixed": torch.linspace(0, len(missed) - 1, count).long().tolist(),
        "worst": (missed + false).argsort(descending=True, stable=True)[:count].tolist(),
    }
    keys = samples["keys"].tolist()
    places: dict[int, list[Axes]] = {}
    figures = {}
    for name, rows in pictures.items():
        figures[name], axes = image_grid(count, num_columns=COLUMNS, width_in=4.0, height_in=3.6)
        for axis, row in zip(axes, rows, strict=False):
            places.setdefault(keys[row], []).append(axis)
    ends = samples["num_detections"].cumsum(0).tolist()
    for batch, number in find(split, list(places), batch_size=8):
        row = keys.index(int(batch.keys[number]))
        found = slice(ends[row] - int(samples["num_detections"][row]), ends[row])
        chosen = samples["scores"][found] >= min_score
        detections = Detections(*(samples[part][found][chosen] for part in Detections._fields))
        name = batch.targets.annotated[number].name
        title = f"{_end(name)}\n{missed[row]} missed, {false[row]} false"
        for axis in places[keys[row]]:
            axis.set_title(title, fontsize=9, parse_math=False)
            _draw(axis, batch, number, detections, class_names=class_names, to_pixels=to_pixels)
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        _legend(figure, min_score)
        _keep_texts_inside(figure)
        save_png(figure, folder / f"{name}.png")


def count_errors(samples: dict[str, Tensor], *, min_score: float) -> tuple[Tensor, Tensor]:
    """Return how many objects of each image are missed and how many detections are false, (N,).

    Detections count from a score of `min_score` on; `samples` are those of `AveragePrecision`.
    """
    num_images = len(samples["num_detections"])
    images = torch.arange(num_images).repeat_interleave(samples["num_detections"])
    is_counted = samples["scores"] >= min_score
    right, false = (
        images[is_counted & (samples["outcomes"] == outcome)].bincount(minlength=num_images)
        for outcome in (RIGHT, WRONG)
    )
    return samples["num_objects"].sum(dim=1) - right, false


def _end(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"…{name[1 - _MAX_NAME :]}"


def _draw(
    axis: "Axes",
    batch: Batch,
    number: int,
    found: Detections,
    *,
    class_names: Sequence[str],
    to_pixels: Callable[[Tensor], Tensor],
) -> None:
    sample: Sample = batch.targets.annotated[number]
    matrix = _draw_inputs(axis, batch, number, to_pixels)
    sides = torch.tensor([[0.0, 0.0, sample.width_px, sample.height_px]])
    right, bottom = _moved(sides, matrix).amax(dim=(0, 1)).tolist()
    axis.set(xlim=(-0.5, right - 0.5), ylim=(bottom - 0.5, -0.5))  # without the canvas around it
    names = [
        name if len(name) <= _MAX_CLASS else f"{name[: _MAX_CLASS - 1]}…" for name in class_names
    ]
    is_labelled = len(sample.boxes) + len(found.boxes) <= MAX_LABELLED
    draw = _labelled_box if is_labelled else _thin_box
    boxes = _moved(sample.boxes if sample.polygons is None else sample.polygons, matrix)
    rows = zip(boxes, sample.labels.tolist(), sample.crowd.tolist(), strict=True)
    for box, label, is_crowd in rows:
        draw(axis, box, names[label], CROWD if is_crowd else TRUTH, va="top")
    boxes = _moved(found.boxes, matrix)
    for box, score, label in zip(boxes, found.scores.tolist(), found.labels.tolist(), strict=True):
        draw(axis, box, f"{names[label]} {score:.2f}", FOUND, va="bottom")


def _draw_inputs(
    axis: "Axes", batch: Batch, number: int, to_pixels: Callable[[Tensor], Tensor]
) -> Tensor:
    """Show an input, or all crops of a page in their places; return the matrix of the first."""
    assert batch.matrices is not None
    pages = batch.targets.pages
    if pages is None:
        pixels = to_pixels(batch.inputs[number : number + 1])[0].permute(1, 2, 0)
        axis.imshow(pixels.cpu().numpy())
        return batch.matrices[number].cpu()
    rows = (pages == number).nonzero()[:, 0].tolist()
    first = batch.matrices[rows[0]].cpu()
    for row in rows:
        width, height = batch.targets.sizes[row].int().tolist()
        pixels = to_pixels(batch.inputs[row : row + 1, :, :height, :width])[0].permute(1, 2, 0)
        # imshow puts the centre of the first pixel at 0; our coordinates have its corner there
        x, y = (first - batch.matrices[row].cpu())[:2, 2].tolist()
        extent = (x - 0.5, x + width - 0.5, y + height - 0.5, y - 0.5)
        axis.imshow(pixels.cpu().numpy(), extent=extent)
    return first


def _moved(boxes: Tensor, matrix: Tensor) -> Tensor:
    """Return the corners (K, 4, 2) of boxes of the original image in input pixels.

    Boxes are (K, 4), (K, 5) or corners; of upright ones the box around the moved box is taken.
    """
    if boxes.shape[1:] == (4,):
        boxes = oriented_boxes.from_boxes(transform_boxes(boxes[None], matrix[None])[0])
        return oriented_boxes.corners(boxes)
    corners = oriented_boxes.corners(boxes) if boxes.ndim == 2 else boxes
    return transform_points(corners.flatten(0, 1)[None], matrix[None]).view(-1, 4, 2)


def _thin_box(axis: "Axes", corners: Tensor, text: str, style: _Style, *, va: str) -> None:
    """Draw a box without its text, annotated ones on top."""
    from matplotlib.patches import Polygon

    thin = {**style, "linewidth": style["linewidth"] / 2, "zorder": 3 if va == "top" else 2}
    axis.add_patch(Polygon((corners - 0.5).tolist(), fill=False, **thin))


def _labelled_box(axis: "Axes", corners: Tensor, text: str, style: _Style, *, va: str) -> None:
    """Draw a box with a text under it (`top`), or over it (`bottom`)."""
    from matplotlib.patches import Polygon

    axis.add_patch(Polygon((corners - 0.5).tolist(), fill=False, **style))
    x, top = corners.amin(dim=0).tolist()
    axis.text(
        x,
        corners[:, 1].max().item() if va == "top" else top,
        text,
        va=va,
        fontsize=6,
        clip_on=True,
        color="white",
        bbox={"facecolor": style["edgecolor"], "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
    )


def _legend(figure: "Figure", min_score: float) -> None:
    from matplotlib.patches import Patch

    styles: dict[str, _Style] = {
        "annotated": TRUTH,
        "annotated crowd or difficult": CROWD,
        f"detected, score >= {min_score:g}": FOUND,
    }
    handles = [Patch(fill=False, label=label, **style) for label, style in styles.items()]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        title=f"class names are left out in images with more than {MAX_LABELLED} boxes",
        title_fontsize=8,
        fontsize=9,
        frameon=False,
    )


def _keep_texts_inside(figure: "Figure") -> None:
    """Move texts that a border of their image would cut."""
    lay_out(figure)
    figure.set_layout_engine("none")  # the places are final
    for axis in figure.axes:
        frame, to_data = axis.get_window_extent(), axis.transData.inverted()
        for text in axis.texts:
            box = text.get_window_extent()
            right = max(min(frame.x1 - box.x1, 0.0), frame.x0 - box.x0)
            up = max(min(frame.y1 - box.y1, 0.0), frame.y0 - box.y0)
            x, y = axis.transData.transform(text.get_position())
            x, y = to_data.transform((x + right, y + up))
            text.set_position((x, y))
