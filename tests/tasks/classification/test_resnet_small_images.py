import math
from functools import cache

import pytest
import torch
from torch import nn

from visionlab.tasks.classification.model import ResNetSmallImages


@cache
def resnet18() -> nn.Module:
    """Return a network that no test changes."""
    return ResNetSmallImages(depth=18)(num_classes=10)


@pytest.mark.parametrize(("depth", "count"), [(18, 11_173_962), (50, 23_520_842)])
def test_parameters_are_those_of_the_ema_study(depth: int, count: int) -> None:
    with torch.device("meta"):
        model = ResNetSmallImages(depth=depth)(num_classes=10)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_stages_of_32_pixel_images_have_32_16_8_and_4_pixels() -> None:
    model = ResNetSmallImages(depth=18)(num_classes=7).eval()
    shapes = []
    for stage in (model.maxpool, model.layer1, model.layer2, model.layer3, model.layer4):
        stage.register_forward_hook(lambda *call: shapes.append(tuple(call[2].shape[1:])))
    logits = model(torch.zeros(2, 3, 32, 32))
    assert logits.shape == (2, 7)
    assert shapes == [(64, 32, 32), (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]


def test_logits_of_images_that_are_not_square() -> None:
    assert resnet18().eval()(torch.zeros(1, 3, 17, 40)).shape == (1, 10)


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    model = ResNetSmallImages(depth=18)(num_classes=10)
    model(torch.randn(2, 3, 16, 16)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_the_first_convolution_starts_as_torch_does_and_the_others_as_he_does() -> None:
    weights = dict(resnet18().named_parameters())
    assert weights["conv1.weight"].shape == (64, 3, 3, 3)
    assert 0.98 / math.sqrt(27) < weights["conv1.weight"].abs().max() <= 1 / math.sqrt(27)
    std = weights["layer2.1.conv2.weight"].std().item()
    assert std == pytest.approx(math.sqrt(2 / (128 * 9)), rel=0.02)  # He's, with fan out


def test_no_block_starts_as_the_identity() -> None:
    norms = [module for module in resnet18().modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 20
    assert all(bool((norm.weight == 1).all()) for norm in norms)


@pytest.mark.parametrize("depth", [20, 0, 19])
def test_another_depth_is_refused(depth: int) -> None:
    message = f"depth must be one of 18, 34, 50, 101, 152, got {depth}"
    with pytest.raises(ValueError, match=message):
        ResNetSmallImages(depth=depth)
