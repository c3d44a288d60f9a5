"""RetinaNet for oriented boxes: its regression head gives an angle too."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from visionlab.core.checks import check_at_least
from visionlab.tasks.detection.model.retinanet import RetinaNet, RetinaNetModel
from visionlab.tasks.detection.records import OrientedOutput


@dataclass(frozen=True, kw_only=True)
class OrientedRetinaNet(RetinaNet):
    """Settings of a RetinaNet with a fifth offset, the angle, from its upright anchors.

    Attributes:
        inputs_per_pass: in evaluation, more inputs of a batch, such as the crops of a page, go
            through the network one group after another, which bounds its memory.
    """

    num_offsets: ClassVar[int] = 5
    inputs_per_pass: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "inputs_per_pass")

    def __call__(self, *, num_classes: int) -> "OrientedRetinaNetModel":
        """Return the network."""
        return OrientedRetinaNetModel(self, num_classes=num_classes)


class OrientedRetinaNetModel(RetinaNetModel):
    """A RetinaNet; images (B, 3, H, W) to an `OrientedOutput`."""

    def __init__(self, settings: OrientedRetinaNet, *, num_classes: int) -> None:
        super().__init__(settings, num_classes=num_classes)
        self._inputs_per_pass = settings.inputs_per_pass

    def forward(self, images: Tensor) -> OrientedOutput:  # type: ignore[override]
        """Return the raw outputs at every anchor."""
        groups = [images] if self.training else torch.split(images, self._inputs_per_pass)
        outputs = [RetinaNetModel.forward(self, group) for group in groups]
        return OrientedOutput(
            torch.cat([each.logits for each in outputs]),
            torch.cat([each.deltas for each in outputs]),
            *outputs[0][2:],
        )
