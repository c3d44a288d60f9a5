"""Record, observers' files and pictures of a run: all that it leaves besides weights."""

import functools
import itertools
import logging
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from visionlab.config.run_config import logged_hparams, parts_override, to_yaml
from visionlab.config.terminal import shell_command
from visionlab.core.interrupt import Interrupted, Pruned
from visionlab.engine.checkpoints import LAST, best_name
from visionlab.engine.device import describe_slowness
from visionlab.engine.epoch_files import snapshot_name
from visionlab.engine.evaluation import MetricsTable
from visionlab.engine.observers import (
    MetricsFile,
    Observer,
    Pictures,
    Predictions,
    TensorBoard,
    check_observer,
)
from visionlab.engine.range_test import RangeCurve
from visionlab.engine.shared_runs import to_run_names
from visionlab.files.atomic import write_text
from visionlab.files.run_folder import read_record
from visionlab.optim.schedules import RangeTest
from visionlab.runs.record import Record
from visionlab.runs.results import chosen
from visionlab.runs.training import Run, Training

_ENDINGS: dict[type[BaseException], str] = {Interrupted: "interrupted", Pruned: "pruned"}
_MAX_LISTED = 20  # classes
_log = logging.getLogger(__name__)


def start_record(run: Run, training: Training, composition: Mapping[str, Any]) -> Record:
    """Write `config.yaml` and `run.json` before anything of the run happens."""
    write_text(run.folder / "config.yaml", to_yaml(run.experiment.config))
    record = Record(
        run.folder / "run.json",
        step=training.state.step,
        seed=run.experiment.seed,
        class_names=training.data.class_names,
        class_ids=training.data.class_ids,
        device=training.device,
        composition=composition,
        parts=run.experiment.config["parts"],
    )
    record.update(read=training.data.read_counts, samples=training.samples)
    if training.task.initial_weights:  # none when it resumes: what the first start wrote stays
        record.update(initial_weights=training.task.initial_weights)
    if run.snapshot_epochs:
        names = {snapshot_name("model", n): each for n, each in enumerate(run.snapshot_epochs, 1)}
        record.update(snapshots=names)
    others = [str(other.folder) for other in training.runs if other is not run]
    if others:
        record.update(shares_training_with=others)
    return record


def describe_start(training: Training) -> None:
    """Log data, model and machine of a training, a line each."""
    data, model = training.data, training.task.model
    sizes = [f"{name} {value}" for name, value in data.sizes.items() if isinstance(value, int)]
    root = str(training.experiment.config["dataset"].get("root") or "")
    shown = root.removeprefix(f"{Path.cwd()}/")
    _log.info("data: %s", ", ".join(filter(None, [shown, *sizes])))
    for source, found in data.read_counts.items():
        _log.info("  read %s: %s", source, _describe_read(found))
    for part in ("train", "val", "test"):
        if part not in data.splits:
            _log.info("  no %s split", part)
            continue
        counts = _describe_counts(data.class_names, data.class_counts.get(part, []))
        _log.info("  %s: %s images%s", part, f"{len(data.splits[part]):,}", counts)
    if data.unreadable:
        _log.info("left out %d unreadable files", len(data.unreadable))
    total = sum(each.numel() for each in model.parameters())
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    frozen = "" if trained == total else f", {trained:,} of them trained"
    _log.info("model: %s, %s parameters%s", type(model).__name__, f"{total:,}", frozen)
    num_steps = min(training.total_steps, training.experiment.stop.max_steps or math.inf)
    averaged = [run.experiment.averaged.windows_beyond(int(num_steps)) for run in training.runs]
    for line in dict.fromkeys(itertools.chain.from_iterable(averaged)):
        _log.warning("%s", line)
    batch_size, num_train = training.experiment.hparams.batch_size, len(data.splits["train"])
    if batch_size > num_train:
        _log.warning("hparams.batch_size is %d, a batch has all %d images", batch_size, num_train)
    for each in training.unreached_milestones:
        _log.warning("scheduler: %s is beyond the end of the run", each)
    _log.info("%s on %s, %s", training.task.name, training.device, training.precision)
    for line in describe_slowness(training.device, training.precision):
        _log.warning("%s", line)


def _describe_counts(class_names: Sequence[str], counts: Sequence[int]) -> str:
    """Return the count of every class; of many classes only the fewest and the most."""
    named = [f"{name} {count:,}" for name, count in zip(class_names, counts, strict=False)]
    if len(named) > _MAX_LISTED:
        by_count = sorted(range(len(counts)), key=counts.__getitem__)
        named = [f"from {named[by_count[0]]} to {named[by_count[-1]]}"]
    return f" ({', '.join(named)})" if named else ""


def _describe_read(found: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in found.items())


def describe_best(training: Training) -> None:
    """Log the best model of each run."""
    task = training.task
    pick = max if task.mode == "max" else min
    for run in training.runs:
        best = to_run_names(training.state.best, run.names)
        if best:
            name = pick(best, key=lambda each: best[each].value)
            path = run.folder / "checkpoints" / f"{best_name(name)}.pt"
            value, epoch = best[name].value, best[name].epoch
            _log.info("best val %s %.4f after epoch %d: %s", task.monitor, value, epoch, path)


@contextmanager
def recorded(training: Training, records: Sequence[Record]) -> Iterator[None]:
    """Record how the runs end."""
    try:
        yield
    except BaseException as error:
        status = _ENDINGS.get(type(error), "failed")
        for run, record in zip(training.runs, records, strict=True):
            record.update(status=status, error=str(error), **_progress(run, training))
            if status == "interrupted":
                allowed = parts_override(run.experiment.config)
                command = shell_command("train", f"resume={run.folder}", *allowed)
                _log.info("resume with: %s", command)
        raise
    for run, record in zip(training.runs, records, strict=True):
        record.update(status="finished", error=None, **_progress(run, training))


@contextmanager
def observers_of(
    training: Training, others: Sequence[Observer]
) -> Iterator[Sequence[Sequence[Observer]]]:
    """Give the observers of each run, the others last, and close them in the end."""
    with ExitStack() as closing:
        by_run = [[*_observers(run, training), *others] for run in training.runs]
        for observer in itertools.chain.from_iterable(by_run):
            closing.callback(observer.close)
        yield by_run


def _observers(run: Run, training: Training) -> list[Observer]:
    """Return the observers of a run, its user's own last."""
    experiment, state = run.experiment, training.state
    rows = run.folder / "metrics.jsonl"
    if (run.folder / "checkpoints" / LAST).exists() and state.row_step and not rows.exists():
        _log.warning("%s is gone: the rows up to step %d are lost", rows, state.row_step)
    observers: list[Observer] = [MetricsFile(rows, epoch=state.epoch)]
    if "val" in training.task.splits:
        folder, val = run.folder / "pictures", training.task.splits["val"]
        observers.append(Pictures(lambda samples: training.task.draw(folder, samples, val)))
    if experiment.save_predictions:
        observers.append(Predictions(run.folder / "predictions"))
    if experiment.tensorboard:
        choices = read_record(run.folder).get("choices", {})
        observers.append(
            TensorBoard(
                run.folder,
                step=state.step,
                config=to_yaml(experiment.config),
                settings=logged_hparams(experiment.config, choices),
            )
        )
    if isinstance(experiment.scheduler, RangeTest):
        from visionlab.analysis.figures.range_test import write_range_test

        draw = functools.partial(write_range_test, run.folder / "pictures" / "range_test.png")
        observers.append(RangeCurve(run.folder / "range_test.csv", step=state.step, draw=draw))
    for name, make in experiment.observers.items():
        observers.append(make(folder=run.folder))
        check_observer(observers[-1], key=f"observers.{name}")
    return observers


def show_results(
    results: MetricsTable, observers: Sequence[Observer], run: Run, training: Training
) -> None:
    """Draw the final metrics in TensorBoard, unless an earlier process has done so."""
    task, state = training.task, training.state
    before = read_record(run.folder)
    if "results" in before and before.get("step") == state.step:
        return
    best = to_run_names(state.best, run.names)
    of_chosen = chosen(results, best, monitor=task.monitor, mode=task.mode)
    row = {f"chosen/{split}/{task.monitor}": value for split, value in of_chosen.items()} | {
        f"{split}/{model}/{name}": value
        for split, models in results.items()
        for model, metrics in models.items()
        for name, value in metrics.items()
    }
    for observer in observers:
        if isinstance(observer, TensorBoard):
            observer.finish({**row, "step": state.step})


def draw_pictures(runs: Sequence[Run], observers: Sequence[Observer]) -> None:
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
        "best": {name: vars(best) for name, best in to_run_names(state.best, run.names).items()},
    }
