"""`hydra/launcher=process`: jobs in separate processes, several at once on one machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from visionlab.sweeps.launcher.processes import PoolSettings


class ProcessLauncher(Launcher):
    """Passes jobs to `sweeps.launcher.launch`; the settings are those of `PoolSettings`."""

    def __init__(self, **settings: Any) -> None:
        self._settings = PoolSettings(**settings)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Store the arguments for `launch`."""
        self._context = hydra_context
        self._function = task_function
        self._config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run jobs and return their results; an exception of a job becomes a `RuntimeError`."""
        from visionlab.sweeps.launcher.launch import launch

        return launch(
            job_overrides,
            first_number=initial_job_idx,
            pool=self._settings,
            context=self._context,
            function=self._function,
            config=self._config,
        )


@dataclass
class ProcessLauncherConf:
    """Settings under `hydra.launcher`."""

    _target_: str = "hydra_plugins.visionlab.process_launcher.ProcessLauncher"
    slots: int = 1
    devices: list[str] | None = None
    retries: int = 0
    timeout_minutes: float | None = None


ConfigStore.instance().store(
    group="hydra/launcher", name="process", node=ProcessLauncherConf, provider="visionlab"
)
