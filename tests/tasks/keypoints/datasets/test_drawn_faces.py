import numpy as np
import torch

from visionlab.tasks.keypoints.datasets.drawn_faces import draw_faces
from visionlab.tasks.keypoints.datasets.face_drawing import draw_face


def test_pictures_and_points_are_those_of_their_keys() -> None:
    keys = [5, 10**9, 0]
    images, points = draw_faces(keys, seed=3)
    assert (points.shape, points.dtype) == ((3, 68, 2), torch.float32)
    for key, image, place in zip(keys, images, points, strict=True):
        pixels, expected = draw_face(key, seed=3)
        assert (image.dtype, image.is_contiguous()) == (torch.uint8, True)
        assert np.array_equal(image.permute(1, 2, 0).numpy(), pixels)
        assert np.array_equal(place.numpy(), expected)


def test_a_face_does_not_depend_on_the_others() -> None:
    images, points = draw_faces(range(4), seed=0)
    alone, place = draw_faces([2], seed=0)
    assert torch.equal(alone[0], images[2])
    assert torch.equal(place[0], points[2])


def test_no_keys_are_no_faces() -> None:
    images, points = draw_faces([], seed=0)
    assert images == []
    assert points.shape == (0, 68, 2)
