"""timm models by name."""

import difflib
import logging
import os
import socket
from typing import Any
from urllib.parse import urlsplit

from torch import nn

_CONNECT_SECONDS = 5.0
_log = logging.getLogger(__name__)


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

    if pretrained:
        _stay_offline_without_network()
        _log.info("weights of %s: timm's, from its cache or the network", name)
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, **settings)
    except (OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if not pretrained:
            raise ValueError(f"{key}.name must be a model of timm, {reason}") from error
        raise ValueError(
            f"{key}.pretrained=true needs weights of {name!r} from the network or a cache; "
            f"{key}.pretrained=false trains without, model.backbone.weights=FILE with those of a "
            f"file ({reason})"
        ) from error
    return model


def _stay_offline_without_network() -> None:
    """Let the hub's client look only into its cache if its server does not answer.

    It would try again and again, for minutes.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        return
    server = urlsplit(constants.ENDPOINT)
    try:
        address = (server.hostname or "", server.port or 443)
        socket.create_connection(address, timeout=_CONNECT_SECONDS).close()
    except OSError:
        constants.HF_HUB_OFFLINE = True
