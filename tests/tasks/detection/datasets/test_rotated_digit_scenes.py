from functools import cache

import pytest
import torch
from sklearn.datasets import load_digits

from visionlab.core import oriented_boxes, polygons
from visionlab.images.resize import Resize
from visionlab.tasks.detection.datasets.digit_scenes import source_rows
from visionlab.tasks.detection.datasets.rotated_digit_scenes import (
    RotatedDigitScenes,
    make_rotated_scenes,
    turn,
)
from visionlab.tasks.detection.records import Annotated


def draw(count: int, *, first_key: int = 0, seed: int = 0) -> list[Annotated]:
    source, rows = load_digits(), source_rows()["train"]
    return make_rotated_scenes(
        count,
        first_key=first_key,
        digits=torch.from_numpy(source.images)[rows],
        labels=torch.from_numpy(source.target)[rows],
        rotation_degrees=60.0,
        seed=seed,
    )


@cache
def scenes() -> list[Annotated]:
    return draw(60)


def test_a_scene_depends_on_its_key_and_the_seed_alone() -> None:
    alone, others = draw(1, first_key=7)[0], draw(1, first_key=7, seed=1)[0]
    assert torch.equal(alone.image, scenes()[7].image)
    assert torch.equal(alone.polygons, scenes()[7].polygons)
    assert not torch.equal(alone.image, others.image)


def test_polygons_are_turned_rectangles_inside_their_scenes() -> None:
    corners = torch.cat([scene.polygons for scene in scenes()])
    boxes = oriented_boxes.from_corners(corners)
    torch.testing.assert_close(oriented_boxes.areas(boxes), polygons.areas(corners))
    upright = oriented_boxes.encode(boxes, torch.tensor([0.0, 0, 1, 1, 0]).double())
    assert upright[:, 4].rad2deg().abs().max() <= 45
    assert upright[:, 4].rad2deg().std() > 15  # they are turned
    for scene in scenes():
        assert torch.equal(scene.boxes, polygons.bounds(scene.polygons))
        assert torch.equal(scene.areas, polygons.areas(scene.polygons))
        assert scene.boxes.min() >= 0 if len(scene.boxes) else True
        assert (scene.boxes[:, 2] <= scene.width_px).all()
        assert (scene.boxes[:, 3] <= scene.height_px).all()
    counts = [len(scene.boxes) for scene in scenes()]
    assert 0 <= min(counts) < 2
    assert max(counts) > 4


@pytest.mark.parametrize("degrees", [0.0, 30.0, -60.0, 90.0, 180.0])
def test_the_ink_of_a_digit_turns_with_its_corners(degrees: float) -> None:
    ink = torch.zeros(20, 12)
    ink[:, :3] = 1.0  # a bar along the left side
    turned, corners = turn(ink, torch.tensor(degrees).double())
    height, width = turned.shape
    assert corners.min() > -1e-6
    assert (corners.amax(dim=(0, 1)) <= torch.tensor([width, height]) + 1e-6).all()
    # the share of each pixel's centre along the sides of the box
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    gaps = torch.stack([x, y], dim=-1).double() - corners[0, 0]
    across = (gaps * (corners[0, 1] - corners[0, 0])).sum(dim=-1) / 12
    down = (gaps * (corners[0, 3] - corners[0, 0])).sum(dim=-1) / 20
    is_bar = (across > 1) & (across < 2) & (down > 1) & (down < 19)
    is_paper = (across < -1) | (across > 5) | (down < -1) | (down > 21)
    assert turned[is_bar].min() > 0.9
    assert turned[is_paper].max() < 0.1


def test_settings() -> None:
    with pytest.raises(ValueError, match=r"^rotation_degrees must be in \[0, 90\], got 91$"):
        RotatedDigitScenes(
            num_train=1,
            num_val=1,
            num_test=1,
            rotation_degrees=91,
            seed=0,
            mean=[0.5] * 3,
            std=[0.2] * 3,
            resize=Resize(short_px=128, long_px=160),
        )
