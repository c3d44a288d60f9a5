"""Evaluate what a run saved: `python eval.py run=outputs/...`, see `python eval.py --help`."""

from typing import Any

import hydra

from visionlab.config import command_line
from visionlab.config.run_config import Invocation


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="eval")
@command_line.job
def main(config: dict[str, Any], invocation: Invocation) -> None:
    # imported here, so that a wrong command line need not wait for torch
    from visionlab.runs.evaluate import evaluate_run, evaluation_options

    evaluate_run(evaluation_options(config))


if __name__ == "__main__":
    command_line.run(main, script="eval")
