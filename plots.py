"""Tables and figures of runs: `python plots.py runs=PATH`, see `python plots.py --help`."""

from typing import Any

import hydra

from visionlab.config import command_line
from visionlab.config.run_config import Invocation


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="plots")
@command_line.job
def main(config: dict[str, Any], invocation: Invocation) -> None:
    from visionlab.runs.plots import plot

    plot(config)


if __name__ == "__main__":
    command_line.run(main, script="plots")
