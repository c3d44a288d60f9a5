"""Tables and figures of runs: `python plots.py runs=PATH`, see `python plots.py --help`."""

import hydra
from omegaconf import DictConfig

from visionlab.config import command_line


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="plots")
@command_line.job
def main(config: DictConfig) -> None:
    from visionlab.runs.plots import plot

    plot(config)


if __name__ == "__main__":
    command_line.run(main)
