"""Saved weights are evaluated once each, and each as if alone."""

from functools import partial

import torch
from siblings import classification
from torch import Tensor

from visionlab.engine.evaluation import Result, evaluate_saved
from visionlab.task import Task


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
