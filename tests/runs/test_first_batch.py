"""The trial of the model before training."""

from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from siblings import boxes, classification, pretraining, two_views
from torch import Tensor, nn

from visionlab.backbones.pooled import PooledTimm
from visionlab.runs.first_batch import check_first_batch
from visionlab.task import Task
from visionlab.tasks.pretraining.model.encoder import LinearHead
from visionlab.tasks.pretraining.model.moco import Moco
from visionlab.testing.training import PLAN

NUM_IMAGES = len(classification().splits["train"])


def check(task: Task, **changes: int) -> None:
    settings: dict[str, Any] = {"batch_size": 10, **changes}
    hparams = replace(PLAN, **settings)
    check_first_batch(task, hparams, sync_batch_norm=True)


def over_one_value() -> Task:
    body = [nn.Flatten(), nn.Linear(3 * 12 * 12, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)]
    return replace(classification(), model=nn.Sequential(*body))


def at_12_px(model: nn.Module) -> Task:
    return replace(classification(), model=model)


@pytest.mark.parametrize("make", [classification, boxes, two_views, over_one_value])
def test_the_trial_leaves_every_weight_and_buffer(make: object) -> None:
    task = make()  # type: ignore[operator]
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    check(task)
    after: dict[str, Tensor] = task.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize(
    "changes",
    [{"batch_size": NUM_IMAGES - 1}, {"batch_size": 2 * (NUM_IMAGES - 1), "accumulate_steps": 2}],
)
def test_a_last_batch_of_one_is_refused_where_a_batch_norm_sees_one_value(
    changes: dict[str, int],
) -> None:
    message = f"^hparams.batch_size must .*batch norm.*got {changes['batch_size']} .*{NUM_IMAGES}"
    with pytest.raises(ValueError, match=message):
        check(over_one_value(), **changes)
    check(classification(), **changes)  # its batch norms see whole maps


def test_a_batch_of_one_is_taken_where_all_batch_norms_are_frozen() -> None:
    task = over_one_value()
    check(replace(task, frozen_norms=[task.model.get_submodule("2")]), batch_size=1)
    frozen = replace(over_one_value(), backbone=[task.model])
    with pytest.raises(ValueError, match=r"hparams\.batch_size must"):
        check(frozen, batch_size=1)
    frozen = over_one_value()
    check(
        replace(frozen, backbone=[frozen.model]), batch_size=1, freeze_backbone_epochs=PLAN.epochs
    )


@pytest.mark.parametrize(
    "model",
    [
        timm.create_model("vit_tiny_patch16_224", num_classes=2),
        nn.Sequential(*[nn.Conv2d(3, 3, 9), nn.ReLU(), nn.Conv2d(3, 2, 9), nn.Flatten()]),
        nn.Sequential(nn.Flatten(), nn.Linear(7, 2)),
    ],
    ids=["fixed size", "too large kernel", "other number of features"],
)
def test_a_model_that_cannot_take_the_images_is_refused_by_their_size(model: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"^model must take images of 12x12, got \w+ with: .") as e:
        check(at_12_px(model))
    assert "\n" not in str(e.value)


def test_the_size_of_a_view_is_named() -> None:
    backbone = PooledTimm(name="vit_tiny_patch16_224", pretrained=False)
    model = Moco(
        backbone=backbone,
        head=LinearHead(dim=4),
        queue_length=8,
        momentum=0.9,
        symmetric=False,
        bn_splits=1,
    )(num_images=44, size_px=16)
    with pytest.raises(ValueError, match=r"^model must take images of 12x12, got MocoNet with: ."):
        check(replace(pretraining(), model=model))
