"""What `train.py` and `eval.py` do once their configuration is composed."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from visionlab.command_line import run_folder
from visionlab.engine.checkpoints import saved_models
from visionlab.engine.device import choose_device, make_autocast, make_deterministic, set_threads
from visionlab.engine.evaluate import Autocast, evaluate
from visionlab.engine.fit import fit
from visionlab.engine.interrupt import Interrupted, Signals
from visionlab.engine.lock import locked
from visionlab.engine.observers import MetricsFile, Observer, Pictures, Predictions, TensorBoard
from visionlab.engine.progress import Terminal, draw_table
from visionlab.engine.record import Record
from visionlab.engine.state import TrainState
from visionlab.experiment import (
    Run,
    build_data,
    build_recipes,
    build_run,
    build_task,
    without_first_weights,
)
from visionlab.storage import read_tensors, write_json, write_text
from visionlab.task import Task

_TRAIN_SPLITS = {"none": [], "plain": ["train_plain"], "augmented": ["train"]}
_LABELS = {"train": "train_augmented"}  # numbers on augmented images are called that everywhere
_log = logging.getLogger(__name__)

Results = dict[str, dict[str, dict[str, float]]]  # by split, model, number


def train(config: DictConfig) -> float | None:
    """Train as a composed configuration says, in Hydra's output folder.

    Returns:
        The best monitored number on validation, of the model or any average; None without
        validation.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    with locked(folder):
        return _train(config, folder)


def evaluate_run(config: DictConfig) -> None:
    """Evaluate what a run left, print a table, and write it beside the run."""
    if bool(config.run) == bool(config.checkpoint):
        raise ValueError(
            "run or checkpoint must be given, and not both, "
            f"got run={config.run} checkpoint={config.checkpoint}"
        )
    path = Path(config.run or config.checkpoint).expanduser()
    saved, models = _read_run(path) if config.run else _read_model(path)
    if config.dataset.root is not None:
        if "root" not in saved.dataset:
            raise ValueError(
                f"dataset.root must belong to the run's data set, got {config.dataset.root}"
            )
        saved.dataset.root = config.dataset.root
    saved = without_first_weights(saved)
    device = choose_device(config.device)
    make_deterministic(device)
    set_threads(saved.threads if config.threads is None else config.threads)
    recipes = build_recipes(saved)
    data = build_data(saved, recipes, device)
    if config.split not in data.splits:
        raise ValueError(f"split must be one of {', '.join(data.splits)}, got {config.split!r}")
    task = build_task(saved, recipes, data, device)
    if config.batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {config.batch_size}")
    with Signals() as signals:
        results = evaluate_saved(
            task,
            models,
            [config.split],
            batch_size=config.batch_size,
            autocast=make_autocast(config.precision or saved.precision, device),
            check=signals.check,
            epoch=recipes.hparams.epochs,
        )
    draw_table(results)
    if config.run:
        label = _LABELS.get(config.split, config.split)
        write_json(path / f"evaluation_{label}.json", results[label])


def evaluate_saved(
    task: Task,
    models: Mapping[str, Mapping[str, Tensor]],
    splits: Sequence[str],
    *,
    batch_size: int,
    autocast: Autocast,
    check: Callable[[], None],
    epoch: int,
) -> Results:
    """Evaluate weights, by model name, on splits; the task's model holds the last of them after."""
    results: Results = {_LABELS.get(split, split): {} for split in splits}
    for name, weights in models.items():
        task.model.load_state_dict(weights)
        for split in splits:
            result = evaluate(
                task,
                task.model,
                task.splits[split],
                batch_size=batch_size,
                autocast=autocast,
                check=check,
                epoch=epoch,
            )
            results[_LABELS.get(split, split)][name] = result.numbers
    return results


def _train(config: DictConfig, folder: Path) -> float | None:
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
    observers = _observers(run)
    try:
        with Signals() as signals:
            _fit(run, signals, observers)
            results = _final_results(run, signals)
        _draw_results(results, observers, run.state)
        for observer in observers:
            if isinstance(observer, Pictures):
                observer.draw()
    except BaseException as error:
        status = "interrupted" if isinstance(error, Interrupted) else "failed"
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
        averages=run.averages,
        observers=observers,
    )
    if run.state.stopped:
        _log.info("stopped by %s", run.state.stopped)


def _final_results(run: Run, signals: Signals) -> Results:
    """Return the numbers of every saved model on the test split, and on train when asked."""
    evaluation = run.recipes.evaluation
    splits = [split for split in ("test",) if split in run.data.splits]
    return evaluate_saved(
        run.task,
        saved_models(run.folder / "checkpoints"),
        splits + _TRAIN_SPLITS[evaluation.train],
        batch_size=evaluation.batch_size,
        autocast=run.autocast,
        check=signals.check,
        epoch=run.recipes.hparams.epochs,
    )


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
    return observers


def _draw_results(results: Results, observers: Sequence[Observer], state: TrainState) -> None:
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


def _read_run(folder: Path) -> tuple[DictConfig, dict[str, dict[str, Tensor]]]:
    if not (folder / "config.yaml").is_file():
        raise FileNotFoundError(f"run must be the folder of a run, got {folder}")
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    return config, saved_models(folder / "checkpoints")


def _read_model(path: Path) -> tuple[DictConfig, dict[str, dict[str, Tensor]]]:
    content = read_tensors(path, sealed=False)
    if "config" not in content:
        raise ValueError(f"checkpoint must be a file of a visionlab run, got {path}")
    return OmegaConf.create(content["config"]), {content.get("name", "model"): content["model"]}
