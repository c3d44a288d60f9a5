"""Train a model: `python train.py [key=value ...]`, see `python train.py --help`."""

from pathlib import Path
from typing import Any

import hydra

from visionlab.config import command_line
from visionlab.config.run_config import Invocation


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="train")
@command_line.job
def main(config: dict[str, Any], invocation: Invocation) -> float | None:
    # imported here, so that a wrong command line need not wait for torch
    if config["sweep"]["training"]:
        from visionlab.sweeps.workers.trainings import train_planned

        train_planned(Path(config["sweep"]["training"]))
        return None
    from visionlab.runs.train import train

    return train(config, invocation)


if __name__ == "__main__":
    command_line.run(main, script="train")
