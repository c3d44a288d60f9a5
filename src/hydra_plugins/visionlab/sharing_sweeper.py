"""`hydra/sweeper=sharing`: the grid sweeper of `--multirun`, whose jobs share trainings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SharingSweeper(Sweeper):
    """Passes a grid to `visionlab.sweeps`, which reads `params` itself: experiments set it."""

    def __init__(self, params: Mapping[str, str]) -> None:
        """Ignore `params`; see the class."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Store the arguments for `sweep`."""
        self._loader = hydra_context.config_loader
        self._config = config
        self._launcher: Callable[[DictConfig], Launcher] = partial(
            Plugins.instance().instantiate_launcher, hydra_context, task_function
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the unfinished jobs of the grid."""
        from visionlab.sweeps.multirun.multirun import run_jobs

        run_jobs(
            arguments,
            config=self._config,
            loader=self._loader,
            make_launch=self._launch,
        )

    def _launch(self, config: DictConfig) -> Callable[[Sequence[Sequence[str]]], Any]:
        """Return what launches jobs, with the launcher of a configuration."""
        return partial(self._launcher(config).launch, initial_job_idx=0)


@dataclass
class SharingSweeperConf:
    """Settings under `hydra.sweeper`: a grid, as overrides by key."""

    _target_: str = "hydra_plugins.visionlab.sharing_sweeper.SharingSweeper"
    params: dict[str, str] = field(default_factory=dict)


ConfigStore.instance().store(
    group="hydra/sweeper", name="sharing", node=SharingSweeperConf, provider="visionlab"
)
