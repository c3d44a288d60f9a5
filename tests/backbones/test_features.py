import copy
from typing import Any, NoReturn, get_args

import pytest
import timm
import torch
from torch import Tensor, nn

from visionlab.backbones.features import Backbone, Features, Norm
from visionlab.backbones.timm_models import check_name, create

FIXED = ("frozen_statistics", "frozen")


def build(name: str = "resnet10t", **settings: Any) -> Features:
    defaults = {"pretrained": False, "norm": "trained"}
    return Backbone(name=name, **{**defaults, **settings})(strides=(8, 16, 32))


def batch_norms(module: nn.Module) -> list[nn.Module]:
    return [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]


def statistics(module: nn.Module) -> dict[str, Tensor]:
    """Return the running statistics of a network's norms."""
    return {
        name: value.clone()
        for name, value in module.state_dict().items()
        if name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    }


def train_once(features: Features) -> None:
    """Make one step of training on noise that is far from normalised."""
    optimizer = torch.optim.SGD([each for each in features.parameters() if each.requires_grad])
    images = 5 + 3 * torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    sum(each.square().mean() for each in features(images)).backward()  # type: ignore[union-attr]
    optimizer.step()


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet18", [128, 256, 512]),
        ("resnet50", [512, 1024, 2048]),
        ("efficientnet_b0", [40, 112, 320]),
        ("convnext_atto", [80, 160, 320]),  # its features are numbered from stride 4 on
    ],
)
def test_features_have_strides_8_16_and_32(name: str, channels: list[int]) -> None:
    features = build(name).eval()
    assert features.channels == channels
    with torch.no_grad():
        found = features(torch.zeros(2, 3, 64, 96))
    assert [each.shape for each in found] == [
        (2, count, 64 // stride, 96 // stride)
        for count, stride in zip(channels, (8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize(
    ("name", "strides"), [("test_vit", "16, 16, 16"), ("levit_128s", "16, 32, 64")]
)
def test_a_model_without_the_strides_is_refused(name: str, strides: str) -> None:
    with pytest.raises(ValueError, match="feature maps at strides 8, 16, 32") as caught:
        build(name)
    assert str(caught.value) == (
        f"model.backbone.name must give feature maps at strides 8, 16, 32, got {name!r} "
        f"with {strides}"
    )


@pytest.mark.parametrize(
    "error",
    [RuntimeError("features_only not implemented\nfor it"), AttributeError("no such thing")],
)
def test_a_model_that_gives_no_feature_maps_is_refused(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    backbone = Backbone(name="resnet10t", pretrained=False, norm="trained")

    def fail(*values: Any, **named: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(
        ValueError, match=r"^model\.backbone\.name must give feature maps, got 'resnet10t'$"
    ):
        backbone(strides=(8, 16, 32))


def test_an_unknown_name_is_refused_with_names_like_it() -> None:
    message = "name must be a model of timm, got 'resnet81'; did you mean .*resnet18"
    with pytest.raises(ValueError, match=message):
        build("resnet81")
    with pytest.raises(ValueError, match=message):
        check_name("resnet81")
    check_name("resnet18.a1_in1k")


def test_an_unknown_norm_is_refused() -> None:
    message = "norm must be one of trained, frozen_statistics, frozen, group, got 'batch'"
    with pytest.raises(ValueError, match=message):
        build(norm="batch")


@pytest.mark.parametrize(("pretrained", "key"), [(True, "model"), (False, "model.backbone")])
def test_a_message_of_timm_names_the_key(
    monkeypatch: pytest.MonkeyPatch, pretrained: bool, key: str
) -> None:
    def fail(*values: Any, **named: Any) -> NoReturn:
        raise RuntimeError("no weights\nand more")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(ValueError, match="no weights") as caught:
        create("resnet18", pretrained=pretrained, key=key)
    expected = (
        f"{key}.pretrained=true needs weights of 'resnet18' from the network or a cache; "
        f"{key}.pretrained=false trains without, model.backbone.weights=FILE with those of "
        "a file (no weights)"
        if pretrained
        else f"{key}.name must be a model of timm, no weights"
    )
    assert str(caught.value) == expected


def test_trained_norms_follow_the_images() -> None:
    features = build(norm="trained").train()
    before = statistics(features)
    train_once(features)
    after = statistics(features)
    assert all(not torch.equal(value, before[name]) for name, value in after.items())
    assert all(each.training for each in batch_norms(features))


@pytest.mark.parametrize("norm", FIXED)
def test_fixed_norms_keep_their_statistics_and_use_them(norm: str) -> None:
    features = build(norm=norm).train()
    before = statistics(features)
    images = torch.randn(2, 3, 64, 64)
    in_training = features(images)
    train_once(features)
    after = statistics(features)
    assert before
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    expected = build(norm=norm)
    torch.manual_seed(0)
    expected.load_state_dict(features.state_dict())
    for ours, theirs in zip(features(images), expected.eval()(images), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert all(each.isfinite().all() for each in in_training)


@pytest.mark.parametrize(("norm", "is_trained"), [("frozen_statistics", True), ("frozen", False)])
def test_weights_of_norms_are_trained_unless_they_are_frozen(norm: str, is_trained: bool) -> None:
    features = build(norm=norm).train()
    parameters = [each for module in batch_norms(features) for each in module.parameters()]
    before = [each.detach().clone() for each in parameters]
    train_once(features)
    assert all(each.requires_grad == is_trained for each in parameters)
    is_changed = [not torch.equal(now, then) for now, then in zip(parameters, before, strict=True)]
    assert any(is_changed) == is_trained
    others = {id(each) for each in features.parameters()} - {id(each) for each in parameters}
    assert all(each.requires_grad for each in features.parameters() if id(each) in others)


@pytest.mark.parametrize("norm", FIXED)
def test_fixed_norms_stay_fixed_in_a_copy_and_whatever_mode_is_set(norm: str) -> None:
    model = nn.Sequential(build(norm=norm), nn.Identity())
    for each in (model, copy.deepcopy(model), copy.deepcopy(copy.deepcopy(model).eval())):
        for mode in (True, False, True):
            each.train(mode)
            assert each[0].training == mode
            assert not any(module.training for module in batch_norms(each))
        others = [
            module
            for module in each[0].body.modules()
            if not isinstance(module, nn.BatchNorm2d) and not list(module.children())
        ]
        assert any(module.training for module in others)


def test_a_copy_shares_no_norm_with_the_original() -> None:
    features = build(norm="frozen_statistics")
    other = copy.deepcopy(features).train()
    mine = {id(module) for module in features.modules()}
    assert not mine & {id(module) for module in other.modules()}


def test_group_norm_replaces_every_batch_norm() -> None:
    features = build("resnet18", norm="group").train()
    plain = build("resnet18")
    assert not batch_norms(features)
    groups = [each for each in features.modules() if isinstance(each, nn.GroupNorm)]
    assert [(each.num_groups, each.num_channels) for each in groups] == [
        (32, each.num_features) for each in batch_norms(plain)
    ]
    train_once(features)
    one, two = torch.randn(2, 1, 3, 64, 64)
    for alone, together in zip(features(one), features(torch.cat([one, two])), strict=True):
        torch.testing.assert_close(alone, together[:1], rtol=1e-3, atol=1e-4)


def test_group_norm_is_refused_where_a_norm_does_more_or_channels_do_not_fit() -> None:
    message = r"model\.backbone\.norm=group must find plain batch norms of a multiple of 32 "
    with pytest.raises(ValueError, match=message + r"channels, got bn1 \(BatchNormAct2d, 32"):
        build("efficientnet_b0", norm="group")
    with pytest.raises(ValueError, match=message + r"channels, got conv1\.1 \(BatchNorm2d, 24 ch"):
        build("resnet10t", norm="group")


def test_every_norm_builds() -> None:
    assert set(get_args(Norm)) == {"trained", "group", *FIXED}
    for norm in get_args(Norm):
        assert build("resnet18", norm=norm).channels == [128, 256, 512]
