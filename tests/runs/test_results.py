"""Which final numbers stand for a run."""

import pytest

from visionlab.engine.state import Best
from visionlab.runs.results import chosen

NUMBERS = {
    "test": {
        "model": {"top1": 0.1, "loss": 9.0},
        "best": {"top1": 0.2, "loss": 8.0},
        "ema_0.9_best": {"top1": 0.3, "loss": 7.0},
    },
    "train_plain": {"ema_0.9_best": {"loss": 1.0}},
}


@pytest.mark.parametrize(
    ("of_model", "of_average", "mode", "expected"),
    [
        (0.5, 0.6, "max", {"val": 0.6, "test": 0.3}),
        (0.5, 0.6, "min", {"val": 0.5, "test": 0.2}),
        (0.7, 0.6, "max", {"val": 0.7, "test": 0.2}),
    ],
)
def test_the_model_that_was_best_on_validation_is_chosen(
    of_model: float, of_average: float, mode: str, expected: dict[str, float]
) -> None:
    best = {"model": Best(value=of_model, epoch=1), "ema_0.9": Best(value=of_average, epoch=2)}
    assert chosen(NUMBERS, best, monitor="top1", mode=mode) == expected


def test_without_validation_none_is_chosen() -> None:
    assert chosen(NUMBERS, {}, monitor="top1", mode="max") == {}
