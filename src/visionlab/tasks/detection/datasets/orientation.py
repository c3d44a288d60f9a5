"""Boxes annotated on the pixels as stored, before EXIF's orientation is applied."""

from visionlab.images.pixels import Header


def upright_corners(
    corners: tuple[float, float, float, float], header: Header
) -> tuple[float, float, float, float]:
    """Turn x1, y1, x2, y2 on stored pixels as the image is turned by EXIF's orientation.

    Only orientations 5 to 8, which swap width and height, can be told from annotated sizes.
    """
    x1, y1, x2, y2 = corners
    width, height = header.stored_px
    if header.orientation in (7, 8):
        x1, x2 = width - x2, width - x1
    if header.orientation in (6, 7):
        y1, y2 = height - y2, height - y1
    return y1, x1, y2, x2
