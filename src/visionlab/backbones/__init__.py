"""Networks that tasks share, and the weights that go into them."""

from visionlab.backbones.features import Backbone

__all__ = ["Backbone"]
