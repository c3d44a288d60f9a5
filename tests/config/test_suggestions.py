"""Did-you-mean suggestions."""

import pytest

from visionlab.config.suggestions import similar_settings

KNOWN = [
    *("optimizer.lr", "hparams.epochs", "hparams.batch_size", "evaluation.batch_size"),
    *(f"scheduler.phases.warm.length_{unit}" for unit in ("epochs", "steps")),
    "scheduler.phases.warm.schedule.every",
    *(f"scheduler.phases.cycles.length_{unit}" for unit in ("epochs", "steps")),
    *(f"scheduler.phases.cycles.schedule.cycle_{unit}" for unit in ("epochs", "steps")),
    *("hydra.launcher.cpus_per_task", "hydra.launcher.gpus_per_task"),
]
WARM, CYCLES = (f"scheduler.phases.{name}.length_epochs" for name in ("warm", "cycles"))


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("scheduler.phases.warm.lenght_epochs", WARM),
        ("scheduler.phases.wram.length_epochs", WARM),
        ("scheduler.phases.wram.lenght_epochs", WARM),
        ("scheduler.phases.cycle.length_epochs", CYCLES),
        ("scheduler.phase.cycles.length_epochs", CYCLES),
        ("scheduler.phases.0.length_epochs", f"{WARM} or {CYCLES}"),
        ("scheduler.phases.cycles.cycle_epoch", "scheduler.phases.cycles.schedule.cycle_epochs"),
        ("scheduler.phases.warm.evry", "scheduler.phases.warm.schedule.every"),
        ("lr", "optimizer.lr"),
        ("optimiser.lr", "optimizer.lr"),
        ("model.learning_rate", "optimizer.lr"),
        ("train.batch_size", "hparams.batch_size or evaluation.batch_size"),
        ("hydra.launcher.cpus_per_tsk", " or ".join(KNOWN[-2:])),
    ],
)
def test_the_nearest_settings_are_asked_for_in_full(key: str, meant: str) -> None:
    assert similar_settings(key, KNOWN) == f"; did you mean {meant}?"


def test_nothing_is_asked_for_where_nothing_is_near() -> None:
    assert similar_settings("optimizer.banana", KNOWN) == ""
