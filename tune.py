"""Tune settings of a training: `python tune.py [key=space ...]`, see `python tune.py --help`."""

import hydra
from omegaconf import DictConfig

from visionlab.config import command_line


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="tune")
@command_line.job
def main(config: DictConfig) -> float | None:
    from visionlab.runs.train import train
    from visionlab.sweeps.workers.trial import run_trial

    return run_trial(config, train)


if __name__ == "__main__":
    command_line.run(main)
