"""Pictures of the images whose labels a classifier finds least probable."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from torch import Tensor

from visionlab.images.pictures import find, image_grid, save_png
from visionlab.task import Split

COLUMNS = 8


def draw_worst(
    folder: Path,
    samples: dict[str, Tensor],
    split: Split,
    *,
    class_names: Sequence[str],
    to_pixels: Callable[[Tensor], Tensor],
    num_images: Annotated[int, "[1, 1000]"],
) -> None:
    """Write `worst.png`: images in true colours, with label, its probability, and prediction.

    Args:
        folder: the folder of the picture.
        samples: `keys`, `label`, `predicted` and `label_prob` of each sample, (N,).
        split: the images.
        class_names: in the order of the labels.
        to_pixels: maps inputs (B, C, H, W) to pixels in [0, 1].
        num_images: maximum number of images.
    """
    worst = samples["label_prob"].float().argsort(stable=True)[:num_images].cpu()
    keys = samples["keys"].cpu()
    found = find(split, keys[worst].tolist(), batch_size=500)
    images = {int(batch.keys[row]): batch.inputs[row] for batch, row in found}
    figure, axes = image_grid(len(worst), num_columns=COLUMNS, width_in=1.5, height_in=1.9)
    for axis, row in zip(axes, worst.tolist(), strict=False):
        pixels = to_pixels(images[int(keys[row])][None])[0]
        axis.imshow(pixels.permute(1, 2, 0).cpu().numpy())
        label, predicted = (class_names[int(samples[key][row])] for key in ("label", "predicted"))
        prob = float(samples["label_prob"][row])
        axis.set_title(f"{label}: {prob:.2f}\npredicted {predicted}", fontsize=8)
    folder.mkdir(parents=True, exist_ok=True)
    save_png(figure, folder / "worst.png")
