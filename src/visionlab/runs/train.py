"""What `train.py` does once its configuration is composed."""

import functools
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from visionlab.analysis.figures.range_test_curve import draw_range_test
from visionlab.config.command_line import run_folder
from visionlab.config.run_config import (
    compared,
    completed,
    composition,
    going_on,
    resolved,
    resumed,
)
from visionlab.core.interrupt import Interrupted, Pruned, Signals
from visionlab.core.processes import rank
from visionlab.engine.distributed.collectives import from_first, largest
from visionlab.engine.distributed.data_parallel import joined
from visionlab.engine.evaluation import Numbers
from visionlab.engine.loop import fit
from visionlab.engine.observers import MetricsFile, Observer, Pictures, Predictions, TensorBoard
from visionlab.engine.progress import Terminal, draw_table
from visionlab.engine.range_test import RangeCurve
from visionlab.engine.resume_points import BEGINNING, Position, go_back, parties
from visionlab.engine.shared_runs import RunObserver, of_run
from visionlab.files.atomic import write_text
from visionlab.files.locks import locked
from visionlab.files.run_folder import read_record
from visionlab.optim.schedules import RangeTest
from visionlab.runs.record import Record
from visionlab.runs.results import chosen, final_results, table
from visionlab.runs.training import Run, Training, build_training

_ENDINGS: dict[type[BaseException], str] = {Interrupted: "interrupted", Pruned: "pruned"}
_log = logging.getLogger(__name__)


def train(
    config: DictConfig, *, watchers: Sequence[Observer] = (), may_go_on: bool = False
) -> float | None:
    """Train as a composed configuration says, in Hydra's output folder.

    Args:
        config: as Hydra composed it.
        watchers: see what the run's own observers see, after them; one may raise `Pruned`.
        may_go_on: whether the folder may hold this run already, which then goes on.

    Returns:
        The best monitored number on validation, of the model or any average; None without
        validation.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    with joined(config.device), locked(folder) if rank() == 0 else nullcontext():
        configs, position = from_first(lambda: _start(config, folder, may_go_on=may_go_on))
        composed = {folder: composition(HydraConfig.get()) for folder in configs}
        return train_together(configs, composed=composed, position=position, watchers=watchers)


def _start(
    config: DictConfig, folder: Path, *, may_go_on: bool
) -> tuple[dict[Path, DictConfig], Position]:
    """Return a run's whole configuration, by its folder, and where it goes on."""
    if not config.resume:
        if not (folder / "config.yaml").exists():
            return {folder: completed(config)}, BEGINNING
        if not may_go_on:
            raise ValueError(f"{folder} holds a run already; go on with it by resume={folder}")
        ((position, _),) = parties([folder / "checkpoints"])
        return {folder: OmegaConf.create(going_on(resolved(config), folder))}, position
    if folder.resolve() != Path(run_folder(config.resume, "")).resolve():
        raise ValueError(f"resume must be one run, not part of a multirun, got {config.resume}")
    ((position, _),) = parties([folder / "checkpoints"])
    return {folder: resumed(config, folder)}, position


def train_together(
    configs: Mapping[Path, DictConfig],
    *,
    composed: Mapping[Path, Mapping[str, Any]],
    position: Position,
    watchers: Sequence[Observer] = (),
) -> float | None:
    """Train runs that differ at most in what rides along, as one training.

    Of several processes that share it the first writes files and returns something.

    Args:
        configs: of the runs, resolved, by folder; the folders are held by this process.
        composed: how they were composed, by folder, see `configs.composition`.
        position: from which all can go on, as `parties` says.
        watchers: see what the observers of each run see, after them; one may raise `Pruned`.

    Returns:
        The best monitored number on validation, of the model or any average of any run; None
        without validation.
    """
    if rank() == 0:
        for folder in configs:
            go_back(folder / "checkpoints", position=position)
    training = build_training(configs, going_on=position != BEGINNING)
    if rank() > 0:
        _train_along(training)
        return None
    records = [_begin(run, training, composed[run.folder]) for run in training.runs]
    observers = [[*_observers(run, training), *watchers] for run in training.runs]
    with Signals(agree=largest) as signals, _recorded(training, records, observers):
        _fit(training, signals, observers)
        results = final_results(training, signals)
        draw_table(table(training.runs, results))
        for run, numbers, record, of_one in zip(
            training.runs, results, records, observers, strict=True
        ):
            _show_results(numbers, of_one, run, training)
            record.update(results=numbers)
        _draw_pictures(training.runs, observers[0])
    values = [best.value for best in training.state.best.values()]
    pick = max if training.task.mode == "max" else min
    return pick(values) if values else None


def _train_along(training: Training) -> None:
    """Do the share of a process that is not the first."""
    with Signals(agree=largest) as signals:
        _fit(training, signals, [[] for _ in training.runs])
        final_results(training, signals)


def _begin(run: Run, training: Training, composed: Mapping[str, Any]) -> Record:
    """Write down what the run is, before anything of it happens."""
    write_text(run.folder / "config.yaml", OmegaConf.to_yaml(run.config))
    record = Record(
        run.folder / "run.json",
        seed=training.seed,
        class_names=training.data.class_names,
        device=training.device,
        composed=composed,
    )
    others = [str(other.folder) for other in training.runs if other is not run]
    if others:
        record.update(shares_training_with=others)
    _log.info("%s on %s, run folder %s", training.task.name, training.device, run.folder)
    if training.data.unreadable:
        _log.info("went on without %d unreadable files", len(training.data.unreadable))
    return record


@contextmanager
def _recorded(
    training: Training, records: Sequence[Record], observers: Sequence[Sequence[Observer]]
) -> Iterator[None]:
    """Write down how the runs end, and close their observers."""
    try:
        with ExitStack() as closing:
            for observer in [each for of_one in observers for each in of_one]:
                closing.callback(observer.close)
            yield
    except BaseException as error:
        status = _ENDINGS.get(type(error), "failed")
        for run, record in zip(training.runs, records, strict=True):
            record.update(status=status, error=str(error), **_progress(run, training))
            if status == "interrupted":
                _log.info("go on with: python train.py resume=%s", run.folder)
        raise
    for run, record in zip(training.runs, records, strict=True):
        record.update(status="finished", error=None, **_progress(run, training))


def _fit(training: Training, signals: Signals, observers: Sequence[Sequence[Observer]]) -> None:
    recipes, state = training.recipes, training.state
    terminal = Terminal(
        state,
        total_steps=training.total_steps,
        epochs=recipes.hparams.epochs,
        monitor=training.task.monitor,
    )
    try:
        fit(
            training.task,
            training.optimizer,
            training.schedule,
            state=state,
            hparams=recipes.hparams,
            stop=recipes.stop,
            evaluation=recipes.evaluation,
            checkpoints=training.checkpoints,
            signals=signals,
            autocast=training.autocast,
            seed=training.seed,
            watch=training.watch,
            averages=training.averages,
            observers=[
                terminal,
                *(
                    RunObserver(observer, run.names)
                    for run, of_one in zip(training.runs, observers, strict=True)
                    for observer in of_one
                ),
            ],
        )
    finally:
        terminal.close()
    if state.stopped:
        _log.info("stopped by %s", state.stopped)


def _observers(run: Run, training: Training) -> list[Observer]:
    observers: list[Observer] = [
        MetricsFile(run.folder / "metrics.jsonl", epoch=training.state.epoch),
    ]
    if "val" in training.task.splits:
        folder, val = run.folder / "pictures", training.task.splits["val"]
        observers.append(Pictures(lambda samples: training.task.draw(folder, samples, val)))
    if run.config.save_predictions:
        observers.append(Predictions(run.folder / "predictions"))
    if run.config.tensorboard:
        yaml = OmegaConf.to_yaml(run.config)
        settings = compared(resolved(run.config), read_record(run.folder).get("choices", {}))
        step = training.state.step
        observers.append(TensorBoard(run.folder, step=step, config=yaml, settings=settings))
    if isinstance(run.recipes.scheduler, RangeTest):
        draw = functools.partial(draw_range_test, run.folder / "pictures" / "range_test.png")
        path = run.folder / "range_test.csv"
        observers.append(RangeCurve(path, step=training.state.step, draw=draw))
    return observers


def _show_results(
    results: Numbers, observers: Sequence[Observer], run: Run, training: Training
) -> None:
    """Draw the final numbers where there is TensorBoard, unless an earlier process has done so."""
    task, state = training.task, training.state
    before = read_record(run.folder)
    if "results" in before and before.get("step") == state.step:
        return
    best = of_run(state.best, run.names)
    telling = chosen(results, best, monitor=task.monitor, mode=task.mode)
    row = {f"chosen/{split}/{task.monitor}": value for split, value in telling.items()} | {
        f"{split}/{model}/{number}": value
        for split, models in results.items()
        for model, numbers in models.items()
        for number, value in numbers.items()
    }
    for observer in observers:
        if isinstance(observer, TensorBoard):
            observer.finish({**row, "step": state.step})


def _draw_pictures(runs: Sequence[Run], observers: Sequence[Observer]) -> None:
    """Draw validation samples for the first run; the others get copies, as they saw the same."""
    first, *others = [run.folder / "pictures" for run in runs]
    for observer in observers:
        if isinstance(observer, Pictures):
            observer.draw()
    for folder in others:
        folder.mkdir(exist_ok=True)
        for path in [each for each in first.glob("*") if each.is_file()]:
            shutil.copy(path, folder)


def _progress(run: Run, training: Training) -> dict[str, Any]:
    state = training.state
    return {
        "unreadable": training.data.unreadable,
        "epoch": state.epoch,
        "step": state.step,
        "train_seconds": round(state.seconds, 3),
        "stopped": state.stopped,
        "best": {name: vars(best) for name, best in of_run(state.best, run.names).items()},
    }
