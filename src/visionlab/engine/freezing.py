"""Trainable parameters and frozen layers."""

from collections.abc import Iterable, Sequence

from torch import nn

from visionlab.backbones.weights import batch_norms
from visionlab.task import Task


def trainable_parameters(modules: Sequence[nn.Module]) -> list[nn.Parameter]:
    """Return the trainable parameters of modules."""
    return [each for module in modules for each in module.parameters() if each.requires_grad]


def set_train_mode(task: Task, backbone: Iterable[nn.Parameter], *, is_frozen: bool) -> None:
    """Put a task's model in training mode, except for frozen batch norms.

    The task's frozen norms, and all those of a frozen backbone, stay in eval mode: they normalise
    by their running statistics and do not update them. `backbone` has the parameters that train
    unless the backbone is frozen.
    """
    for parameter in backbone:
        parameter.requires_grad_(not is_frozen)
    task.model.train()
    for norm in task.frozen_norms:
        norm.eval()
    for module in task.backbone if is_frozen else ():
        for norm in batch_norms(module):
            norm.eval()
