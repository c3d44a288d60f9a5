"""Settings that are each in range and do not fit together, or not the task."""

import re
from dataclasses import replace

import pytest
from composing import of_new_run
from siblings import boxes, classification, two_views
from torch import nn

from visionlab.backbones.weights import freeze
from visionlab.runs.build import build_experiment
from visionlab.runs.combinations import check_combinations
from visionlab.task import Task


def check(task: Task, *overrides: str) -> None:
    experiment = build_experiment(of_new_run(*overrides))
    freeze(task.model, experiment.initial_weights.freeze)
    check_combinations(experiment, task, experiment.averaged(task.model))


def without_val() -> Task:
    task = classification()
    return replace(task, splits={"train": task.splits["train"]})


def plateau(monitor: str) -> list[str]:
    by_epochs = ["scheduler.every=epoch", "scheduler.patience_epochs=5", "scheduler.smoothing=0"]
    return ["scheduler=plateau", *by_epochs, f"scheduler.monitor={monitor}"]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["hparams.freeze_backbone_epochs=30"],
        ["hparams.freeze_backbone_epochs=1", "averaged.buffers=copied", "model.freeze=[conv1.*]"],
        ["scheduler=plateau"],
        plateau("train/loss"),
        plateau("val/model/loss"),
        plateau("val/ema_0.99/top1"),
    ],
)
def test_what_fits_is_taken(overrides: list[str]) -> None:
    check(classification(), *overrides)


@pytest.mark.parametrize(
    ("monitor", "shown"),
    [
        ("val/model/top5", "'val/model/top5'"),
        ("val/ema_0.9/loss", "'val/ema_0.9/loss'"),
        ("loss", "'loss'"),
        ("lr", "'lr'"),
    ],
)
def test_a_number_that_no_row_will_have_is_refused_and_the_others_named(
    monitor: str, shown: str
) -> None:
    with pytest.raises(ValueError, match=r"^scheduler.monitor must be") as error:
        check(classification(), *plateau(monitor))
    message = str(error.value)
    assert message.startswith("scheduler.monitor must be train/loss or val/<model>/<metric>")
    assert "model, ema_0.99" in message
    assert message.endswith(f"got {shown}")


def test_without_validation_only_the_training_loss_can_be_watched() -> None:
    check(without_val(), *plateau("train/loss"))
    message = "^scheduler.monitor must be train/loss, got 'val/model/loss'$"
    with pytest.raises(ValueError, match=message):
        check(without_val(), *plateau("val/model/loss"))


@pytest.mark.parametrize(
    ("task", "overrides", "message"),
    [
        (
            two_views(),
            ["hparams.freeze_backbone_epochs=2"],
            "hparams.freeze_backbone_epochs must be 0 for a model whose backbone is not known, "
            "got 2",
        ),
        (
            classification(),
            ["hparams.freeze_backbone_epochs=2", "model.freeze=[fc.*]"],
            "hparams.freeze_backbone_epochs must be 0 where model.freeze leaves only the backbone "
            "to train, got 2",
        ),
        (
            boxes(),
            ["hparams.freeze_backbone_epochs=2", "averaged.buffers=recomputed"],
            "averaged.buffers must be averaged or copied with hparams.freeze_backbone_epochs, "
            "got recomputed",
        ),
        (
            classification(),
            ["model.freeze=[fc.*]", "averaged.buffers=recomputed"],
            "averaged.buffers must be averaged or copied with model.freeze, got recomputed",
        ),
        (
            replace(boxes(), splits={"train": boxes().splits["train"]}),
            ["stop.patience_epochs=3"],
            "stop.patience_epochs must be null for data without val, got 3",
        ),
        (
            boxes(),
            ["stop.patience_epochs=3", "evaluation.every_epochs=5"],
            "stop.patience_epochs must be >= evaluation.every_epochs 5, got 3",
        ),
    ],
)
def test_what_does_not_fit_is_named(task: Task, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check(task, *overrides)


def test_a_task_whose_backbone_is_all_it_has_cannot_be_frozen() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"freeze_backbone_epochs must be 0 where"):
        check(
            replace(two_views(), model=model, backbone=[model]), "hparams.freeze_backbone_epochs=1"
        )
