"""Tune settings of a training: `python tune.py [key=space ...]`, see `python tune.py --help`."""

from typing import Any

import hydra

from visionlab.config import command_line
from visionlab.config.run_config import Invocation


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="tune")
@command_line.job
def main(config: dict[str, Any], invocation: Invocation) -> float | None:
    # imported here, so that a wrong command line need not wait for torch
    from visionlab.sweeps.workers.trial import run_trial

    return run_trial(config, invocation)


if __name__ == "__main__":
    command_line.run(main, script="tune")
