"""Settings of the launcher for one stage of a chain."""

import pytest
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.visionlab.process_launcher import ProcessLauncherConf
from visionlab.sweeps.launcher.overrides import with_launcher


@pytest.fixture
def config() -> DictConfig:
    made = OmegaConf.create({"hydra": {"launcher": OmegaConf.structured(ProcessLauncherConf)}})
    OmegaConf.set_struct(made, True)
    OmegaConf.set_readonly(made.hydra, True)
    return made


def test_settings_are_changed_in_a_copy(config: DictConfig) -> None:
    changed = with_launcher(config, ["hydra.launcher.slots=3", "hydra.launcher.devices=[0,1]"])
    assert (changed.hydra.launcher.slots, changed.hydra.launcher.retries) == (3, 0)
    assert changed.hydra.launcher.devices == ["0", "1"]
    assert config.hydra.launcher.slots == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("hydra.launcher.slot=3", r"hydra\.launcher\.slot must be a .* hydra\.launcher\.slots\?"),
        ("hydra.launcher.slots=many", r"hydra\.launcher\.slots: .*Integer, got many"),
    ],
)
def test_what_the_launcher_does_not_have_or_take_is_named(
    config: DictConfig, override: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        with_launcher(config, [override])
