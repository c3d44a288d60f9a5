"""Encoders: a backbone and a projection head."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from visionlab.core.checks import check_at_least


class Embeddings(NamedTuple):
    """Outputs of an encoder.

    Attributes:
        features: (B, num_features), of the backbone.
        projections: (B, dim), of the head, not normalised.
    """

    features: Tensor
    projections: Tensor


class Head(Protocol):
    """Settings of a projection head; `dim` is the length of the projections."""

    @property
    def dim(self) -> int: ...  # noqa: D102

    def __call__(self, num_features: int) -> nn.Module:
        """Return the head, (B, dim) for (B, num_features)."""


@dataclass(frozen=True, kw_only=True)
class LinearHead:
    """One linear layer, as in MoCo v1.

    Attributes:
        dim: length of the projections.
    """

    dim: int

    def __post_init__(self) -> None:
        check_at_least(self, 1, "dim")

    def __call__(self, num_features: int) -> nn.Module:
        """Return the head."""
        return nn.Linear(num_features, self.dim)


@dataclass(frozen=True, kw_only=True)
class MlpHead:
    """A hidden layer as wide as the features, ReLU and a linear layer, as in MoCo v2.

    Attributes:
        dim: length of the projections.
    """

    dim: int

    def __post_init__(self) -> None:
        check_at_least(self, 1, "dim")

    def __call__(self, num_features: int) -> nn.Module:
        """Return the head."""
        hidden = nn.Linear(num_features, num_features)
        return nn.Sequential(hidden, nn.ReLU(), nn.Linear(num_features, self.dim))


class Encoder(nn.Module):
    """A backbone with `num_features`, and a head on its features."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Embeddings:
        """Return the embeddings of images (B, 3, H, W), or of the first of pairs, (B, 2, ...)."""
        features = self.backbone(images[:, 0] if images.ndim == 5 else images)
        return Embeddings(features, self.head(features))
