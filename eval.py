"""Evaluate what a run saved: `python eval.py run=outputs/...`, see `python eval.py --help`."""

import hydra
from omegaconf import DictConfig

from visionlab import command_line


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="eval")
@command_line.job
def main(config: DictConfig) -> None:
    from visionlab.evaluations import (
        evaluate_run,
    )  # here, so that a wrong command line is answered fast

    evaluate_run(config)


if __name__ == "__main__":
    command_line.run(main)
