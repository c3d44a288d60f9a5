"""Mistakes in a user's own model and observer, refused before training."""

import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from composing import of_new_run
from torch import nn

from visionlab.config.run_config import Invocation
from visionlab.engine.observers import check_observer
from visionlab.files.run_folder import read_record
from visionlab.runs.build import (
    build_data,
    build_experiment,
    build_task,
)
from visionlab.runs.initial_weights import without_initial_weights
from visionlab.runs.samples import describe_samples
from visionlab.runs.train import train
from visionlab.runs.training import build_components


class Mute:
    """An observer without `close`."""

    def on_step(self, state: object, **rest: object) -> None: ...

    def on_epoch(self, row: object, results: object) -> None: ...


class Deaf(Mute):
    """An observer whose method takes too little."""

    def on_step(self, state: object) -> None: ...  # type: ignore[override]

    def close(self) -> None: ...


class Fitting(Mute):
    """An observer with arguments of its own."""

    def __init__(self, folder: object = None) -> None: ...

    def on_step(self, state: object, *, loss: object = None, **rest: object) -> None: ...

    @staticmethod
    def close() -> None: ...


class Homeless(Fitting):
    """An observer that takes no folder."""

    def __init__(self) -> None: ...


def make_deaf(folder: Path) -> Deaf:
    return Deaf()


def clear(folder: Path) -> None: ...


def make_homeless() -> Homeless:
    return Homeless()


def nothing(*, num_classes: int) -> None: ...


def blind() -> nn.Module:
    return nn.Identity()


class PlainSgd:
    """An optimizer without `initial_lr` in its groups."""

    def __call__(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=0.5)


def net(*, num_classes: int, backbone: str) -> nn.Module:
    assert backbone == "wide"
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))


def test_an_optimizer_of_ones_own_needs_no_initial_lr() -> None:
    part = {"_target_": f"{__name__}.PlainSgd"}
    experiment = build_experiment({**of_new_run("model.depth=8"), "optimizer": part})
    data = build_data(experiment, torch.device("cpu"))
    optimizer = build_components([experiment], data, torch.device("cpu")).optimizer
    assert [group["initial_lr"] for group in optimizer.param_groups] == [0.5]


def test_a_models_own_setting_may_be_called_backbone() -> None:
    model = {"_target_": f"{__name__}.net", "backbone": "wide"}
    config = {"model": model, "start": {"run": None}}
    assert without_initial_weights(config) == config


class _Split(list[int]):
    """Three samples; `samples` describes them."""

    def __init__(self, samples: object) -> None:
        super().__init__([0, 1, 2])
        self.samples = samples


@dataclass
class Sample:
    """A sample of a data set of one's own."""

    key: object
    label: object


@pytest.mark.parametrize(
    "samples",
    [
        [{"image": "a.png", "label": 1}],
        [Sample("a", "cat")],
        torch.zeros(3, dtype=torch.bfloat16),
        [Sample(1, torch.tensor([1, 2]))],
        [],
        None,
    ],
)
def test_samples_of_ones_own_are_described(samples: object) -> None:
    data = SimpleNamespace(splits={"train": _Split(samples)}, class_counts={})
    (count, fingerprint) = describe_samples(data)["train"]  # type: ignore[arg-type]
    assert count == 3
    assert re.fullmatch(r"\w{8}", str(fingerprint))


def test_a_box_that_moves_to_the_next_image_changes_the_fingerprint() -> None:
    found = [
        describe_samples(
            SimpleNamespace(  # type: ignore[arg-type]
                splits={"train": _Split([Sample(1, torch.tensor(a)), Sample(2, torch.tensor(b))])},
                class_counts={},
            )
        )
        for a, b in (([1], [2, 3]), ([1, 2], [3]))
    ]
    assert found[0] != found[1]


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
        ({"_target_": f"{__name__}.Mute"}, r"a method close\(\), got Mute, which has none"),
        (
            {"_target_": f"{__name__}.Deaf"},
            r"on_step\(state, \*, lr, loss, num_samples\), got Deaf.on_step\(self, state",
        ),
        ({"_target_": f"{__name__}.make_deaf"}, r"on_step\(.*\), got Deaf.on_step\(self, state"),
        ({"_target_": f"{__name__}.clear"}, r"on_step\(.*\), got NoneType, which"),
        ("a.B", "must be a part with _target_, got a str"),
    ],
)
def test_what_is_no_observer_is_refused(settings: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^observers.mine .*{message}"):
        build_experiment({**of_new_run(), "observers": {"mine": settings}})


@pytest.mark.parametrize("name", ["Homeless", "make_homeless"])
def test_an_observer_must_take_the_folder(name: str) -> None:
    target = f"{__name__}.{name}"
    message = rf"^observers.mine._target_ must be a part for observers.mine, got '{target}'$"
    with pytest.raises(ValueError, match=message):
        build_experiment({**of_new_run(), "observers": {"mine": {"_target_": target}}})


def make_nothing(folder: Path) -> Any:
    """Return no observer."""


def test_a_run_whose_observer_cannot_be_made_has_failed(tmp_path: Path) -> None:
    config = of_new_run("model.depth=8", "device=cpu", "tensorboard=false", "threads=1")
    config["observers"] = {"mine": {"_target_": f"{__name__}.make_nothing"}}
    invocation = Invocation(folder=tmp_path, choices={}, overrides=[])
    with pytest.raises(ValueError, match=r"^observers.mine must have a method on_step"):
        train(config, invocation)
    assert read_record(tmp_path)["status"] == "failed"


def test_observers_may_take_what_they_like() -> None:
    check_observer(Fitting, key="observers.mine")
    check_observer(Fitting(), key="observers.mine")
    with pytest.raises(
        ValueError, match=r"^observers.mine .*on_step.*got NoneType, which has none"
    ):
        check_observer(None, key="observers.mine")
