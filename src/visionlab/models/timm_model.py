"""Any classification model of timm, by name."""

import difflib
from dataclasses import dataclass
from typing import Any, ClassVar

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


def check_name(name: str) -> None:
    """Refuse a name that timm does not know, and say which are close.

    Raises:
        ValueError: no such model.
    """
    if not timm.is_model(name):
        close = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(close)}" if close else ""
        raise ValueError(f"name must be a model of timm, got {name!r}{hint}")


def create(name: str, *, pretrained: bool, key: str, **settings: Any) -> nn.Module:
    """Return timm's model.

    Args:
        name: of the model.
        pretrained: whether to load timm's weights.
        key: where the model's settings are, for messages.
        settings: handed on.

    Raises:
        ValueError: the model cannot be made, or the pretrained weights cannot be had.
    """
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, **settings)
    except (OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if not pretrained:
            raise ValueError(f"{key}.name must be a model of timm, {reason}") from error
        raise ValueError(
            f"{key}.pretrained=true needs weights of {name!r} from the network or a "
            f"cache; give a file instead ({reason})"
        ) from error
    return model
