"""Words for how fast images are processed, and how often to say them."""

SILENT_SECONDS = 60.0  # at most between lines without a terminal


def describe_speed(num_images: int, seconds: float) -> str:
    """Return images per second, or seconds per image where one takes longer than a second."""
    speed = num_images / max(seconds, 1e-9)
    if 0 < speed < 1:
        return f"{1 / speed:,.1f} s/image"
    return f"{speed:,.{1 if speed < 10 else 0}f} images/s"
