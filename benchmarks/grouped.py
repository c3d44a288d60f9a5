"""K ResNet-20s trained as one: by `torch.func.vmap`, and by convolutions in K groups.

Each takes its own batch. Parameters and momentum have a leading dimension K with vmap; with groups
they are K times as many channels. Both take the step of SGD that K single runs would take.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F

from visionlab.backbones.small_images import WIDTHS
from visionlab.tasks.classification.model import ResNetCifar

LR, MOMENTUM, WEIGHT_DECAY = 0.1, 0.9, 1e-4


def vmap_step(size: int, *, batch_size: int, device: torch.device) -> Callable[[], None]:
    """Return a training step of `size` models, stacked, in float32.

    Under autocast, torch's batch norm refuses stacked parameters.
    """
    models = [ResNetCifar(depth=20)(num_classes=10).to(device).train() for _ in range(size)]
    base = models[0]
    stacked, buffers = stack_module_state(models)
    parameters = {name: value.detach() for name, value in stacked.items()}
    momenta = {name: torch.zeros_like(value) for name, value in parameters.items()}
    images = torch.randn(size, batch_size, 3, 32, 32, device=device)
    labels = torch.randint(0, 10, (size, batch_size), device=device)

    def loss(
        parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor, labels: Tensor
    ) -> Tensor:
        return F.cross_entropy(functional_call(base, (parameters, buffers), (images,)), labels)

    gradients = vmap(grad(loss))

    def step() -> None:
        found = gradients(parameters, buffers, images, labels)
        sgd(*([each[name] for name in parameters] for each in (parameters, found, momenta)))

    return step


def grouped_step(
    size: int, *, batch_size: int, device: torch.device, bf16: bool
) -> Callable[[], None]:
    """Return a training step of `size` models as one network of grouped convolutions."""
    model = GroupedCifarNet(size).to(device, memory_format=torch.channels_last).train()
    images = torch.randn(batch_size, size * 3, 32, 32, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch_size, size), device=device)
    parameters = list(model.parameters())
    momenta = [torch.zeros_like(value) for value in parameters]

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
            logits = model(images)
        mean = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
        found = torch.autograd.grad(mean * size, parameters)  # the sum of the models' mean losses
        with torch.no_grad():
            sgd(parameters, list(found), momenta)

    return step


def sgd(parameters: list[Tensor], gradients: list[Tensor], momenta: list[Tensor]) -> None:
    """Take a step in place, as `torch.optim.SGD` does."""
    torch._foreach_add_(gradients, parameters, alpha=WEIGHT_DECAY)
    torch._foreach_mul_(momenta, MOMENTUM)
    torch._foreach_add_(momenta, gradients)
    torch._foreach_add_(parameters, momenta, alpha=-LR)


class GroupedCifarNet(nn.Module):
    """`size` ResNet-20s side by side; channels of a model lie together."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.conv = conv3x3(3, WIDTHS[0], stride=1, groups=size)
        self.norm = nn.BatchNorm2d(WIDTHS[0] * size)
        blocks = []
        for before, width in zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False):
            blocks += [GroupedBlock(before, width, size)]
            blocks += [GroupedBlock(width, width, size) for _ in range(2)]
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Conv1d(WIDTHS[2] * size, 10 * size, 1, groups=size)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, size, 10) for images (B, size * 3, H, W)."""
        features = self.blocks(F.relu(self.norm(self.conv(images)))).mean(dim=(2, 3))
        return self.fc(features[..., None]).view(len(images), self.size, 10)


class GroupedBlock(nn.Module):
    """Block of `size` models with option A shortcuts."""

    def __init__(self, before: int, width: int, size: int) -> None:
        super().__init__()
        self.size, self.stride, self.half = size, width // before, (width - before) // 2
        self.conv1 = conv3x3(before, width, stride=self.stride, groups=size)
        self.norm1 = nn.BatchNorm2d(width * size)
        self.conv2 = conv3x3(width, width, stride=1, groups=size)
        self.norm2 = nn.BatchNorm2d(width * size)

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features
        if self.half:
            shortcut = features[:, :, :: self.stride, :: self.stride]
            each = shortcut.unflatten(1, (self.size, -1))
            shortcut = F.pad(each, (0, 0, 0, 0, self.half, self.half)).flatten(1, 2)
        features = F.relu(self.norm1(self.conv1(features)))
        return F.relu(self.norm2(self.conv2(features)) + shortcut)


def conv3x3(before: int, width: int, *, stride: int, groups: int) -> nn.Conv2d:
    return nn.Conv2d(
        before * groups, width * groups, 3, stride=stride, padding=1, bias=False, groups=groups
    )
