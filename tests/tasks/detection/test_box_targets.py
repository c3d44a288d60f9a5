"""Targets of oriented boxes, and inputs that are crops of pages."""

import math
from dataclasses import replace

import pytest
import torch
from oriented import tensor, turned
from torch import Tensor

from visionlab.core import geometry, oriented_boxes, polygons
from visionlab.images.resize import Resize
from visionlab.images.splits import ImageSplit, Training
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.crops import Crops
from visionlab.tasks.detection.records import Annotated, BoxTargets
from visionlab.tasks.detection.splits import box_split
from visionlab.tasks.detection.targets import box_targets

CPU = torch.device("cpu")
PLAIN = BoxAugment(
    flip_prob=0.0,
    vertical_flip_prob=0.0,
    scale=[1.0, 1.0],
    rotation_degrees=0.0,
    min_visible=0.3,
    colours=None,
)


def image_of(boxes: Tensor, *, size: tuple[int, int] = (100, 80), key: int = 0) -> Annotated:
    """Return an image whose pixels are their x in red and their y in green, with boxes (K, 5)."""
    corners = oriented_boxes.corners(boxes)
    width, height = size
    pixels = torch.zeros(3, height, width, dtype=torch.uint8)
    pixels[0], pixels[1] = torch.arange(width), torch.arange(height)[:, None]
    return Annotated(
        key=key,
        name="",
        image=pixels,
        width_px=width,
        height_px=height,
        boxes=polygons.bounds(corners),
        labels=torch.arange(len(boxes)),
        crowd=torch.zeros(len(boxes), dtype=torch.bool),
        areas=polygons.areas(corners),
        polygons=corners,
    )


def targets(samples: list[Annotated], matrices: Tensor, *, min_visible: float = 0.0) -> BoxTargets:
    sizes = torch.tensor([[100, 80]]).expand(len(samples), 2)
    return box_targets(
        samples,
        matrices,
        sizes,
        pages=None,
        min_visible=min_visible,
        enough_visible_px=math.inf,
        device=CPU,
    )


def split(
    samples: list[Annotated], resize: Resize | Crops, augmentation: BoxAugment | None = None
) -> ImageSplit:
    normalisation = torch.tensor([[0.0] * 3, [1.0] * 3])
    training = augmentation and Training(augmentation=augmentation, seed=3)
    return box_split(
        samples, resize=resize, normalisation=normalisation, num_workers=0, training=training
    )


def test_boxes_turn_exactly_with_their_image() -> None:
    box = turned(50, 40, 30, 8, 25)
    matrix = geometry.about(geometry.rotations(torch.tensor([40.0])), torch.tensor([[50.0, 40.0]]))
    found = targets([image_of(box)], matrix)
    assert found.oriented is not None
    wanted = turned(50, 40, 30, 8, 65)
    torch.testing.assert_close(found.oriented[0].double(), wanted, atol=1e-5, rtol=1e-5)
    # the upright box is that around the turned one, and does not grow twice
    enclosing = oriented_boxes.enclosing(wanted)
    torch.testing.assert_close(found.boxes[0].double(), enclosing, atol=1e-4, rtol=1e-5)


def test_at_angle_zero_targets_are_those_of_upright_boxes() -> None:
    boxes = oriented_boxes.from_boxes(torch.tensor([[5.0, 5, 30, 60], [60, 50, 120, 70]]).double())
    image = image_of(boxes)
    matrix = geometry.translations(torch.tensor([[-10.0, 4.0]]))
    ours, theirs = (targets([each], matrix) for each in (image, replace(image, polygons=None)))
    assert theirs.oriented is None
    torch.testing.assert_close(ours.boxes, theirs.boxes)
    assert torch.equal(ours.labels, theirs.labels)
    assert ours.oriented is not None
    torch.testing.assert_close(oriented_boxes.enclosing(ours.oriented), ours.boxes)


@pytest.mark.parametrize(("min_visible", "num_kept"), [(0.0, 3), (0.4, 2), (0.6, 1)])
def test_a_cut_box_stays_if_enough_of_it_is_inside(min_visible: float, num_kept: int) -> None:
    # wholly inside, half inside, a quarter inside, outside
    boxes = torch.cat([turned(x, 40, 20, 4, 0) for x in (50, 100, 105, 130)])
    whole = torch.eye(3).double()[None]
    found = targets([image_of(boxes)], whole, min_visible=min_visible)
    assert found.labels.tolist() == [list(range(num_kept))]
    assert found.oriented is not None
    lengths = [20, 10, 5][:num_kept]
    assert found.oriented[0, :, 2].tolist() == pytest.approx(lengths)
    assert found.boxes.amax().item() <= 100


def test_images_without_boxes_and_batches_of_both() -> None:
    empty, some = image_of(turned(0, 0, 1, 1, 0)[:0]), image_of(turned(50, 40, 20, 4, 30))
    matrices = torch.eye(3).double().expand(2, 3, 3)
    for samples in ([empty, some], [replace(empty, polygons=None), some]):
        found = targets(samples, matrices)
        assert found.labels.tolist() == [[-1], [0]]
        assert found.oriented is not None
        assert found.oriented.shape == (2, 1, 5)
    none = targets([empty, empty], matrices)
    assert none.boxes.shape == (2, 0, 4)


def test_a_page_is_covered_by_crops_in_one_batch() -> None:
    crops = Crops(size_px=64, input_px=64, overlap_px=16, min_visible=0.6, enough_visible_px=None)
    long = turned(56, 20, 40, 4, 0)  # from x 36 to 76: 28 px in the first crop, all in the other
    samples = [image_of(long, key=5), image_of(long[:0], size=(50, 40), key=6)]
    (batch,) = split(samples, crops).batches(batch_size=2, epoch=0, first_batch=0)
    assert batch.keys.tolist() == [5, 6]
    assert batch.targets.pages.tolist() == [0, 0, 0, 0, 1]
    assert batch.inputs.shape == (5, 3, 64, 64)
    assert batch.targets.sizes.tolist() == [[64, 64]] * 4 + [[50, 40]]
    for row, (x, y) in enumerate([(0, 0), (36, 0), (0, 16), (36, 16)]):
        corner = batch.inputs[row, :2, 0, 0] * 255
        assert corner.tolist() == pytest.approx([x, y], abs=1e-3)
        assert batch.matrices[row, :2, 2].tolist() == [-x, -y]
    # 28 of 40 px are enough; the lower crops show it at their y 2 to 6
    assert batch.targets.labels.tolist() == [[0], [0], [0], [0], [-1]]


@pytest.mark.parametrize("is_oriented", [True, False])
@pytest.mark.parametrize(("enough", "labels"), [(None, [2]), (200, [0, 2]), (201, [2])])
def test_a_large_part_of_a_cut_box_stays_whatever_its_share(
    is_oriented: bool, enough: float | None, labels: list[int]
) -> None:
    """A long box, cut to 50 of 150 px, and a short one, cut to half; 4 px high on the page."""
    boxes = oriented_boxes.from_boxes(
        tensor((50, 10, 200, 14), (90, 30, 110, 34), (10, 50, 60, 54))
    )
    page = image_of(boxes, size=(250, 100))
    if not is_oriented:
        page = replace(page, polygons=None)
    # half resolution: 200 square pixels of the page are 50 of the input
    crops = Crops(size_px=100, input_px=50, overlap_px=0, min_visible=0.6, enough_visible_px=enough)
    (batch,) = split([page], crops).batches(batch_size=1, epoch=0, first_batch=0)
    found = batch.targets.labels[0]
    assert found[found >= 0].tolist() == labels


def test_training_takes_a_random_crop_of_each_page_each_epoch() -> None:
    crops = Crops(size_px=40, input_px=20, overlap_px=0, min_visible=0.6, enough_visible_px=None)
    pages = split([image_of(turned(50, 40, 8, 4, 30), key=key) for key in range(6)], crops, PLAIN)
    places = []
    for epoch in range(2):
        (batch,) = pages.batches(batch_size=6, epoch=epoch, first_batch=0)
        assert batch.targets.pages is None
        assert batch.inputs.shape == (6, 3, 32, 32)  # 20 px on a canvas
        offsets = -2 * batch.matrices[:, :2, 2]
        assert torch.equal(offsets, offsets.round())
        # the mean of four pixels, from half a pixel on
        corner = batch.inputs[:, :2, 0, 0] * 255
        torch.testing.assert_close(corner, offsets + 0.5, atol=0.51, rtol=0)
        places.append(offsets[batch.keys.argsort()])
    assert len(places[0].unique(dim=0)) > 1
    assert not torch.equal(*places)
