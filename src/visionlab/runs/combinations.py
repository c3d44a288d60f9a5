"""Settings that are each in range and do not fit together, or do not fit the task."""

from collections.abc import Sequence

from visionlab.engine.distributed.data_parallel import check_divisible
from visionlab.engine.freezing import trainable_parameters
from visionlab.engine.validation import named_models
from visionlab.optim.averaging import Average
from visionlab.optim.plateau import TRAIN_LOSS, Plateau
from visionlab.optim.schedules import Schedule
from visionlab.runs.experiment import Experiment
from visionlab.task import Task


def check_combinations(experiment: Experiment, task: Task, averages: Sequence[Average]) -> None:
    """Refuse settings of an experiment that do not fit together, or do not fit its task.

    Raises:
        ValueError: the message names the key, the rule and the value.
    """
    hparams = experiment.hparams
    _check_patience(experiment, has_val="val" in task.splits)
    if experiment.averaged.buffers == "recomputed" and task.evaluated is not task.model:
        raise ValueError(
            "averaged.buffers must be averaged or copied for a model of which a part is evaluated, "
            "got recomputed"
        )
    for key, is_set in (
        ("model.freeze", experiment.initial_weights.freeze),
        ("hparams.freeze_backbone_epochs", hparams.freeze_backbone_epochs),
    ):
        if is_set and experiment.averaged.buffers == "recomputed":
            raise ValueError(
                f"averaged.buffers must be averaged or copied with {key}, got recomputed"
            )
    check_divisible(hparams, len(task.splits["train"]), count=experiment.machine.num_processes)
    if hparams.freeze_backbone_epochs:
        _check_backbone(task, hparams.freeze_backbone_epochs)
    _check_monitor(experiment.scheduler, task, averages)


def _check_patience(experiment: Experiment, *, has_val: bool) -> None:
    patience, every = experiment.stop.patience_epochs, experiment.evaluation.every_epochs
    if patience and not has_val:
        raise ValueError(f"stop.patience_epochs must be null for data without val, got {patience}")
    if patience and patience < every:
        raise ValueError(
            f"stop.patience_epochs must be >= evaluation.every_epochs {every}, got {patience}"
        )


def _check_backbone(task: Task, frozen_epochs: int) -> None:
    """Refuse to freeze a backbone that is not known, or is all that is trained."""
    if not task.backbone:
        rule = "0 for a model whose backbone is not known"
    elif len(trainable_parameters(task.backbone)) == len(trainable_parameters([task.model])):
        rule = "0 where model.freeze leaves only the backbone to train"
    else:
        return
    raise ValueError(f"hparams.freeze_backbone_epochs must be {rule}, got {frozen_epochs}")


def _check_monitor(schedule: Schedule, task: Task, averages: Sequence[Average]) -> None:
    """Refuse a plateau that monitors a number which the metrics rows will not have."""
    if not isinstance(schedule, Plateau) or schedule.monitor == TRAIN_LOSS:
        return
    rule = TRAIN_LOSS
    if "val" in task.splits:
        models, metrics = named_models(task.evaluated, averages), ("loss", *task.metric.names)
        if schedule.monitor in [f"val/{model}/{name}" for model in models for name in metrics]:
            return
        rule += f" or val/<model>/<metric>, the model one of {', '.join(models)}"
        rule += f", the metric one of {', '.join(metrics)}"
    raise ValueError(f"scheduler.monitor must be {rule}, got {schedule.monitor!r}")
