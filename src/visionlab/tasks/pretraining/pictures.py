"""Pictures of pretraining: nearest neighbours in feature space, and pairs of views."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor

from visionlab.images.pictures import find, image_grid, save_png
from visionlab.images.splits import ImageSplit
from visionlab.task import Split
from visionlab.tasks.pretraining.object_boxes import Box

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 8  # of pairs
_BATCH_SIZE = 256
_MAX_LEGEND = 20


def draw_neighbours(
    folder: Path,
    samples: dict[str, Tensor],
    split: Split,
    *,
    class_names: Sequence[str],
    to_pixels: Callable[[Tensor], Tensor],
    num_images: Annotated[int, "[1, 1000]"],
) -> None:
    """Write `neighbours.png`: samples and the nearest of the bank, framed green if of their class.

    `features.png` shows the features of all samples along their first two principal axes. For a
    split of pairs of views, `pairs.png` shows both views of samples as the network got them.

    Args:
        folder: the folder of the picture.
        samples: what `NearestNeighbours` returns for each, and `keys`.
        split: the images.
        class_names: in the order of the labels.
        to_pixels: maps inputs (B, C, H, W) to pixels in [0, 1].
        num_images: maximum number of samples.
    """
    count = min(num_images, len(samples["keys"]))
    rows = torch.linspace(0, len(samples["keys"]) - 1, count).long()
    chosen = {name: values.cpu()[rows] for name, values in samples.items()}
    images = _images(split, chosen["keys"])
    folder.mkdir(parents=True, exist_ok=True)
    first = next(iter(images.values()))
    if first.ndim == 4:
        _draw_pairs(folder / "pairs.png", list(images.values()), to_pixels)
    elif isinstance(split, ImageSplit) and split.bank is not None:
        keys = torch.tensor(sorted(set(chosen["neighbours"].flatten().tolist())))
        near = _images(split.bank, keys)
        _draw_rows(folder / "neighbours.png", chosen, images, near, class_names, to_pixels)
        _draw_plane(folder / "features.png", samples, class_names)


def draw_boxes(path: Path, pixels: Tensor, boxes: Sequence[Sequence[Box]]) -> None:
    """Write a picture of images (B, 3, H, W), in [0, 1], with the boxes of each."""
    from matplotlib.patches import Rectangle

    figure, axes = image_grid(len(pixels), num_columns=_COLUMNS, width_in=1.2, height_in=1.2)
    for axis, image, found in zip(axes, pixels.cpu(), boxes, strict=False):
        axis.imshow(image.permute(1, 2, 0).numpy(), extent=(0, 1, 1, 0))
        for x1, y1, x2, y2 in found:
            frame = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="tab:red")
            axis.add_patch(frame)
    save_png(figure, path)


def _images(split: Split, keys: Tensor) -> dict[int, Tensor]:
    """Return inputs of the samples with some keys, in the order of the keys."""
    found = {
        int(batch.keys[row]): batch.inputs[row].cpu()
        for batch, row in find(split, keys.tolist(), batch_size=_BATCH_SIZE)
    }
    return {key: found[key] for key in keys.tolist()}


def _draw_pairs(path: Path, pairs: Sequence[Tensor], to_pixels: Callable[[Tensor], Tensor]) -> None:
    figure, axes = image_grid(2 * len(pairs), num_columns=2 * _COLUMNS, width_in=0.9, height_in=0.9)
    views = to_pixels(torch.cat(list(pairs)))
    for axis, view in zip(axes, views, strict=False):
        axis.imshow(view.permute(1, 2, 0).numpy())
    save_png(figure, path)


def _draw_plane(path: Path, samples: dict[str, Tensor], class_names: Sequence[str]) -> None:
    """Draw a point for each sample, coloured by its class; a legend names up to 20 classes."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 5.0), layout="constrained")
    axis = figure.subplots()
    colours = colormaps["tab10" if len(class_names) <= 10 else "tab20"]
    plane, labels = samples["plane"].cpu().float(), samples["label"].cpu()
    for label, name in enumerate(class_names):
        x, y = plane[labels == label].unbind(1)
        axis.scatter(x.numpy(), y.numpy(), s=8, color=colours(label % colours.N), label=name)
    axis.set_xlabel("first principal axis of the features")
    axis.set_ylabel("second principal axis")
    if len(class_names) <= _MAX_LEGEND:
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    save_png(figure, path)


def _draw_rows(
    path: Path,
    chosen: dict[str, Tensor],
    images: dict[int, Tensor],
    near: dict[int, Tensor],
    class_names: Sequence[str],
    to_pixels: Callable[[Tensor], Tensor],
) -> None:
    num_near = chosen["neighbours"].shape[1]
    figure, axes = image_grid(
        len(images) * (1 + num_near), num_columns=1 + num_near, width_in=0.9, height_in=1.05
    )
    for row, (key, image) in enumerate(images.items()):
        label = int(chosen["label"][row])
        first, *others = axes[row * (1 + num_near) : (row + 1) * (1 + num_near)]
        _show(first, image, to_pixels, class_names[label], None)
        columns = (chosen["neighbours"][row].tolist(), chosen["neighbour_labels"][row].tolist())
        for axis, key, other in zip(others, *columns, strict=True):
            colour = "tab:green" if other == label else "tab:red"
            _show(axis, near[key], to_pixels, class_names[other], colour)
    save_png(figure, path)


def _show(
    axis: "Axes",
    image: Tensor,
    to_pixels: Callable[[Tensor], Tensor],
    title: str,
    colour: str | None,
) -> None:
    """Show an image with a title, and a frame in a colour."""
    from matplotlib.patches import Rectangle

    axis.imshow(to_pixels(image[None])[0].permute(1, 2, 0).numpy())
    axis.set_title(title, fontsize=8)
    if colour:
        frame = Rectangle((0, 0), 1, 1, transform=axis.transAxes, fill=False, linewidth=4)
        frame.set_edgecolor(colour)
        axis.add_patch(frame)
