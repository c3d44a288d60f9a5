"""What `train.py` does once its configuration is composed."""

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from visionlab.command_line import run_folder
from visionlab.engine.checkpoints import saved_models
from visionlab.engine.evaluate import Numbers, evaluate_saved, export, label
from visionlab.engine.fit import fit
from visionlab.engine.interrupt import Interrupted, Pruned, Signals
from visionlab.engine.lock import locked
from visionlab.engine.observers import MetricsFile, Observer, Pictures, Predictions, TensorBoard
from visionlab.engine.progress import Terminal, draw_table
from visionlab.engine.range_test import RangeCurve
from visionlab.engine.record import Record
from visionlab.engine.state import TrainState
from visionlab.experiment import Run, build_run
from visionlab.pictures.range_test import draw_range_test
from visionlab.schedules import RangeTest
from visionlab.storage import write_text

_TRAIN_SPLITS = {"none": [], "plain": ["train_plain"], "augmented": ["train"]}
_ENDINGS: dict[type[BaseException], str] = {Interrupted: "interrupted", Pruned: "pruned"}
_log = logging.getLogger(__name__)


def train(config: DictConfig, *, watchers: Sequence[Observer] = ()) -> float | None:
    """Train as a composed configuration says, in Hydra's output folder.

    Args:
        config: as Hydra composed it.
        watchers: see what the run's own observers see, after them; one may raise `Pruned`.

    Returns:
        The best monitored number on validation, of the model or any average; None without
        validation.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    with locked(folder):
        return _train(config, folder, watchers)


def _train(config: DictConfig, folder: Path, watchers: Sequence[Observer]) -> float | None:
    if config.resume and folder.resolve() != Path(run_folder(config.resume, "")).resolve():
        raise ValueError(f"resume must be one run, not part of a multirun, got {config.resume}")
    run = build_run(config, folder)
    write_text(folder / "config.yaml", OmegaConf.to_yaml(run.config))
    record = Record(
        folder / "run.json",
        seed=run.config.global_seed,
        class_names=run.data.class_names,
        device=run.device,
    )
    _log.info("%s on %s, run folder %s", run.task.name, run.device, folder)
    if run.data.unreadable:
        _log.info("went on without %d unreadable files", len(run.data.unreadable))
    observers = [*_observers(run), *watchers]
    try:
        with Signals() as signals:
            _fit(run, signals, observers)
            results = _final_results(run, signals)
        _draw_results(results, observers, run.state)
        for observer in observers:
            if isinstance(observer, Pictures):
                observer.draw()
    except BaseException as error:
        status = _ENDINGS.get(type(error), "failed")
        record.update(
            status=status, error=str(error), unreadable=run.data.unreadable, **_progress(run.state)
        )
        if status == "interrupted":
            _log.info("go on with: python train.py resume=%s", folder)
        raise
    finally:
        for observer in observers:
            observer.close()
    record.update(
        status="finished",
        error=None,
        results=results,
        unreadable=run.data.unreadable,
        **_progress(run.state),
    )
    values = [best.value for best in run.state.best.values()]
    pick = max if run.task.mode == "max" else min
    return pick(values) if values else None


def _fit(run: Run, signals: Signals, observers: Sequence[Observer]) -> None:
    fit(
        run.task,
        run.optimizer,
        run.schedule,
        state=run.state,
        hparams=run.recipes.hparams,
        stop=run.recipes.stop,
        evaluation=run.recipes.evaluation,
        checkpoints=run.checkpoints,
        signals=signals,
        autocast=run.autocast,
        seed=run.config.global_seed,
        watch=run.watch,
        averages=run.averages,
        observers=observers,
    )
    if run.state.stopped:
        _log.info("stopped by %s", run.state.stopped)


def _final_results(run: Run, signals: Signals) -> Numbers:
    """Return the numbers of every saved model on the test split, and on train when asked.

    What the last weights did with the training samples is drawn too.
    """
    evaluation = run.recipes.evaluation
    test_splits = ["test"] if "test" in run.data.splits else []
    numbers: Numbers = {}
    for split in test_splits + _TRAIN_SPLITS[evaluation.train]:
        results = evaluate_saved(
            run.task,
            saved_models(run.folder / "checkpoints"),
            split,
            batch_size=evaluation.batch_size,
            autocast=run.autocast,
            check=signals.check,
            epoch=run.recipes.hparams.epochs,
        )
        if split == "test":
            export(run.task, results, run.folder, split)
        else:
            folder = run.folder / "pictures" / label(split)
            run.task.draw(folder, results["model"].samples, run.task.splits[split])
        numbers[label(split)] = {name: result.numbers for name, result in results.items()}
    return numbers


def _observers(run: Run) -> list[Observer]:
    observers: list[Observer] = [
        Terminal(
            run.state,
            total_steps=run.total_steps,
            epochs=run.recipes.hparams.epochs,
            monitor=run.task.monitor,
        ),
        MetricsFile(run.folder / "metrics.jsonl", epoch=run.state.epoch),
    ]
    if "val" in run.task.splits:
        folder, val = run.folder / "pictures", run.task.splits["val"]
        observers.append(Pictures(lambda samples: run.task.draw(folder, samples, val)))
    if run.config.save_predictions:
        observers.append(Predictions(run.folder / "predictions"))
    if run.config.tensorboard:
        yaml = OmegaConf.to_yaml(run.config)
        observers.append(TensorBoard(run.folder, step=run.state.step, config=yaml))
    if isinstance(run.recipes.scheduler, RangeTest):
        draw = functools.partial(draw_range_test, run.folder / "pictures" / "range_test.png")
        path = run.folder / "range_test.csv"
        observers.append(RangeCurve(path, step=run.state.step, draw=draw))
    return observers


def _draw_results(results: Numbers, observers: Sequence[Observer], state: TrainState) -> None:
    """Print the final numbers, and draw them where there is TensorBoard."""
    draw_table(results)
    row = {
        f"{split}/{model}/{number}": value
        for split, models in results.items()
        for model, numbers in models.items()
        for number, value in numbers.items()
    }
    for observer in observers:
        if isinstance(observer, TensorBoard):
            observer.on_epoch({**row, "step": state.step}, {})


def _progress(state: TrainState) -> dict[str, Any]:
    return {
        "epoch": state.epoch,
        "step": state.step,
        "train_seconds": round(state.seconds, 3),
        "stopped": state.stopped,
        "best": {name: vars(best) for name, best in state.best.items()},
    }
