"""The sweeper of `tune.py`, as Hydra finds it; the work is done in `visionlab.sweeps`."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class TuningSweeper(Sweeper):
    """Runs the trials of a study; its settings are those of `conf/hydra/sweeper/tuning.yaml`."""

    def __init__(self, **settings: Any) -> None:
        """Take the settings, which are read where they are checked."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what a sweep needs."""
        self._config = config
        self._loader = hydra_context.config_loader
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run a study's trials; `arguments` are the overrides of the command line."""
        from visionlab.sweeps.launcher.forkserver import call_in_process, start_forkserver
        from visionlab.sweeps.tuning.plan import plan_study

        plan, jobs = plan_study(self._config, arguments, self._loader)
        start_forkserver()
        # below, so that a wrong plan is refused at once
        from visionlab.sweeps.tuning.tuning import tune

        call_in_process(partial(_check, jobs))
        return tune(plan, self._launcher.launch)


def _check(jobs: Sequence[Mapping[str, Any]]) -> None:
    """Build experiments, in a process of its own: torch is not imported in this one."""
    from visionlab.config.run_config import resolve_config
    from visionlab.runs.build import build_experiment

    for job in jobs:
        build_experiment(resolve_config(job))
