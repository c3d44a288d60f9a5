"""From files to batches of pixels: decoding, batching, colour, rendering, views."""

from visionlab.images.colours import Colours
from visionlab.images.holdout import Holdout
from visionlab.images.resize import Resize
from visionlab.images.views import View

__all__ = ["Colours", "Holdout", "Resize", "View"]
