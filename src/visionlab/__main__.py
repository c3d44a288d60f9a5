"""The command line: `visionlab train|eval|predict|tune|plots`, and the scripts of the same names.

`visionlab runs|diff|prune|repeat` have no scripts.

What imports torch is imported in the functions, so that a wrong command line need not wait for it.
"""

import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from visionlab.config.terminal import end_on_interrupt

end_on_interrupt()  # the imports below would end in a traceback

import hydra  # noqa: E402

from visionlab.config import command_line  # noqa: E402
from visionlab.config.chains import (  # noqa: E402
    ComposedStage,
    compose_stages,
    is_chain,
    place_stages,
    read_stages,
    write_stages,
)
from visionlab.config.limits import check_address_space  # noqa: E402
from visionlab.config.overrides import without_model_group  # noqa: E402
from visionlab.config.run_config import Invocation  # noqa: E402
from visionlab.files.data_paths import check_data_paths  # noqa: E402

_log = logging.getLogger("visionlab")


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="train")
@command_line.job
def _train(config: dict[str, Any], invocation: Invocation) -> float | None:
    sweep = config.get("sweep", {"training": None})  # a run's config.yaml has none
    if sweep["training"]:
        from visionlab.sweeps.workers.trainings import train_planned

        train_planned(Path(sweep["training"]), parts=config["parts"])
        return None
    _log.info("run folder %s", invocation.folder)
    if config.get("chain") or is_chain(invocation.folder):
        return _train_stages(config, invocation)
    if not config["resume"]:
        check_data_paths(config["dataset"])
    check_address_space("visionlab.runs.train")
    from visionlab.runs.train import train

    return train(config, invocation)


def _train_stages(config: dict[str, Any], invocation: Invocation) -> float | None:
    """Train a chain, by the file and settings that are given, or as its folder has it."""
    folder = invocation.folder
    if config.get("chain"):
        stages, given = config["chain"]["stages"], config["chain"]["overrides"]
        composed = compose_stages(stages, given, options=invocation.overrides)
        _check_no_launcher(composed)
        stages = place_stages(composed, {name: folder / name for name in composed})
        write_stages(stages, folder)
    else:
        stages = read_stages(folder, parts=config["parts"])
    for stage in stages.values():
        check_data_paths(stage.config["dataset"])
    check_address_space("visionlab.runs.chain")
    from visionlab.runs.chain import train_chain

    return train_chain(stages, folder)


def _check_no_launcher(stages: Mapping[str, ComposedStage]) -> None:
    """Refuse settings of the launcher of a stage where nothing is launched."""
    for name, stage in stages.items():
        if stage.launcher:
            raise ValueError(f"{name}.{stage.launcher[0]} must be given with --multirun")


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="eval")
@command_line.job
def _eval(config: dict[str, Any], invocation: Invocation) -> None:
    newest = "the newest run" if config["ensemble"] is None else "an ensemble"
    _log.info("evaluating %s", config["run"] or config["checkpoint"] or newest)
    check_address_space("visionlab.runs.evaluate")
    from visionlab.runs.evaluate import evaluate

    evaluate(config)


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="predict")
@command_line.job
def _predict(config: dict[str, Any], invocation: Invocation) -> None:
    check_address_space("visionlab.runs.predict")
    from visionlab.runs.predict import predict

    predict(config)


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="tune")
@command_line.job
def _tune(config: dict[str, Any], invocation: Invocation) -> float | None:
    check_data_paths(config["dataset"])
    from visionlab.sweeps.workers.trial import run_trial

    return run_trial(config, invocation)


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="plots")
@command_line.job
def _plots(config: dict[str, Any], invocation: Invocation) -> None:
    from visionlab.runs.plots import plot

    plot(config)


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="runs")
@command_line.job
def _runs(config: dict[str, Any], invocation: Invocation) -> None:
    from visionlab.runs.housekeeping import list_runs

    list_runs(config)


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="diff")
@command_line.job
def _diff(config: dict[str, Any], invocation: Invocation) -> None:
    from visionlab.runs.housekeeping import show_diff

    show_diff(config)


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="prune")
@command_line.job
def _prune(config: dict[str, Any], invocation: Invocation) -> None:
    from visionlab.runs.housekeeping import prune_runs

    prune_runs(config)


@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="repeat")
@command_line.job
def _repeat(config: dict[str, Any], invocation: Invocation) -> None:
    check_address_space("visionlab.runs.repeat")
    from visionlab.runs.repeat import repeat

    repeat(config, invocation)


COMMANDS: dict[str, Callable[[], Any]] = {
    "train": _train,
    "eval": _eval,
    "predict": _predict,
    "tune": _tune,
    "plots": _plots,
    "runs": _runs,
    "diff": _diff,
    "prune": _prune,
    "repeat": _repeat,
}


def run(command: str) -> None:
    """Run a command with the arguments in `sys.argv`."""
    if command == "predict":
        sys.argv[1:] = without_model_group(sys.argv[1:])
    command_line.run(COMMANDS[command], script=command)


def main() -> None:
    """Run the command that `sys.argv` begins with."""
    command = sys.argv.pop(1) if len(sys.argv) > 1 else "nothing"
    if command not in COMMANDS:
        usage = f"usage: visionlab {'|'.join(COMMANDS)} [key=value ...] [--help]"
        sys.exit(usage if command in ("--help", "-h") else f"{usage}, got {command}")
    run(command)


if __name__ == "__main__":
    main()
