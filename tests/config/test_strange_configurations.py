"""A configuration file from a stranger: it allows no package and runs no code through Hydra."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from visionlab.config import command_line
from visionlab.config.checking import check_allowed
from visionlab.config.hydra_settings import check_hydra_settings


@pytest.fixture(scope="module")
def shipped() -> dict[str, Any]:
    """Hydra's settings as the scripts of visionlab have them."""
    command_line.register()
    with initialize_config_dir(command_line.CONF, version_base="1.3"):
        config = compose("tune", return_hydra_config=True)
    settings: Any = OmegaConf.to_container(config.hydra, resolve=False)
    return dict(settings)


def test_a_file_allows_no_package() -> None:
    check_allowed(["mine"], ["model=mlp", "parts=[mine]"])
    check_allowed([], [])
    with pytest.raises(ValueError, match=r"^parts must be given on the command line.* got mine"):
        check_allowed(["mine"], ["model=mlp"])


@pytest.mark.parametrize("name", ["", "a b", "../mine", "mine.", "1a", [1]])
def test_a_package_has_a_name(name: Any) -> None:
    with pytest.raises(ValueError, match=r"^parts must be names of packages, got"):
        check_allowed([name], ["parts=[x]"])


def test_shipped_settings_of_hydra_are_allowed(shipped: dict[str, Any]) -> None:
    check_hydra_settings(shipped, [])


@pytest.mark.parametrize(
    ("key", "value", "overrides"),
    [
        ("callbacks.mine._target_", "os.system", []),
        ("callbacks.mine._target_", "hydra_evil.Callback", []),
        ("launcher._target_", "subprocess.run", []),
        ("launcher._target_", "hydra._internal.utils.os.system", []),
        ("callbacks.mine._target_", "hydra_plugins.visionlab.tuning_sweeper.partial", []),
        ("job_logging.handlers.evil.()", "logging.os.system", []),
        ("sweeper.sampler._target_", "mine.Sampler", ["parts=[yours]"]),
        ("job_logging.handlers.evil.()", "os.system", []),
        ("job_logging.handlers.evil.class", "mine.Handler", []),
        ("job_logging.formatters.evil.()", "subprocess.run", []),
        ("hydra_logging.handlers.file.filename", "/home/me/.bashrc", []),
        ("job_logging.handlers.file.filename", "${hydra.runtime.output_dir}/../x.log", []),
        ("job_logging.handlers.file.filename", "${hydra.runtime.output_dir}/.bashrc", []),
        ("job_logging.handlers.evil.stream", "ext://os.environ", []),
        ("job.env_set.LD_PRELOAD", "evil.so", []),
        ("searchpath", ["pkg://evil"], []),
    ],
)
def test_settings_of_hydra_that_run_code_are_refused(
    key: str, value: Any, overrides: list[str], shipped: dict[str, Any]
) -> None:
    settings: Any = OmegaConf.to_container(OmegaConf.create(shipped), resolve=False)
    *parents, last = key.split(".")
    node: Any = settings
    for name in parents:
        node[name] = node.get(name) or {}
        node = node[name]
    node[last] = value
    with pytest.raises(ValueError, match=r"^hydra\.\S+ must be "):
        check_hydra_settings(settings, overrides)


def test_what_the_command_line_names_is_allowed(shipped: dict[str, Any]) -> None:
    settings: Any = {
        **shipped,
        "callbacks": {"mine": {"_target_": "my_package.Callback"}},
        "job": {"env_set": {"A": "1"}},
    }
    check_hydra_settings(settings, ["parts=[my_package]", "hydra.job.env_set.A=1"])


def test_the_scripts_check_them(tmp_path: Path) -> None:
    """Hydra itself would run the callback before the script sees its configuration."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    from visionlab.config import hydra_settings

    (tmp_path / "evil.yaml").write_text(
        "defaults: [train, _self_]\nhydra: {callbacks: {x: {_target_: os.system}}}\n"
    )
    original = ConfigLoaderImpl.load_configuration
    hydra_settings.guard_hydra_settings()
    try:
        command_line.register()
        with initialize_config_dir(str(tmp_path), version_base="1.3"):
            searchpath = f"hydra.searchpath=[file://{command_line.CONF}]"
            with pytest.raises(
                ValueError, match=r"^hydra\.callbacks\.x\._target_ must be of Hydra"
            ):
                compose("evil", overrides=[searchpath])
    finally:
        ConfigLoaderImpl.load_configuration = original  # type: ignore[method-assign]
