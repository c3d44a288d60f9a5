"""timm models by name."""

import difflib
from typing import Any

from torch import nn


def check_name(name: str) -> None:
    """Check that timm knows a model.

    Raises:
        ValueError: it does not; the message suggests similar names.
    """
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(close)}" if close else ""
        raise ValueError(f"name must be a model of timm, got {name!r}{hint}")


def create(name: str, *, pretrained: bool, key: str, **settings: Any) -> nn.Module:
    """Return a timm model; messages name its settings by `key`.

    Raises:
        ValueError: the model cannot be created, or its pretrained weights cannot be loaded.
    """
    import timm

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
