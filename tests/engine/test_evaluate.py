"""Models are evaluated in one pass and saved weights once each, and each as if alone."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch
from siblings import classification, detection, keypoints, pretraining
from torch import Tensor, nn

from visionlab.engine.evaluation import Result, evaluate_models, evaluate_saved
from visionlab.task import Batch, Split, Task


def evaluated(task: Task, models: dict[str, dict[str, Tensor]]) -> dict[str, Result]:
    return evaluate_saved(
        task,
        models,
        "val",
        batch_size=5,
        autocast=partial(torch.autocast, "cpu", enabled=False),
        check=lambda: None,
        epoch=0,
    )


def test_equal_weights_are_evaluated_once() -> None:
    task = classification()
    last = {key: tensor.clone() for key, tensor in task.model.state_dict().items()}
    best = {key: tensor.clone() for key, tensor in last.items()}
    average = {key: tensor * 0.5 for key, tensor in last.items()}
    num_calls = []
    task.model.register_forward_hook(lambda *_: num_calls.append(1))
    alone = evaluated(task, {"model": last})
    per_model = len(num_calls)
    together = evaluated(task, {"model": last, "average": average, "best": best})
    assert len(num_calls) == 3 * per_model
    assert together["best"] is together["model"]
    assert together["model"].metrics == alone["model"].metrics
    now = task.model.state_dict()
    assert all(torch.equal(now[key], best[key]) for key in now)
    assert together["average"].metrics == evaluated(task, {"average": average})["average"].metrics
    assert together["average"].metrics != together["model"].metrics


@pytest.mark.parametrize("make_task", [classification, keypoints, detection, pretraining])
def test_models_evaluated_together_are_as_if_alone(make_task: Callable[[], Task]) -> None:
    task = make_task()
    models: dict[str, nn.Module] = {
        "first": task.evaluated,
        "second": copy.deepcopy(task.evaluated),
    }
    for parameter in models["second"].parameters():
        parameter.data *= 1.5
    models["first"].train()
    models["second"].eval()
    together = evaluate_together(task, models)
    assert models["first"].training
    assert not models["second"].training
    for name, model in models.items():
        alone = evaluate_together(task, {name: model})[name]
        assert alone.metrics == pytest.approx(together[name].metrics, rel=0, abs=0, nan_ok=True)
        assert alone.samples.keys() == together[name].samples.keys()
        for key, values in alone.samples.items():
            assert torch.equal(values, together[name].samples[key]), key
    first, second = (str(together[name]) for name in models)
    assert first != second


def test_models_evaluated_together_share_each_batch() -> None:
    task = classification()
    passes: list[int] = []

    @dataclass(frozen=True)
    class Counted:
        split: Split
        num_batches = property(lambda self: self.split.num_batches)

        def __len__(self) -> int:
            return len(self.split)

        def batches(self, **arguments: Any) -> Iterator[Batch]:
            passes.append(1)
            return self.split.batches(**arguments)

    task = replace(task, splits={**task.splits, "val": Counted(task.splits["val"])})
    evaluate_together(task, {"first": task.model, "second": copy.deepcopy(task.model)})
    assert len(passes) == 1


def evaluate_together(task: Task, models: dict[str, nn.Module]) -> dict[str, Result]:
    return evaluate_models(
        task,
        models,
        task.splits["val"],
        batch_size=5,
        autocast=partial(torch.autocast, "cpu", enabled=False),
        check=lambda: None,
    )
