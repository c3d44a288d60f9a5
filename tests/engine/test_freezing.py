"""A backbone that is held still for some epochs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from siblings import TASKS, boxes, classification
from torch import Tensor, nn

from visionlab.backbones.weights import backbone_of, freeze
from visionlab.engine.freezing import set_train_mode, trainable_parameters
from visionlab.optim.optimizers import Adam, Sgd
from visionlab.task import Task
from visionlab.testing.training import NO_STOP, PLAN, Trained, assert_same, train

pytestmark = pytest.mark.integration

WITH_BACKBONE = [name for name, make in TASKS.items() if make().backbone]
OF_EVERY_OPTIMIZER = {
    "lr": 0.01,
    "weight_decay": 0.1,
    "decay_norms_and_biases": True,
    "layer_decay": None,
}
OPTIMIZERS = {
    "momentum": Sgd(momentum=0.9, nesterov=False, **OF_EVERY_OPTIMIZER),
    "nesterov": Sgd(momentum=0.9, nesterov=True, **OF_EVERY_OPTIMIZER),
    **{
        name: Adam(
            decoupled_weight_decay=name == "adamw",
            betas=[0.9, 0.999],
            eps=1e-8,
            amsgrad=name == "adamw",
            **OF_EVERY_OPTIMIZER,
        )
        for name in ("adam", "adamw")
    },
}


def norm_free_of_weights() -> Task:
    """Return a classifier whose backbone has a batch norm without weights of its own."""
    body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4, affine=False), nn.ReLU())
    model = nn.Sequential(body, nn.Flatten(), nn.Linear(100, 2))
    return replace(classification(), model=model, backbone=[body])


def states(task: Task) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return copies of the tensors in the backbone and of the others, by name."""
    held = {
        id(value) for part in task.backbone for value in part.state_dict(keep_vars=True).values()
    }
    split: tuple[dict[str, Tensor], dict[str, Tensor]] = {}, {}
    for name, value in task.model.state_dict(keep_vars=True).items():
        split[id(value) not in held][name] = value.detach().clone()
    return split


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize(
    "make_task",
    [*(TASKS[name] for name in WITH_BACKBONE), norm_free_of_weights],
    ids=[*WITH_BACKBONE, "norm_free_of_weights"],
)
def test_a_frozen_backbone_stays_bit_for_bit_and_the_rest_moves(
    make_task: Callable[[], Task], optimizer: Sgd | Adam, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    backbone, rest = states(make_task())
    assert backbone
    torch.manual_seed(3)
    hparams = replace(PLAN, epochs=1, freeze_backbone_epochs=1)
    after = states(train(make_task, tmp_path, hparams=hparams, optimizer=optimizer).task)
    for name, value in after[0].items():
        assert torch.equal(value, backbone[name]), name
    parameters = make_task().model.named_parameters()
    trained = {name for name, each in parameters if each.requires_grad}  # no encoder of keys
    for name in trained & set(rest):
        assert not torch.equal(after[1][name], rest[name]), name


def test_a_frozen_norm_normalises_with_its_running_statistics() -> None:
    task = norm_free_of_weights()
    norm = task.model[0][1]  # type: ignore[index]
    backbone = trainable_parameters(task.backbone)
    set_train_mode(task, backbone, is_frozen=True)
    assert task.model.training
    assert not norm.training
    set_train_mode(task, backbone, is_frozen=False)
    assert norm.training


def test_afterwards_what_was_trained_trains_and_what_was_frozen_stays(tmp_path: Path) -> None:
    def make() -> Task:
        task = classification()
        return replace(task, frozen_norms=freeze(task.model, ["layer1.*"]))

    before = make().model.state_dict()
    hparams = replace(PLAN, epochs=2, freeze_backbone_epochs=1)
    after = train(make, tmp_path, hparams=hparams).task.model.state_dict()
    for name, value in after.items():
        assert torch.equal(value, before[name]) == name.startswith("layer1"), name


def test_the_first_frozen_epoch_is_that_of_a_model_with_frozen_layers(tmp_path: Path) -> None:
    def make() -> Task:
        task = classification()
        return replace(task, frozen_norms=freeze(task.model, ["conv1.*", "bn1.*", "layer*"]))

    hparams = replace(PLAN, epochs=1)
    expected = train(make, tmp_path / "layers", hparams=hparams)
    hparams = replace(hparams, freeze_backbone_epochs=1)
    assert_same(expected, train(classification, tmp_path / "backbone", hparams=hparams))


def test_without_frozen_epochs_nothing_is_frozen(tmp_path: Path) -> None:
    whole = train(boxes, tmp_path / "whole")
    assert_same(whole, train(lambda: replace(boxes(), backbone=[]), tmp_path / "without"))


@pytest.mark.parametrize("step", [2, 3, 4, 6, 7])
@pytest.mark.parametrize("optimizer", ["momentum", "adamw"])
def test_resuming_is_exact_before_at_and_after_the_boundary(
    step: int, optimizer: str, tmp_path: Path
) -> None:
    # three steps an epoch, two of three epochs frozen
    def trained(folder: str, max_steps: int | None = None, *, resume: bool = False) -> Trained:
        return train(
            boxes,
            tmp_path / folder,
            hparams=replace(PLAN, freeze_backbone_epochs=2),
            optimizer=OPTIMIZERS[optimizer],
            stop=replace(NO_STOP, max_steps=max_steps),
            resume=resume,
        )

    whole = trained("whole")
    trained("broken", step)
    assert_same(whole, trained("broken", resume=True))


def test_more_frozen_epochs_than_epochs_are_refused() -> None:
    assert replace(PLAN, freeze_backbone_epochs=3).freeze_backbone_epochs == PLAN.epochs
    with pytest.raises(ValueError, match=r"^freeze_backbone_epochs must be <= epochs 3, got 4$"):
        replace(PLAN, freeze_backbone_epochs=4)
    with pytest.raises(ValueError, match=r"^freeze_backbone_epochs must be >= 0, got -1$"):
        replace(PLAN, freeze_backbone_epochs=-1)


def test_a_task_gets_the_backbone_of_its_model() -> None:
    task = classification()
    names = {name for name, part in task.model.named_children() if part in backbone_of(task.model)}
    assert names == {"conv1", "bn1", "layer1", "layer2", "layer3"}
