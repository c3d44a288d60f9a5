"""Any classification model of timm, by name."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from visionlab.backbones.timm_models import check_name, create


@dataclass(frozen=True, kw_only=True)
class TimmModel:
    """Settings of a timm model.

    Attributes:
        name: a name of `timm.list_models()`, with or without a tag (`resnet50.a1_in1k`).
        pretrained: whether to load timm's weights, which takes a network or timm's cache.

    Raises:
        ValueError: no such model.
    """

    task: ClassVar[str] = "classification"
    name: str
    pretrained: bool

    def __post_init__(self) -> None:
        check_name(self.name)

    def __call__(self, *, num_classes: int) -> nn.Module:
        """Return the network.

        Raises:
            ValueError: the pretrained weights cannot be had.
        """
        return create(self.name, pretrained=self.pretrained, key="model", num_classes=num_classes)
