import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from visionlab.images.decoding import Images
from visionlab.images.splits import ImageSplit
from visionlab.tasks.keypoints import pictures as keypoints
from visionlab.tasks.keypoints.metric import PointErrors
from visionlab.tasks.keypoints.pictures import draw_points
from visionlab.tasks.keypoints.records import KeypointSamples
from visionlab.tasks.keypoints.splits import point_split

pytestmark = pytest.mark.integration

NAN = math.nan
RAW = torch.tensor([[0.0] * 3, [1.0] * 3])  # inputs are then pixels in [0, 1]
POINTS = ["nose", "chin"]
SIDE = 20  # images of 60 x 40 pixels at half their size


def split_of(count: int, unknown: Sequence[int] = ()) -> ImageSplit[Any]:
    """Return images, each of another grey; their order is not that of their keys or names."""
    points = np.array([[[20.0 + row, 10.0], [30.0, 30.0]] for row in range(count)], np.float32)
    points[list(unknown)] = NAN
    samples = KeypointSamples(
        sources=[torch.full((3, 40, 60), 2 * row, dtype=torch.uint8) for row in range(count)],
        names=[f"face {(row * 7) % count}.png" for row in range(count)],
        keys=torch.arange(count) * 37 % 101,
        points=points,
        requested=None,
    )
    return point_split(
        samples,
        Images(samples.sources, factor=lambda width, height: 2, num_workers=0),
        size_px=SIDE,
        normalisation=RAW,
        mirror=None,
        training=None,
    )


def samples_of(
    split: ImageSplit[Any], losses: Sequence[float], order: Sequence[int]
) -> dict[str, Any]:
    """Return what an evaluation knows, in an order; predictions are 6 px below the truth."""
    original = torch.from_numpy(split.samples.points)
    metric = PointErrors(class_names=POINTS, eyes=None, pck_thresholds=[0.1])
    targets = next(split.batches(batch_size=len(split), epoch=0, first_batch=0)).targets
    metric.update(original.nan_to_num(nan=5.0) + torch.tensor([0.0, 6.0]), targets)
    known = {**metric.samples(), "keys": split.samples.keys, "loss": torch.tensor(losses)}
    return {name: values[list(order)] for name, values in known.items()}


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """Return where the figures will be, by the name of the file."""
    seen: dict[str, Figure] = {}
    plain = keypoints.save_png

    def save(figure: Figure, path: Path) -> None:
        seen[path.stem] = figure
        plain(figure, path)

    monkeypatch.setattr(keypoints, "save_png", save)
    return seen


def draw(folder: Path, samples: dict[str, Any], split: ImageSplit[Any], *, num_images: int) -> None:
    draw_points(
        folder,
        samples,
        split,
        class_names=POINTS,
        to_pixels=lambda images: images,
        num_images=num_images,
    )


def pictures(figure: Figure) -> list[Axes]:
    return [axis for axis in figure.axes if axis.images]


def dots(axis: Axes, colour: str) -> list[list[float]]:
    """Return the points of a colour as x and y."""
    (line,) = [each for each in axis.lines if each.get_color() == colour]
    xs, ys = line.get_data()
    return [[float(x), float(y)] for x, y in zip(xs, ys, strict=True)]


LOSSES = [0.5, 3.0, 1.0, 9.0, 0.1, 7.0, 2.0, 8.0, 4.0, 6.0]
WORST = [3, 7, 5, 9, 8, 1, 6, 2, 0, 4]  # rows by their losses


@pytest.mark.parametrize("order", [range(10), range(9, -1, -1), [4, 8, 3, 0, 9, 1, 7, 2, 6, 5]])
def test_the_samples_with_the_largest_losses_are_drawn_in_order(
    tmp_path: Path, figures: dict[str, Figure], order: Sequence[int]
) -> None:
    """In whichever order the evaluation saw them."""
    split = split_of(10)
    draw(tmp_path / "new" / "folder", samples_of(split, LOSSES, order), split, num_images=6)
    drawn = pictures(figures["worst"])
    assert [axis.get_title() for axis in drawn] == [
        f"{split.samples.names[row]}\nloss {LOSSES[row]:.3g}, 6.0 px" for row in WORST[:6]
    ]
    for axis, row in zip(drawn, WORST, strict=False):
        pixels = np.asarray(axis.images[0].get_array())
        np.testing.assert_allclose(pixels, 2 * row / 255, atol=1e-6)
    files = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert files == ["errors_by_point.csv", "pck.png", "worst.png"]
    for name in ("pck", "worst"):
        with Image.open(tmp_path / "new" / "folder" / f"{name}.png") as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 100


def test_without_losses_the_samples_with_the_largest_errors_are_drawn(
    tmp_path: Path, figures: dict[str, Figure]
) -> None:
    split = split_of(10)
    samples = samples_of(split, LOSSES, range(10))
    del samples["loss"]
    samples["errors_px"] = samples["errors_px"] + torch.arange(10.0)[:, None]
    draw(tmp_path, samples, split, num_images=3)
    titles = [axis.get_title() for axis in pictures(figures["worst"])]
    assert titles == [f"{split.samples.names[row]}\n{6 + row:.1f} px" for row in (9, 8, 7)]


def test_points_are_drawn_where_they_are(tmp_path: Path, figures: dict[str, Figure]) -> None:
    """Half the size, and 10 px cut off at the left: (x, y) of the image is (x / 2 - 5, y / 2)."""
    split = split_of(10)
    samples = samples_of(split, LOSSES, [4, 8, 3, 0, 9, 1, 7, 2, 6, 5])
    draw(tmp_path, samples, split, num_images=1)
    (axis,) = pictures(figures["worst"])
    assert dots(axis, keypoints.TRUTH) == [[23 / 2 - 5, 5], [10, 15]]  # of row 3
    assert dots(axis, keypoints.PREDICTED) == [[23 / 2 - 5, 8], [10, 18]]
    assert list(axis.images[0].get_extent()) == [0, SIDE, SIDE, 0]  # corners of pixels
    assert axis.get_xlim() == (0, SIDE)
    assert axis.get_ylim() == (SIDE, 0)
    legend = [text.get_text() for text in figures["worst"].legends[0].get_texts()]
    assert legend == ["true", "predicted"]


def test_unknown_points_are_not_drawn_and_unknown_samples_never_worst(
    tmp_path: Path, figures: dict[str, Figure]
) -> None:
    split = split_of(10, unknown=[3, 7])
    split.samples.points[5, 0] = NAN
    losses = [NAN if row == 7 else loss for row, loss in enumerate(LOSSES)]
    draw(tmp_path, samples_of(split, losses, range(10)), split, num_images=20)
    drawn = pictures(figures["worst"])
    names = [axis.get_title().split("\n")[0] for axis in drawn]
    assert names == [split.samples.names[row] for row in WORST if row not in (3, 7)]
    assert dots(drawn[0], keypoints.TRUTH) == [[10, 15]]
    assert dots(drawn[0], keypoints.PREDICTED) == [[10, 18]]


def test_long_names_and_names_with_dollars_are_written_as_they_are(
    tmp_path: Path, figures: dict[str, Figure]
) -> None:
    split = split_of(1)
    split.samples.names[0] = "a" * 50 + r"$\frac$"  # type: ignore[index]
    draw(tmp_path, samples_of(split, [1.0], [0]), split, num_images=4)
    (axis,) = pictures(figures["worst"])
    assert axis.get_title().split("\n")[0].endswith(r"aaa$\frac$")
    assert len(axis.get_title().split("\n")[0]) < 40


def test_errors_by_point(tmp_path: Path) -> None:
    split = split_of(4)
    split.samples.points[0, 1] = NAN
    samples = samples_of(split, [1.0] * 4, range(4))
    samples["errors_px"] = torch.tensor([[1.0, NAN], [2.0, 8.0], [3.0, 9.0], [10.0, 13.0]])
    draw(tmp_path, samples, split, num_images=1)
    assert (tmp_path / "errors_by_point.csv").read_text().splitlines() == [
        "point,num_known,mean_px,median_px",
        "nose,4,4.0000,2.0000",
        "chin,3,10.0000,9.0000",
    ]


def test_the_curve_is_the_share_of_points_nearer_than_a_distance(
    tmp_path: Path, figures: dict[str, Figure]
) -> None:
    split = split_of(4)
    samples = samples_of(split, [1.0] * 4, range(4))
    samples["errors_px"] = torch.tensor([[1.0, NAN], [2.0, 8.0], [3.0, 9.0], [10.0, 13.0]])
    samples["normaliser_px"] = torch.tensor([10.0, 10.0, 100.0, NAN])
    draw(tmp_path, samples, split, num_images=1)
    curve = figures["pck"].axes[0].lines[0]
    assert curve.get_drawstyle() == "steps-post"
    assert np.asarray(curve.get_xdata()).tolist() == pytest.approx([0.03, 0.09, 0.1, 0.2, 0.8])
    assert np.asarray(curve.get_ydata()).tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_nothing_is_written_where_no_point_is_known(tmp_path: Path) -> None:
    split = split_of(3, unknown=[0, 1, 2])
    draw(tmp_path / "none", samples_of(split, [0.0] * 3, range(3)), split, num_images=4)
    assert not (tmp_path / "none").exists()


def test_known_points_without_a_normaliser_are_drawn_all_the_same(tmp_path: Path) -> None:
    split = split_of(2)
    split.samples.points[:, 1] = NAN  # a box of one point has no diagonal
    draw(tmp_path, samples_of(split, [1.0, 2.0], [0, 1]), split, num_images=4)
    assert len(list(tmp_path.iterdir())) == 3


def test_drawing_leaves_split_and_samples_as_they_are(tmp_path: Path) -> None:
    split = split_of(6)
    samples = samples_of(split, LOSSES[:6], range(6))
    before = {name: values.clone() for name, values in samples.items()}
    state = torch.get_rng_state()
    (first,) = split.batches(batch_size=6, epoch=0, first_batch=0)
    for _ in range(2):  # the second time over the first
        draw(tmp_path, samples, split, num_images=4)
    (again,) = split.batches(batch_size=6, epoch=0, first_batch=0)
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.targets.points, again.targets.points)
    assert torch.equal(torch.get_rng_state(), state)
    for name, values in samples.items():
        assert torch.equal(values, before[name])
    assert len(list(tmp_path.iterdir())) == 3
