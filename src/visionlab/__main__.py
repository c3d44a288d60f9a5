"""The command line: `visionlab train|eval|tune|plots`, and the scripts of the same names.

What imports torch is imported in the functions, so that a wrong command line need not wait for it.
"""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra

from visionlab.config import command_line
from visionlab.config.run_config import Invocation

_log = logging.getLogger("visionlab")


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="train")
@command_line.job
def _train(config: dict[str, Any], invocation: Invocation) -> float | None:
    if config["sweep"]["training"]:
        from visionlab.sweeps.workers.trainings import train_planned

        train_planned(Path(config["sweep"]["training"]), parts=config["parts"])
        return None
    _log.info("run folder %s", invocation.folder)
    from visionlab.runs.train import train

    return train(config, invocation)


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="eval")
@command_line.job
def _eval(config: dict[str, Any], invocation: Invocation) -> None:
    _log.info("evaluating %s", config["run"] or config["checkpoint"] or "the newest run")
    from visionlab.runs.evaluate import evaluate_run, evaluation_options

    evaluate_run(evaluation_options(config))


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="tune")
@command_line.job
def _tune(config: dict[str, Any], invocation: Invocation) -> float | None:
    from visionlab.sweeps.workers.trial import run_trial

    return run_trial(config, invocation)


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="plots")
@command_line.job
def _plots(config: dict[str, Any], invocation: Invocation) -> None:
    from visionlab.runs.plots import plot

    plot(config)


COMMANDS: dict[str, Callable[[], Any]] = {
    "train": _train,
    "eval": _eval,
    "tune": _tune,
    "plots": _plots,
}


def run(command: str) -> None:
    """Run a command with the arguments in `sys.argv`."""
    command_line.run(COMMANDS[command], script=command)


def main() -> None:
    """Run the command that `sys.argv` begins with."""
    command = sys.argv.pop(1) if len(sys.argv) > 1 else "--help"
    if command not in COMMANDS:
        sys.exit(f"usage: visionlab {'|'.join(COMMANDS)} [key=value ...], got {command}")
    run(command)


if __name__ == "__main__":
    main()
