"""One training, from its configurations to its files."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from visionlab.config.command_line import run_folder
from visionlab.config.run_config import (
    Invocation,
    override_saved_config,
    parts_override,
    resolve_config,
    resume_config,
)
from visionlab.config.terminal import shell_command
from visionlab.core.interrupt import Signals
from visionlab.core.processes import num_processes, rank
from visionlab.engine.distributed.collectives import all_reduce_max, broadcast_object
from visionlab.engine.distributed.data_parallel import process_group
from visionlab.engine.loop import fit
from visionlab.engine.observers import Observer
from visionlab.engine.progress import Terminal, log_metrics
from visionlab.engine.resume_points import START, Position, common_resume_points, rewind
from visionlab.engine.shared_runs import RunObserver
from visionlab.files.locks import locked
from visionlab.runs import observing
from visionlab.runs.processes import call_in_processes
from visionlab.runs.results import final_results, table
from visionlab.runs.training import Training, build_training

_log = logging.getLogger(__name__)


def train(
    config: Mapping[str, Any],
    invocation: Invocation,
    *,
    observers: Sequence[Observer] = (),
    may_resume: bool = False,
) -> float | None:
    """Train one run in Hydra's output folder; arguments and result are those of `train_runs`.

    If `may_resume`, the folder may hold this run already, which then resumes. A run of several
    processes starts them, unless torchrun did so, and has no `observers`.
    """
    if num_processes() == 1:
        settings = _settings(config, invocation, may_resume=may_resume)
        if settings["num_processes"] > 1:
            config = {**config, "device": settings["device"]}
            function = partial(train, config, invocation, may_resume=may_resume)
            return call_in_processes(function, count=settings["num_processes"])
    folder = invocation.folder
    with process_group(config["device"]), locked(folder) if rank() == 0 else nullcontext():
        settings, position = broadcast_object(
            lambda: _start(config, invocation, may_resume=may_resume)
        )
        best = train_runs(
            {folder: settings},
            compositions={folder: invocation.composition},
            position=position,
            observers=observers,
        )
    evaluate = shell_command("eval", f"run={folder}", *parts_override(settings))
    _log.info("next: %s, %s", evaluate, shell_command("plots", f"runs={folder}"))
    return best


def _start(
    config: Mapping[str, Any], invocation: Invocation, *, may_resume: bool
) -> tuple[dict[str, Any], Position]:
    """Return a run's whole configuration, and where it continues."""
    settings = _settings(config, invocation, may_resume=may_resume)
    if not (invocation.folder / "config.yaml").exists():
        return settings, START
    ((position, _),) = common_resume_points([invocation.folder / "checkpoints"])
    return settings, position


def _settings(
    config: Mapping[str, Any], invocation: Invocation, *, may_resume: bool
) -> dict[str, Any]:
    """Return a run's whole configuration: that of its folder where it resumes."""
    folder, count = invocation.folder, num_processes()
    if count > 1 and config["num_processes"] not in (1, count):
        given = config["num_processes"]
        raise ValueError(f"num_processes must be 1 or {count} as torchrun has it, got {given}")
    if config["resume"]:
        if folder.resolve() != Path(run_folder(config["resume"], "")).resolve():
            rule = "resume must be one run, not part of a multirun"
            raise ValueError(f"{rule}, got {config['resume']}")
        settings = override_saved_config(config, invocation)
    elif not (folder / "config.yaml").exists():
        settings = resolve_config(config)
    elif may_resume:
        settings = resume_config(config, folder)
    else:
        raise ValueError(f"{folder} holds a run already; resume it with resume={folder}")
    return settings | {"num_processes": count} if count > 1 else settings


def train_runs(
    configs: Mapping[Path, Mapping[str, Any]],
    *,
    compositions: Mapping[Path, Mapping[str, Any]],
    position: Position,
    observers: Sequence[Observer] = (),
) -> float | None:
    """Train runs that differ at most in settings that never influence training, as one training.

    Of several processes that share it, rank 0 writes files and returns the metric.

    Args:
        configs: of the runs, resolved, by folder; the folders are locked by this process.
        compositions: how they were composed, by folder, see `Invocation.composition`.
        position: from which all can continue, see `common_resume_points`.
        observers: besides those of each run, and after them; one may raise `Pruned`.

    Returns:
        The best monitored metric on validation, of the model or any average of any run; None
        without validation.
    """
    if rank() == 0:
        for folder in configs:
            rewind(folder / "checkpoints", position=position)
    training = build_training(configs, resumes=position != START)
    runs = training.runs
    if rank() > 0:
        with Signals(all_reduce=all_reduce_max) as signals:
            _fit(training, signals, [[] for _ in runs])
            final_results(training, signals)
        return None
    with Signals(all_reduce=all_reduce_max) as signals:
        records = [observing.start_record(run, training, compositions[run.folder]) for run in runs]
        with (
            observing.recorded(training, records),
            observing.observers_of(training, observers) as by_run,
        ):
            observing.describe_start(training)
            _fit(training, signals, by_run)
            results = final_results(training, signals)
            log_metrics(table(runs, results))
            for run, metrics, record, own in zip(runs, results, records, by_run, strict=True):
                observing.show_results(metrics, own, run, training)
                record.update(results=metrics)
            observing.draw_pictures(runs, by_run[0])
    observing.describe_best(training)
    values = [best.value for best in training.state.best.values()]
    pick = max if training.task.mode == "max" else min
    return pick(values) if values else None


def _fit(training: Training, signals: Signals, observers: Sequence[Sequence[Observer]]) -> None:
    experiment, parts, state = training.experiment, training.components, training.state
    terminal = Terminal(
        state,
        total_steps=training.total_steps,
        epochs=experiment.hparams.epochs,
        monitor=training.task.monitor,
    )
    renamed = [
        RunObserver(observer, run.names)
        for run, own in zip(training.runs, observers, strict=True)
        for observer in own
    ]
    try:
        fit(
            parts.task,
            parts.optimizer,
            parts.schedule,
            state=state,
            hparams=experiment.hparams,
            stop=experiment.stop,
            evaluation=experiment.evaluation,
            checkpoints=training.checkpoints,
            signals=signals,
            autocast=training.autocast,
            seed=experiment.seed,
            plateau=parts.plateau,
            averages=training.averages,
            observers=[terminal, *renamed],
        )
    finally:
        terminal.close()
    if state.stopped:
        _log.info("stopped by %s; with another rule, resume=FOLDER continues", state.stopped)
