"""Mistakes in a user's own model and observer, refused before training."""

import pytest
import torch
from composing import of_new_run
from torch import nn

from visionlab.runs.build import build_data, build_experiment, build_task


class Mute:
    """An observer without `close`."""

    def on_step(self) -> None: ...

    def on_epoch(self) -> None: ...


def nothing(*, num_classes: int) -> None: ...


def blind() -> nn.Module:
    return nn.Identity()


@pytest.mark.parametrize(
    ("name", "message"),
    [("nothing", "nn.Module, got NoneType"), ("blind", "must take the data's num_classes")],
)
def test_a_function_that_makes_no_fitting_model_is_refused(name: str, message: str) -> None:
    model = {"_target_": f"{__name__}.{name}"}
    experiment = build_experiment({**of_new_run(), "model": model})
    data = build_data(experiment, torch.device("cpu"))
    with pytest.raises(ValueError, match=f"^model .*{message}"):
        build_task(experiment, data, torch.device("cpu"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"_target_": f"{__name__}.Mute"}, "got Mute without close"),
        ("a.B", "must be a part with _target_, got a str"),
    ],
)
def test_what_is_no_observer_is_refused(settings: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^observers.mine .*{message}"):
        build_experiment({**of_new_run(), "observers": {"mine": settings}})
