"""Changes of how Hydra composes a configuration, and its logs in other processes.

A file that somebody sent must not run code through Hydra's own settings, and mappings whose keys
are the user's take new ones without a leading +.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_origin

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from omegaconf import DictConfig, OmegaConf

# whole paths, since a module leads to others: logging.os.system
_TARGET = re.compile(
    r"hydra\._internal\.core_plugins\.\w+\.Basic(Launcher|Sweeper)"
    r"|hydra_plugins\.\w+\.\w+\.\w+(Launcher|Sweeper)|optuna\.samplers\.\w+Sampler"
)
_LOG_CLASS = re.compile(
    r"logging\.(Stream|File|Null)Handler|logging\.Formatter|colorlog\.ColoredFormatter"
    r"|visionlab\.config\.terminal\.(StandardOutput|PrintableFormatter)"
)
_LOG_FILE = re.compile(r"\$\{hydra\.[\w.]+\}/[\w${}.-]+\.log")
_OF_USER = ("job.env_set", "searchpath")  # from the command line only


def guard_hydra_settings() -> None:
    """Check Hydra's settings whenever it composes a configuration, before it uses any."""
    load: Callable[..., DictConfig] = ConfigLoaderImpl.load_configuration

    def checked_load(
        self: ConfigLoaderImpl, config_name: str | None, overrides: list[str], *args: Any, **kw: Any
    ) -> DictConfig:
        try:
            config = load(self, config_name, overrides, *args, **kw)
        except AttributeError as error:  # OmegaConf's, for a mapping that is merged into null
            key = re.search(r"full_key: (\S+)", str(error))
            if key is None:
                raise
            raise ValueError(f"{key[1]} must be a file of its group, got a mapping") from error
        if "hydra" in config:
            settings: Any = OmegaConf.to_container(config.hydra, resolve=False)
            check_hydra_settings(settings, overrides)
        return config

    ConfigLoaderImpl.load_configuration = checked_load  # type: ignore[method-assign]


def open_mappings() -> None:
    """Let overrides add keys to mappings whose keys are the user's.

    These are those that a schema declares as `dict`, and those that are empty in their files. Not
    Hydra's own.
    """
    compose: Callable[..., DictConfig] = ConfigLoaderImpl._compose_config_from_defaults_list

    def compose_open(self: ConfigLoaderImpl, *args: Any, **kw: Any) -> DictConfig:
        config = compose(self, *args, **kw)
        _open(config)
        return config

    ConfigLoaderImpl._compose_config_from_defaults_list = compose_open  # type: ignore[method-assign]


def _open(config: DictConfig) -> None:
    for key in set(config) - {"hydra"}:
        node = config._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
            if get_origin(node._metadata.ref_type) is dict or not node:
                OmegaConf.set_struct(node, False)
            else:
                _open(node)


def check_hydra_settings(settings: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Refuse what would run code of a file's choice.

    Raises:
        ValueError: the message names the setting.
    """
    parts = [each for one in overrides if (each := re.match(r"\+*parts=\[?(.*?)\]?$", one))]
    named = tuple(name.strip() for each in parts for name in each[1].split(",") if name.strip())
    for key, value in _walk(settings, "hydra"):
        name = key.rpartition(".")[2]
        is_log = key.startswith(("hydra.job_logging.", "hydra.hydra_logging."))
        allowed = _LOG_CLASS if is_log else _TARGET
        is_called = name == "_target_" or (is_log and name in ("class", "()"))
        is_named = f"{value}.".startswith(tuple(f"{each}." for each in named))
        if is_called and not is_named and not allowed.fullmatch(str(value)):
            raise ValueError(f"{key} must be of Hydra or of parts=[...], got {value!r:.80}")
        if is_log and name == "filename" and not _LOG_FILE.fullmatch(str(value)):
            raise ValueError(f"{key} must be a .log file in Hydra's folder, got {value!r:.80}")
        if is_log and str(value).startswith(("ext://", "cfg://")) and "ext://sys.std" not in value:
            raise ValueError(f"{key} must be a value, got {value!r:.80}")
    for key in _OF_USER:
        value = settings
        for name in key.split("."):
            value = value.get(name) or {}
        if value and not any(each.lstrip("+").startswith(f"hydra.{key}") for each in overrides):
            raise ValueError(f"hydra.{key} must be given on the command line, got it from a file")


def _walk(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield every value that is no container, with its dotted key."""
    if isinstance(value, Mapping):
        for name, entry in value.items():
            yield from _walk(entry, f"{key}.{name}")
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            yield from _walk(entry, f"{key}.{number}")
    else:
        yield key, value


def log_settings() -> Any:
    """Return how Hydra configured the logs of this job, None where it did not."""
    if not HydraConfig.initialized():
        return None
    hydra = HydraConfig.get()
    return OmegaConf.to_container(hydra.job_logging, resolve=True), hydra.verbose


def set_up_logs(settings: Any) -> None:
    """Configure the logs of this process as `log_settings` found them in another."""
    if settings is not None:
        logging, verbose = settings
        configure_log(OmegaConf.create(logging), verbose)
