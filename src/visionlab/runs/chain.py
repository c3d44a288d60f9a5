"""A chain of runs, one after another, each of which may start from what an earlier one left."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from visionlab.config.chains import Stage
from visionlab.config.run_config import Invocation, job_status, parts_override
from visionlab.config.terminal import shell_command
from visionlab.core.processes import rank
from visionlab.engine.distributed.collectives import broadcast_object
from visionlab.engine.distributed.data_parallel import process_group
from visionlab.files.locks import locked
from visionlab.runs.build import build_experiment
from visionlab.runs.initial_weights import without_initial_weights
from visionlab.runs.train import train

_log = logging.getLogger(__name__)


def train_chain(stages: Mapping[str, Stage], folder: Path) -> float | None:
    """Train the stages that are not finished, each in its own folder within that of the chain.

    A stage that began goes on where it stopped.

    Returns:
        The best monitored metric on validation of the last stage.

    Raises:
        ValueError: a setting of a stage is wrong, or a stage began with others; nothing is trained.
    """
    for name, stage in stages.items():
        try:
            build_experiment(without_initial_weights(stage.config))
        except ValueError as error:
            raise ValueError(f"{error} (stage {name})") from error
    best = None
    first = next(iter(stages.values())).config
    with process_group(first["device"]), locked(folder) if rank() == 0 else nullcontext():
        finished = broadcast_object(lambda: _finished(stages))
        for number, (name, stage) in enumerate(stages.items(), start=1):
            _log.info("stage %d of %d: %s", number, len(stages), name)
            if name in finished:
                _log.info("already finished: %s", stage.folder)
                continue
            stage.folder.mkdir(exist_ok=True)
            stage_invocation = Invocation(
                folder=stage.folder,
                choices=stage.composition["choices"],
                overrides=stage.composition["overrides"],
                options=stage.composition["options"],
            )
            settings = {**stage.config, "resume": None}
            best = train(settings, stage_invocation, may_resume=True)
    _log.info("next: %s", shell_command("plots", f"runs={folder}", *parts_override(first)))
    return best


def _finished(stages: Mapping[str, Stage]) -> list[str]:
    status = {name: job_status(stage.folder, stage.config) for name, stage in stages.items()}
    return [name for name, each in status.items() if each == "finished"]
