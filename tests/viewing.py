"""Views that change nothing but what a test says."""

from typing import Any

from visionlab.images.views import View

PLAIN: dict[str, Any] = {
    "rotation_degrees": 0.0,
    "scale": 1.0,
    "shift": [0.0, 0.0],
    "mirror": False,
    "brightness": 0.0,
    "contrast": 1.0,
    "grey": False,
    "blur_px": 1,
    "weight": 1.0,
}


def view(**settings: Any) -> View:
    """Return a view with some settings, plain but for these."""
    return View(**PLAIN | settings)
