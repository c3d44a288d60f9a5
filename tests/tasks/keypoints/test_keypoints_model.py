import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionlab.backbones.features import Backbone
from visionlab.backbones.weights import backbone_of
from visionlab.tasks.keypoints.loss import SmoothL1
from visionlab.tasks.keypoints.model import KeypointModel, KeypointRegressor, _pool
from visionlab.tasks.keypoints.records import PointTargets

SIDE = 96
NUM_POINTS = 5
MEAN = [[10.0, 20.0], [90.0, 33.0], [48.0, 48.0], [0.0, 96.0], [-7.0, 110.0]]


def recipe(**changes: Any) -> KeypointRegressor:
    backbone = Backbone(name="test_resnet", pretrained=False, norm="trained")
    return KeypointRegressor(
        **{"backbone": backbone, "stride": 32, "grid": 3, "dropout": 0.0} | changes
    )


def built(*, size_px: int = SIDE, **changes: Any) -> KeypointModel:
    torch.manual_seed(0)
    return recipe(**changes)(num_points=NUM_POINTS, size_px=size_px, mean_points=MEAN)


def images(count: int = 4, size_px: int = SIDE) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, size_px, size_px, generator=generator)


@pytest.mark.parametrize(
    ("name", "grid", "size_px"),
    [("test_resnet", 1, 96), ("test_resnet", 3, 96), ("test_resnet", 7, 224), ("resnet18", 3, 96)],
)
def test_training_starts_at_the_mean_shape(name: str, grid: int, size_px: int) -> None:
    """Within a hundredth of the side, for batch norm with batch and with running statistics."""
    backbone = Backbone(name=name, pretrained=False, norm="trained")
    model = built(backbone=backbone, grid=grid, size_px=size_px)
    for is_training in (True, False):
        with torch.no_grad():
            points = model.train(is_training)(images(4, size_px))
        assert points.shape == (4, NUM_POINTS, 2)
        distances = torch.linalg.vector_norm(points - torch.tensor(MEAN), dim=2)
        assert 0 < distances.mean() < 0.01 * size_px


def test_points_are_counted_in_pixels_from_the_corner() -> None:
    """The linear layer counts from the centre, the more finely the more features it has."""
    model = built(grid=1).eval()
    nn.init.zeros_(model.head.weight)
    with torch.no_grad():
        halves = torch.tensor([-1.0, -1, 1, 1, 0, 0, 0.5, -0.5, 2, 3])
        model.head.bias.copy_(halves * model.head.in_features**0.5)
        (points,) = model(images(1))
    expected = torch.tensor([[0.0, 0], [96, 96], [48, 48], [72, 24], [144, 192]])
    torch.testing.assert_close(points, expected)


def test_points_are_not_rounded_under_autocast() -> None:
    model = built().eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        points = model(images())
        again = model(images())
    assert points.dtype == torch.float32
    assert torch.equal(points, again)
    assert not torch.equal(points, points.bfloat16().float())
    with torch.no_grad():
        exact = model(images())
    torch.testing.assert_close(points, exact, atol=0.1, rtol=0)


def test_a_finer_grid_keeps_where_things_are() -> None:
    """Global pooling sees the same in an image whose quarters change places."""
    features = nn.Identity()
    features.channels = [3]  # type: ignore[assignment]
    features.forward = lambda images: (images,)  # type: ignore[assignment,method-assign]
    for grid, expected in ((1, False), (2, True)):
        torch.manual_seed(0)
        model = KeypointModel(
            features,  # type: ignore[arg-type]
            grid=grid,
            dropout=0.0,
            size_px=SIDE,
            mean_points=torch.tensor(MEAN),
        )
        seen = images(1)
        moved = seen.roll(SIDE // 2, dims=3)
        assert (not torch.allclose(model(seen), model(moved), atol=1e-5)) == expected
        assert model.head.in_features == 3 * grid * grid


def targets() -> PointTargets:
    generator = torch.Generator().manual_seed(2)
    points = torch.tensor(MEAN) + 8 * torch.randn(4, NUM_POINTS, 2, generator=generator)
    known = torch.ones(4, NUM_POINTS, dtype=torch.bool)
    return PointTargets(points, known, points, None)


def test_every_parameter_gets_a_gradient() -> None:
    model = built()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm starts some at 0, without a gradient below
            nn.init.ones_(module.weight)
    SmoothL1(beta=1.0)(model(images()), targets())["smooth_l1"].sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_a_batch_can_be_learnt() -> None:
    model, loss = built(), SmoothL1(beta=1.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    costs = []
    for _ in range(40):
        cost = loss(model(images()), targets())["smooth_l1"].mean()
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(cost.item())
    assert costs[0] > 4
    assert costs[-1] < 0.2 * costs[0]


def test_a_frozen_backbone_leaves_the_head_to_learn() -> None:
    model = built()
    assert backbone_of(model) == [model.backbone]
    model.backbone.requires_grad_(False).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    SmoothL1(beta=1.0)(model(images()), targets())["smooth_l1"].sum().backward()
    trained = [name for name, each in model.named_parameters() if each.grad is not None]
    assert trained == ["head.weight", "head.bias"]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_dropout_is_of_training_alone() -> None:
    model = built(dropout=0.5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    assert not torch.equal(model(images()), model(images()))
    model.eval()
    assert torch.equal(model(images()), model(images()))


def test_a_saved_model_finds_the_same_points() -> None:
    model = built()
    model(images())  # batch norm has seen something
    other = recipe()(num_points=NUM_POINTS, size_px=SIDE, mean_points=[[1.0, 1.0]] * NUM_POINTS)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(other.eval()(images()), model.eval()(images()))


@pytest.mark.parametrize(
    ("changes", "size_px", "message"),
    [
        ({"grid": 4}, 96, r"model.grid must be at most 3 for inputs of 96 px at stride 32, got 4"),
        ({"grid": 3}, 95, r"model.grid must be at most 2 for inputs of 95 px at stride 32, got 3"),
        ({"grid": 0}, 96, "grid must be >= 1, got 0"),
        ({"dropout": 1.0}, 96, r"dropout must be in \[0, 1\), got 1.0"),
        ({"dropout": math.nan}, 96, r"dropout must be in \[0, 1\), got nan"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, Any], size_px: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(size_px=size_px, **changes)


@pytest.mark.parametrize("size_px", [6, 7])
def test_cells_are_pooled_as_torch_pools_adaptively(size_px: int) -> None:
    features = torch.randn(2, 4, size_px, size_px, requires_grad=True)
    weights = torch.randn(2, 4, 3, 3)
    pooled, wanted = _pool(features, grid=3), F.adaptive_avg_pool2d(features, 3)
    assert torch.equal(pooled, wanted)
    gradients = [
        torch.autograd.grad((each * weights).sum(), features)[0] for each in (pooled, wanted)
    ]
    assert torch.equal(*gradients)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gradient_on_a_gpu_is_deterministic() -> None:
    model = built(grid=3).cuda()
    torch.use_deterministic_algorithms(True)  # an operation without one raises
    try:
        model(images().cuda()).sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
