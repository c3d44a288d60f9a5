"""Which layers train, and which are held still."""

from collections.abc import Iterable, Sequence

from torch import nn

from visionlab.task import Task


def trained_parameters(modules: Sequence[nn.Module]) -> list[nn.Parameter]:
    """Return the parameters of modules that are trained now."""
    return [each for module in modules for each in module.parameters() if each.requires_grad]


def train_mode(task: Task, backbone: Iterable[nn.Parameter], *, is_frozen: bool) -> None:
    """Set a task's model to training, but for what is held still.

    Batch norms whose own weights are all frozen, and all those of a frozen backbone, stay in eval
    mode: their running statistics neither change nor give way to those of the batch.

    Args:
        task: gives model and backbone.
        backbone: the parameters of the backbone that train unless it is frozen.
        is_frozen: whether it is.
    """
    for parameter in backbone:
        parameter.requires_grad_(not is_frozen)
    task.model.train()
    for norm in _batch_norms([task.model]):
        weights = list(norm.parameters(recurse=False))
        if weights and not any(weight.requires_grad for weight in weights):
            norm.eval()
    for norm in _batch_norms(task.backbone if is_frozen else []):
        norm.eval()


def _batch_norms(modules: Sequence[nn.Module]) -> list[nn.Module]:
    kind = nn.modules.batchnorm._BatchNorm
    return [each for module in modules for each in module.modules() if isinstance(each, kind)]
