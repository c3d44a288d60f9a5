import pytest
import torch
from timm.models import group_parameters
from torch import nn

from visionlab.backbones.small_images import Block, CifarNet
from visionlab.tasks.classification.model import ResNetCifar


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("depth", "count"),
    [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)],
)
def test_parameters_are_those_of_the_ema_study(depth: int, count: int) -> None:
    assert num_parameters(ResNetCifar(depth=depth)(num_classes=10)) == count


@pytest.mark.parametrize("depth", [8, 20, 32])
def test_depth_counts_convolutions_and_the_last_layer(depth: int) -> None:
    model = ResNetCifar(depth=depth)(num_classes=10)
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


@pytest.mark.parametrize(("height", "width"), [(32, 32), (28, 20), (33, 31), (1, 1)])
def test_logits_have_one_row_an_image_and_one_column_a_class(height: int, width: int) -> None:
    model = ResNetCifar(depth=8)(num_classes=7).eval()
    assert model(torch.zeros(3, 3, height, width)).shape == (3, 7)


def test_stages_halve_the_resolution_and_double_the_channels() -> None:
    model = CifarNet(num_blocks=2, num_classes=10).eval()
    shapes = []
    for stage in (model.conv1, model.layer1, model.layer2, model.layer3):
        stage.register_forward_hook(lambda *call: shapes.append(tuple(call[2].shape[1:])))
    model(torch.zeros(1, 3, 32, 32))
    assert shapes == [(16, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8)]


def shortcut_of(block: Block, features: torch.Tensor) -> torch.Tensor:
    """Return what is left of a block whose convolutions give nothing."""
    nn.init.zeros_(block.bn2.weight)
    return block.eval()(features)


def test_an_option_a_shortcut_takes_every_second_pixel_and_pads_channels_on_both_sides() -> None:
    features = torch.arange(1.0, 41.0).reshape(1, 2, 4, 5)
    shortcut = shortcut_of(Block(2, 4, stride=2), features)
    nothing = [[0, 0, 0], [0, 0, 0]]
    first, second = [[1, 3, 5], [11, 13, 15]], [[21, 23, 25], [31, 33, 35]]
    assert shortcut.tolist() == [[nothing, first, second, nothing]]


def test_an_odd_channel_is_padded_at_the_end() -> None:
    shortcut = shortcut_of(Block(1, 4, stride=1), torch.ones(1, 1, 1, 1))
    assert shortcut.flatten().tolist() == [0, 1, 0, 0]


def test_a_shortcut_that_changes_no_shape_is_the_identity() -> None:
    features = torch.rand(2, 3, 5, 5)
    assert torch.equal(shortcut_of(Block(3, 3, stride=1), features), features)


def test_the_last_relu_comes_after_the_sum() -> None:
    shortcut = shortcut_of(Block(1, 1, stride=1), torch.tensor([[[[-2.0, 3.0]]]]))
    assert shortcut.flatten().tolist() == [0, 3]


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    model = ResNetCifar(depth=20)(num_classes=10)
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_layers_of_layer_wise_decay_go_from_stem_to_head() -> None:
    model = CifarNet(num_blocks=2, num_classes=10)
    layers = group_parameters(model, model.group_matcher(), reverse=True)
    assert layers["conv1.weight"] == layers["bn1.bias"] == 0
    blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1)]
    assert [layers[f"{block}.conv2.weight"] for block in blocks] == [1, 2, 3, 4, 5, 6]
    assert layers["fc.weight"] > 6


@pytest.mark.parametrize("depth", [2, 18, 19, 51, 0, -4])
def test_another_depth_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=rf"depth must be 6n \+ 2 \(.*\), got {depth}"):
        ResNetCifar(depth=depth)
