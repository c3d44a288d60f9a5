"""What tests of multiruns share."""

from collections.abc import Iterator

import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra

from visionlab.config import command_line


@pytest.fixture
def loader() -> Iterator[ConfigLoader]:
    command_line.register()
    with initialize_config_dir(version_base="1.3", config_dir=command_line.CONF):
        yield GlobalHydra.instance().config_loader()
