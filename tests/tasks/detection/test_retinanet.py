import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from visionlab.backbones.features import Backbone
from visionlab.tasks.detection.loss.retinanet import RetinaNetLoss
from visionlab.tasks.detection.model.anchors import Anchors
from visionlab.tasks.detection.model.retinanet import Head, Pyramid, RetinaNet, RetinaNetModel
from visionlab.tasks.detection.records import BoxTargets

ANCHORS = Anchors(sizes_px=[16, 32, 64, 128, 256], ratios=[0.5, 1.0, 2.0], scales=[1.0, 1.5])
BOX_STD = [0.1, 0.1, 0.2, 0.2]
LOSS = RetinaNetLoss(
    alpha=0.25,
    gamma=2.0,
    positive_iou=0.5,
    negative_iou=0.4,
    force_best_anchor=True,
    box="smooth_l1",
    beta=1 / 9,
    box_weight=1.0,
)


def settings(
    *,
    name: str = "test_resnet",
    norm: Any = "trained",
    p6_from: Any = "c5",
    channels: int = 32,
    depth: int = 1,
    head_norm: Any = "none",
    **rest: Any,
) -> RetinaNet:
    defaults: dict[str, Any] = {
        "anchors": ANCHORS,
        "prior": 0.01,
        "box_std": BOX_STD,
        "inputs_per_pass": None,
    }
    return RetinaNet(
        backbone=Backbone(name=name, pretrained=False, norm=norm),
        pyramid=Pyramid(channels=channels, p6_from=p6_from),
        head=Head(channels=64, depth=depth, norm=head_norm),
        **{**defaults, **rest},
    )


def build(num_classes: int = 3, **rest: Any) -> RetinaNetModel:
    return settings(**rest)(num_classes=num_classes)


def images(height: int = 96, width: int = 160, *, seed: int = 0) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("height", "width", "shapes"),
    [
        (96, 160, [(12, 20), (6, 10), (3, 5), (2, 3), (1, 2)]),
        (64, 64, [(8, 8), (4, 4), (2, 2), (1, 1), (1, 1)]),
        (128, 256, [(16, 32), (8, 16), (4, 8), (2, 4), (1, 2)]),
        (70, 41, [(9, 6), (5, 3), (3, 2), (2, 1), (1, 1)]),
    ],
)
def test_outputs_belong_to_the_anchors_of_the_canvas(
    height: int, width: int, shapes: list[tuple[int, int]]
) -> None:
    model = build(num_classes=5).eval()
    with torch.no_grad():
        found = model(images(height, width))
    num_anchors = 6 * sum(rows * columns for rows, columns in shapes)
    assert list(found.level_shapes) == shapes
    assert found.logits.shape == (2, num_anchors, 5)
    assert found.deltas.shape == (2, num_anchors, 4)
    assert sum(found.level_sizes) == num_anchors
    assert found.level_sizes == [6 * rows * columns for rows, columns in shapes]
    assert torch.equal(found.anchors, ANCHORS(shapes, (8, 16, 32, 64, 128)))
    torch.testing.assert_close(found.box_std, torch.tensor(BOX_STD))


def test_rows_of_the_output_are_those_of_the_anchors() -> None:
    """The logits of a level, a cell and an anchor stand where that anchor stands."""
    model = build(num_classes=2, depth=0).eval()
    seen: list[Tensor] = []
    for head in (model.classification, model.regression):
        head.register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        found = model(images())
    classes, offsets = seen[:5], seen[5:]
    starts = [0, *torch.tensor(found.level_sizes).cumsum(0).tolist()]
    for level, row, column, anchor in [(0, 0, 0, 0), (0, 3, 7, 5), (1, 5, 9, 2), (4, 0, 1, 3)]:
        columns = found.level_shapes[level][1]
        place = starts[level] + (row * columns + column) * 6 + anchor
        for number in range(2):
            expected = classes[level][1, anchor * 2 + number, row, column]
            assert found.logits[1, place, number] == expected
        for number in range(4):
            expected = offsets[level][1, anchor * 4 + number, row, column]
            assert found.deltas[1, place, number] == expected


@pytest.mark.parametrize("prior", [0.01, 0.3])
def test_every_class_starts_with_the_prior(prior: float) -> None:
    model = build(prior=prior).eval()
    with torch.no_grad():
        found = model(images())
    scores = found.logits.sigmoid()
    assert scores.mean().item() == pytest.approx(prior, rel=0.1)
    assert model.classification[-1].bias.tolist() == pytest.approx(
        [math.log(prior / (1 - prior))] * 18
    )
    assert model.regression[-1].bias.tolist() == [0.0] * 24


def test_convolutions_of_heads_start_small_and_without_bias() -> None:
    model = build(depth=2, head_norm="group")
    for head in (model.classification, model.regression):
        convolutions = [layer for layer in head if isinstance(layer, nn.Conv2d)]
        assert len(convolutions) == 3
        for layer in convolutions:
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.1)
        assert all(not layer.bias.any() for layer in convolutions[:-1] if layer.bias is not None)


@pytest.mark.parametrize(("p6_from", "channels"), [("c5", 96), ("p5", 32)])
def test_p6_is_made_from_c5_or_p5(p6_from: str, channels: int) -> None:
    model = build(p6_from=p6_from)
    assert model.backbone.channels == [48, 192, 96]
    assert model.pyramid.extra_blocks.p6.in_channels == channels


@pytest.mark.parametrize("p6_from", ["c5", "p5"])
def test_p6_is_what_it_says_even_with_as_many_channels(p6_from: str) -> None:
    pyramid = Pyramid(channels=8, p6_from=p6_from)([4, 4, 8]).eval()  # type: ignore[arg-type]
    c3, c4, c5 = (torch.randn(1, count, size, size) for count, size in ((4, 8), (4, 4), (8, 2)))
    with torch.no_grad():
        found = pyramid({"p3": c3, "p4": c4, "p5": c5})
        source = c5 if p6_from == "c5" else found["p5"]
        p6 = pyramid.extra_blocks.p6(source)
        p7 = pyramid.extra_blocks.p7(p6.relu())
    assert list(found) == ["p3", "p4", "p5", "p6", "p7"]
    torch.testing.assert_close(found["p6"], p6)
    torch.testing.assert_close(found["p7"], p7)
    assert all(each.shape[1] == 8 for each in found.values())


@pytest.mark.parametrize("depth", [0, 1, 4])
@pytest.mark.parametrize("norm", ["none", "group"])
def test_a_head_has_its_depth_channels_and_norm(depth: int, norm: str) -> None:
    head = Head(channels=64, depth=depth, norm=norm)(16, num_outputs=5, bias=-2.0)  # type: ignore[arg-type]
    kinds = [type(layer).__name__ for layer in head]
    middle = ["Conv2d", "GroupNorm", "ReLU"] if norm == "group" else ["Conv2d", "ReLU"]
    assert kinds == [*middle * depth, "Conv2d"]
    widths = [layer.out_channels for layer in head if isinstance(layer, nn.Conv2d)]
    assert widths == [64] * depth + [5]
    found = head(torch.randn(2, 16, 3, 7))
    assert found.shape == (2, 5, 3, 7)
    assert found.mean().item() == pytest.approx(-2.0, abs=0.5)


def test_heads_are_shared_by_the_levels() -> None:
    model = build(num_classes=3, depth=0).eval()
    calls: list[Tensor] = []
    model.classification.register_forward_hook(lambda _, given, __: calls.append(given[0]))
    with torch.no_grad():
        found = model(images())
        parts = found.logits.split(found.level_sizes, dim=1)
        for level, part in zip(calls[:5], parts, strict=True):
            again = model.classification(level).permute(0, 2, 3, 1).reshape(2, -1, 3)
            torch.testing.assert_close(again, part)
    names = [name for name, _ in model.named_parameters() if name.startswith("classification")]
    assert names == ["classification.0.weight", "classification.0.bias"]


@pytest.mark.parametrize("p6_from", ["c5", "p5"])
@pytest.mark.parametrize("head_norm", ["none", "group"])
def test_every_parameter_gets_a_gradient(p6_from: str, head_norm: str) -> None:
    model = build(p6_from=p6_from, head_norm=head_norm, depth=2).train()
    for module in model.backbone.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm starts a residual branch at 0
            nn.init.ones_(module.weight)
    boxes = torch.zeros(2, 2, 4)
    boxes[0] = torch.tensor([[10.0, 10, 40, 60], [64.0, 16, 128, 80]])
    labels = torch.tensor([[0, 2], [-1, -1]])
    found = model(images())
    losses = LOSS(found, BoxTargets(boxes, labels, [], torch.zeros(0, 2)))
    assert all(value.isfinite() for value in losses.values())
    sum(losses.values()).backward()  # type: ignore[union-attr]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_an_image_gets_the_same_whatever_is_beside_it() -> None:
    model = build().eval()
    both = images()
    with torch.no_grad():
        together, alone = model(both), model(both[1:])
    torch.testing.assert_close(together.logits[1:], alone.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.deltas[1:], alone.deltas, rtol=1e-4, atol=1e-5)


def test_a_state_makes_the_same_network_again() -> None:
    model, other = build().eval(), build(box_std=[1.0] * 4).eval()
    state = model.state_dict()
    assert torch.equal(state["box_std"], torch.tensor(BOX_STD))
    other.load_state_dict(state)
    with torch.no_grad():
        ours, theirs = model(images()), other(images())
    for name in ("logits", "deltas", "anchors", "box_std"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))


def test_anchors_follow_the_canvas_alone() -> None:
    model = build().eval()
    with torch.no_grad():
        first, second = model(images()), model(images(seed=1))
        other = model(images(64, 64))
    assert torch.equal(first.anchors, second.anchors)
    assert len(other.anchors) < len(first.anchors)
    assert not first.anchors.requires_grad


def test_a_copy_has_anchors_and_its_norms_stay_fixed() -> None:
    model = build(norm="frozen_statistics").train()
    before = model(images()).anchors
    average = copy.deepcopy(model).train()
    norms = [module for module in average.backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(module.training for module in norms)
    found = average(images())
    assert torch.equal(found.anchors, before)
    with torch.no_grad():
        for parameter in average.parameters():
            parameter.zero_()
    again = average(images())
    assert not again.deltas.any()
    assert model(images()).deltas.any()


def test_half_precision_leaves_the_anchors_in_float32() -> None:
    model = build().eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(images())
    assert found.logits.dtype == found.deltas.dtype == torch.bfloat16
    assert found.anchors.dtype == found.box_std.dtype == torch.float32


def test_an_anchor_made_without_gradients_serves_training_too() -> None:
    model = build().eval()
    with torch.inference_mode():
        model(images())
    found = model(images())
    boxes = torch.tensor([[[9.0, 9.0, 30.0, 30.0]]] * 2)
    losses = LOSS(found, BoxTargets(boxes, torch.zeros(2, 1).long(), [], torch.zeros(0, 2)))
    sum(losses.values()).backward()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ({"prior": 0.0}, r"^prior must be in \(0, 1\), got 0\.0$"),
        ({"prior": 1.0}, r"^prior must be in \(0, 1\), got 1\.0$"),
        ({"prior": float("nan")}, r"^prior must be in \(0, 1\), got nan$"),
        ({"box_std": [1.0] * 3}, r"^box_std must be 4 numbers > 0, got \[1\.0, 1\.0, 1\.0\]$"),
        ({"box_std": [1, 1, 0, 1]}, r"^box_std must be 4 numbers > 0, got \[1, 1, 0, 1\]$"),
        (
            {"anchors": Anchors(sizes_px=[8, 16], ratios=[1.0], scales=[1.0])},
            r"^anchors\.sizes_px must have 5 numbers, one for each of P3 to P7, got \[8, 16\]$",
        ),
        ({"channels": 0}, r"^channels must be >= 1, got 0$"),
        ({"p6_from": "p6"}, r"^p6_from must be one of c5, p5, got 'p6'$"),
        ({"depth": -1}, r"^depth must be >= 0, got -1$"),
        ({"head_norm": "batch"}, r"^norm must be one of none, group, got 'batch'$"),
    ],
)
def test_wrong_settings_are_refused(rest: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**rest)


@pytest.mark.parametrize(
    ("channels", "norm", "message"),
    [
        (0, "none", "^channels must be >= 1, got 0$"),
        (80, "group", "^channels must be a multiple of 32 from 64 on for group norm, got 80$"),
        (32, "group", "^channels must be a multiple of 32 from 64 on for group norm, got 32$"),
    ],
)
def test_wrong_channels_of_a_head_are_refused(channels: int, norm: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Head(channels=channels, depth=1, norm=norm)  # type: ignore[arg-type]
