"""Networks that tasks share, and the weights that go into them."""

from visionlab.backbones.features import Backbone
from visionlab.backbones.pooled import PooledResNetCifar, PooledSmallImages, PooledTimm

__all__ = ["Backbone", "PooledResNetCifar", "PooledSmallImages", "PooledTimm"]
