"""Final evaluation of each saved model of each run of a training."""

import functools
from collections.abc import Mapping, Sequence

from torch import Tensor

from visionlab.core.interrupt import Signals
from visionlab.core.processes import rank
from visionlab.engine.checkpoints import best_name, saved_models
from visionlab.engine.distributed.collectives import broadcast_object
from visionlab.engine.evaluation import (
    MetricsTable,
    Result,
    evaluate_saved,
    export_predictions,
    split_label,
)
from visionlab.engine.shared_runs import saved_names, to_run_names, to_shared_names
from visionlab.engine.state import Best
from visionlab.runs.training import Run, Training

_TRAIN_SPLITS = {"none": [], "plain": ["train_plain"], "augmented": ["train"]}


def final_results(training: Training, signals: Signals) -> list[MetricsTable]:
    """Return each run's metrics of its saved models on the splits that `evaluation` selects.

    Results of the last weights on training samples are drawn too.
    """
    numbers: list[MetricsTable] = [{} for _ in training.runs]
    for split in ("test", "train_plain", "train"):
        selecting = [run for run in training.runs if split in _selected_splits(run, training)]
        results = _evaluate(selecting, training, split, signals)
        for run, of_one in zip(training.runs, numbers, strict=True):
            if run in selecting:
                own = to_run_names(results, saved_names(run.names))
                if rank() == 0:
                    _keep(own, run, training, split)
                of_one[split_label(split)] = {name: result.metrics for name, result in own.items()}
    return numbers


def table(runs: Sequence[Run], results: Sequence[MetricsTable]) -> MetricsTable:
    """Return the numbers of all runs together, by the training's names."""
    table: MetricsTable = {}
    for run, numbers in zip(runs, results, strict=True):
        for split, models in numbers.items():
            table.setdefault(split, {}).update(to_shared_names(models, saved_names(run.names)))
    return table


def chosen(
    numbers: MetricsTable, best: Mapping[str, Best], *, monitor: str, mode: str
) -> dict[str, float]:
    """Return the monitored metric of the model that was best on validation, by split.

    Unlike the metrics of one average, it has the same name in runs with other averages.
    """
    if not best:
        return {}
    pick = max if mode == "max" else min
    name = pick(best, key=lambda each: best[each].value)
    saved = {split: models.get(best_name(name), {}) for split, models in numbers.items()}
    of_splits = {split: each[monitor] for split, each in saved.items() if monitor in each}
    return {"val": best[name].value, **of_splits}


def _selected_splits(run: Run, training: Training) -> list[str]:
    evaluation = run.experiment.evaluation
    test_splits = ["test"] if evaluation.test and "test" in training.data.splits else []
    return test_splits + _TRAIN_SPLITS[evaluation.train]


def _evaluate(
    runs: Sequence[Run], training: Training, split: str, signals: Signals
) -> dict[str, Result]:
    """Evaluate what some runs have saved, by the training's names; what they share once."""
    weights: dict[str, Mapping[str, Tensor]] = {}
    for run in runs:
        saved = broadcast_object(functools.partial(saved_models, run.folder / "checkpoints"))
        weights = to_shared_names(saved, saved_names(run.names)) | weights
    return evaluate_saved(
        training.task,
        weights,
        split,
        batch_size=training.experiment.evaluation.batch_size,
        autocast=training.autocast,
        check=signals.check,
        epoch=training.experiment.hparams.epochs,
    )


def _keep(results: Mapping[str, Result], run: Run, training: Training, split: str) -> None:
    task = training.task
    if split == "test":
        export_predictions(task, results, run.folder, split)
    else:
        folder = run.folder / "pictures" / split_label(split)
        task.draw(folder, results["model"].samples, task.splits[split])
