"""The Hydra sweeper of `tune.py`, a thin layer over `visionlab.sweeps`."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class TuningSweeper(Sweeper):
    """Runs the trials of a study, with the settings of `conf/hydra/sweeper/tuning.yaml`."""

    def __init__(self, **settings: Any) -> None:
        """Ignore the settings; `plan_study` reads and checks them."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Store the arguments for `sweep` and create the launcher."""
        self._config = config
        self._loader = hydra_context.config_loader
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the trials of a study; `arguments` are the overrides of the command line."""
        from visionlab.sweeps.launcher.forkserver import (
            call_in_process,
            is_local,
            start_forkserver,
        )
        from visionlab.sweeps.tuning.plan import plan_study

        plan, jobs = plan_study(self._config, arguments, self._loader)
        start_forkserver()
        # imported late, so that a wrong plan is refused at once
        from visionlab.sweeps.tuning.tuning import tune

        call_in_process(partial(_check, jobs, reads_data=is_local(self._config)))
        return tune(plan, self._launcher.launch)


def _check(jobs: Sequence[Mapping[str, Any]], *, reads_data: bool) -> None:
    """Check in another process, since this one imports no torch."""
    from visionlab.sweeps.workers.checks import check_trials

    check_trials(jobs, reads_data=reads_data)
