from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from nasty import NASTY
from PIL import Image
from torch import Tensor

from visionlab.images.pictures import find
from visionlab.task import Batch
from visionlab.tasks.detection import pictures as detection
from visionlab.tasks.detection.metric import AveragePrecision
from visionlab.tasks.detection.pictures import count_errors, draw_detections
from visionlab.tasks.detection.records import Annotated, BoxTargets, Detections

pytestmark = pytest.mark.integration

BOX = [4.0, 4.0, 24.0, 20.0]
CLASSES = ["ant", "bee"]


def annotated(key: int, num_boxes: int) -> Annotated:
    """Return an image of 60 x 40 pixels; of two boxes the second is a crowd."""
    return Annotated(
        name=f"{key}.jpg",
        key=key,
        image=torch.zeros(3, 40, 60, dtype=torch.uint8),
        width_px=60,
        height_px=40,
        boxes=torch.tensor([BOX] * num_boxes, dtype=torch.float64).view(-1, 4),
        labels=torch.arange(num_boxes) % 2,
        crowd=torch.arange(num_boxes) == 1,
        areas=torch.full((num_boxes,), 320.0, dtype=torch.float64),
    )


@dataclass(frozen=True)
class TinySplit:
    """Images at half their size, on canvases with some room beside them."""

    samples: Sequence[Annotated]

    def __len__(self) -> int:
        return len(self.samples)

    def num_batches(self, batch_size: int) -> int:
        return -(-len(self.samples) // batch_size)

    def batches(self, *, batch_size: int, epoch: int, first_batch: int) -> Iterator[Batch]:
        assert (epoch, first_batch) == (0, 0)
        for start in range(0, len(self.samples), batch_size):
            part = self.samples[start : start + batch_size]
            yield Batch(
                inputs=torch.rand(len(part), 3, 32, 32),
                targets=BoxTargets(
                    torch.zeros(len(part), 0, 4), torch.zeros(len(part), 0), part, torch.zeros(0, 2)
                ),
                keys=torch.tensor([each.key for each in part]),
                matrices=torch.diag(torch.tensor([0.5, 0.5, 1.0])).repeat(len(part), 1, 1),
            )


def found(*scores: float) -> Detections:
    """Return detections of class 0 away from the boxes of the images."""
    boxes = torch.tensor([[30.0, 20.0, 50.0, 38.0]] * len(scores)).view(-1, 4)
    return Detections(boxes, torch.tensor(scores), torch.zeros(len(scores), dtype=torch.int64))


def samples_of(
    split: TinySplit, detections: Sequence[Detections], class_names: Sequence[str] = CLASSES
) -> dict[str, Tensor]:
    metric = AveragePrecision(class_names=class_names, backend="faster_coco_eval")
    metric.update(
        detections, BoxTargets(torch.zeros(0), torch.zeros(0), split.samples, torch.zeros(0, 2))
    )
    keys = torch.tensor([sample.key for sample in split.samples])
    return {**metric.samples(), "keys": keys}


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Axes]]:
    """Return where the axes with an image will be, by the name of the file."""
    seen: dict[str, list[Axes]] = {}
    plain = detection.save_png

    def save(figure: Figure, path: Path) -> None:
        seen[path.stem] = [axis for axis in figure.axes if axis.images]
        plain(figure, path)

    monkeypatch.setattr(detection, "save_png", save)
    return seen


def draw(
    folder: Path,
    split: TinySplit,
    detections: Sequence[Detections],
    *,
    num_images: int,
    class_names: Sequence[str] = CLASSES,
) -> None:
    draw_detections(
        folder,
        samples_of(split, detections, class_names),
        split,
        class_names=class_names,
        to_pixels=lambda images: images,
        num_images=num_images,
        min_score=0.3,
    )


def titles(axes: Sequence[Axes]) -> list[str]:
    return [axis.get_title() for axis in axes]


def rectangles(axis: Axes) -> list[tuple[str, list[float]]]:
    """Return line style and x, y, width and height of what is drawn."""
    return [
        (each.get_linestyle(), [*each.get_xy().min(axis=0), *np.ptp(each.get_xy(), axis=0)])
        for each in axis.patches
        if isinstance(each, Polygon)
    ]


def test_the_worst_images_come_first_and_the_fixed_ones_are_spread_evenly(
    tmp_path: Path, axes: dict[str, list[Axes]]
) -> None:
    split = TinySplit([annotated(key, 1) for key in (10, 40, 20, 50, 30)])
    detections = [found(), found(0.9), found(0.9, 0.8, 0.7), found(0.9), found(0.2, 0.2, 0.2)]
    draw(tmp_path / "pictures", split, detections, num_images=3)
    assert titles(axes["worst"]) == [
        "20.jpg\n1 missed, 3 false",
        "40.jpg\n1 missed, 1 false",
        "50.jpg\n1 missed, 1 false",
    ]
    assert titles(axes["fixed"]) == [
        "10.jpg\n1 missed, 0 false",
        "20.jpg\n1 missed, 3 false",
        "30.jpg\n1 missed, 0 false",
    ]
    files = sorted((tmp_path / "pictures").iterdir())
    assert [file.name for file in files] == ["fixed.png", "worst.png"]
    for file in files:
        with Image.open(file) as picture:
            assert picture.format == "PNG"
            assert picture.size[0] > picture.size[1] > 100


def test_boxes_crowds_and_detections_are_drawn_where_they_are(
    tmp_path: Path, axes: dict[str, list[Axes]]
) -> None:
    split = TinySplit([annotated(7, 2), annotated(8, 0)])
    draw(tmp_path, split, [found(0.9, 0.31, 0.29), found()], num_images=2)
    first, second = axes["fixed"]
    box, other = [1.5, 1.5, 10.0, 8.0], [14.5, 9.5, 10.0, 9.0]  # half the size, half a pixel less
    expected = [("--", box), (":", box), ("-", other), ("-", other)]  # 0.29 is not drawn
    assert rectangles(first) == expected
    assert [text.get_text() for text in first.texts] == ["ant", "bee", "ant 0.90", "ant 0.31"]
    assert rectangles(second) == []
    assert not second.texts
    assert first.get_xlim() == (-0.5, 29.5)  # the image on its canvas
    assert first.get_ylim() == (19.5, -0.5)


def test_each_image_has_its_own_detections(tmp_path: Path, axes: dict[str, list[Axes]]) -> None:
    split = TinySplit([annotated(key, 0) for key in range(12)])
    counts = [0, 3, 1, 0, 2, 0, 0, 4, 1, 0, 0, 5]
    draw(tmp_path, split, [found(*[0.9] * count) for count in counts], num_images=12)
    assert [len(rectangles(axis)) for axis in axes["fixed"]] == counts
    assert [len(rectangles(axis)) for axis in axes["worst"]] == sorted(counts, reverse=True)
    assert titles(axes["worst"])[:2] == ["11.jpg\n0 missed, 5 false", "7.jpg\n0 missed, 4 false"]


@pytest.mark.parametrize("num_samples", [1, 2, 5])
def test_fewer_images_than_asked_for_are_all_drawn(
    tmp_path: Path, axes: dict[str, list[Axes]], num_samples: int
) -> None:
    split = TinySplit([annotated(key, 1) for key in range(num_samples)])
    draw(tmp_path, split, [found()] * num_samples, num_images=12)
    expected = [f"{key}.jpg\n1 missed, 0 false" for key in range(num_samples)]
    assert titles(axes["fixed"]) == titles(axes["worst"]) == expected


def test_pictures_are_written_again(tmp_path: Path) -> None:
    split = TinySplit([annotated(1, 1)])
    for _ in range(2):
        draw(tmp_path, split, [found(0.9)], num_images=4)
    assert len(list(tmp_path.iterdir())) == 2


def test_samples_are_found_by_their_keys_in_the_order_of_the_split() -> None:
    split = TinySplit([annotated(key, 0) for key in (5, 3, 9, 1, 7)])
    places = list(find(split, [7, 3, 9], batch_size=2))
    assert [int(batch.keys[row]) for batch, row in places] == [3, 9, 7]
    assert [row for _, row in places] == [1, 0, 0]


def test_nothing_is_read_once_all_samples_are_found() -> None:
    read = []

    class Counting(TinySplit):
        def batches(self, **settings: Any) -> Iterator[Batch]:
            for batch in super().batches(**settings):
                read.append(batch.keys.tolist())
                yield batch

    split = Counting([annotated(key, 0) for key in range(6)])
    assert len(list(find(split, [0, 2], batch_size=2))) == 2
    assert read == [[0, 1], [2, 3]]


def test_one_threshold_draws_and_counts() -> None:
    split = TinySplit([annotated(1, 0)])
    samples = samples_of(split, [found(0.9, 0.3, 0.2)])
    for min_score, num_false in ((0.0, 3), (0.3, 2), (0.95, 0)):
        missed, false = count_errors(samples, min_score=min_score)
        assert (missed.tolist(), false.tolist()) == ([0], [num_false])


@pytest.mark.parametrize("x", [0.0, 30.0, 56.0])
@pytest.mark.parametrize("y", [0.0, 20.0, 37.0])
def test_texts_stay_inside_their_image(
    tmp_path: Path, axes: dict[str, list[Axes]], x: float, y: float
) -> None:
    corner = torch.tensor([[x, y, x + 4.0, y + 3.0]])
    split = TinySplit([replace(annotated(1, 1), boxes=corner.double())])
    at_corner = Detections(corner, torch.tensor([0.9]), torch.tensor([0]))
    draw(tmp_path, split, [at_corner], num_images=1, class_names=["a rather long name", "bee"])
    (axis,) = axes["fixed"]
    frame = axis.get_window_extent()
    assert len(axis.texts) == 2
    for text in axis.texts:
        box = text.get_window_extent()
        assert frame.x0 - 0.1 <= box.x0 < box.x1 <= frame.x1 + 0.1
        assert frame.y0 - 0.1 <= box.y0 < box.y1 <= frame.y1 + 0.1


def test_hundreds_of_boxes_have_no_texts_and_a_legend_says_so(
    tmp_path: Path, axes: dict[str, list[Axes]]
) -> None:
    split = TinySplit([annotated(1, 1)])
    draw(tmp_path, split, [found(*[0.9] * 300)], num_images=1)
    (axis,) = axes["fixed"]
    assert len(rectangles(axis)) == 301
    assert not axis.texts
    (legend,) = axis.figure.legends
    assert "40" in legend.get_title().get_text()
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels[0] == "annotated"
    assert "0.3" in labels[-1]


def test_class_and_file_names_may_be_any_text(tmp_path: Path, axes: dict[str, list[Axes]]) -> None:
    every = torch.arange(len(NASTY))
    boxes = replace(annotated(1, len(NASTY)), labels=every, crowd=every < 0, name="$\\frac$")
    split = TinySplit([boxes])
    draw(tmp_path, split, [found(0.9)], num_images=1, class_names=NASTY)
    (axis,) = axes["fixed"]
    assert axis.get_title().startswith("$\\frac$")
    assert [text.get_text()[:20] for text in axis.texts[:-1]] == [name[:20] for name in NASTY]
