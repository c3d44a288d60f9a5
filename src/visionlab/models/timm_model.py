"""Any classification model of timm, by name."""

import difflib
from dataclasses import dataclass

import timm
from torch import nn


@dataclass(frozen=True, kw_only=True)
class TimmModel:
    """Settings of a timm model.

    Attributes:
        name: a name of `timm.list_models()`, with or without a tag (`resnet50.a1_in1k`).
        pretrained: whether to load timm's weights, which takes a network or timm's cache.

    Raises:
        ValueError: no such model.
    """

    name: str
    pretrained: bool

    def __post_init__(self) -> None:
        if not timm.is_model(self.name):
            close = difflib.get_close_matches(self.name.split(".")[0], timm.list_models(), n=3)
            hint = f"; did you mean {', '.join(close)}" if close else ""
            raise ValueError(f"name must be a model of timm, got {self.name!r}{hint}")

    def __call__(self, *, num_classes: int) -> nn.Module:
        """Return the network.

        Raises:
            ValueError: the pretrained weights cannot be had.
        """
        try:
            model: nn.Module = timm.create_model(
                self.name, pretrained=self.pretrained, num_classes=num_classes
            )
        except (OSError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            if not self.pretrained:
                raise ValueError(f"model.name must be a model of timm, {reason}") from error
            raise ValueError(
                f"model.pretrained=true needs weights of {self.name!r} from the network or a "
                f"cache; give a file as model.checkpoint instead ({reason})"
            ) from error
        return model
