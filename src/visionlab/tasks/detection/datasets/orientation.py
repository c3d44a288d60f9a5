"""Boxes in pixels of the upright image, also where EXIF's orientation swaps its sides."""

from visionlab.images.pixels import Header
from visionlab.tasks.detection.datasets.raw_boxes import Corners, RawBox, RawImage


def is_annotated_as_stored(image: RawImage, header: Header) -> bool:
    """Return whether the annotated size is that before EXIF's orientation, which swaps the sides.

    Only orientations 5 to 8 can be told from sizes; of images without an annotated size, the boxes
    belong to the upright image.
    """
    return image.size_px == header.stored_px != header.size_px


def upright_boxes(image: RawImage, header: Header) -> list[RawBox]:
    """Return the boxes of an image in pixels of the upright one; empty ones stay empty."""
    as_stored = is_annotated_as_stored(image, header)
    width, height = header.stored_px if as_stored else header.size_px
    boxes = []
    for box in image.boxes or ():
        corners, polygon = box.corners, box.polygon
        if corners is not None and image.is_relative:
            x1, y1, x2, y2 = corners
            corners = (x1 * width, y1 * height, x2 * width, y2 * height)
        if corners is not None and as_stored:
            corners = _upright_corners(corners, header)
        if polygon is not None and as_stored:
            pairs = zip(polygon[::2], polygon[1::2], strict=True)
            points = [_upright_corners((x, y, x, y), header)[:2] for x, y in pairs]
            polygon = [value for point in points for value in point]
        boxes.append(box._replace(corners=corners, polygon=polygon))
    return boxes


def _upright_corners(corners: Corners, header: Header) -> Corners:
    """Turn x1, y1, x2, y2 on stored pixels as EXIF's orientation, 5 to 8, turns the image."""
    x1, y1, x2, y2 = corners
    width, height = header.stored_px
    if header.orientation in (7, 8):
        x1, x2 = width - x2, width - x1
    if header.orientation in (6, 7):
        y1, y2 = height - y2, height - y1
    return y1, x1, y2, x2
