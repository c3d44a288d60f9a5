import copy
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import timm
import timm.optim
import torch
from omegaconf import OmegaConf
from torch import nn

from visionlab.backbones.small_images import CifarNet
from visionlab.optim.optimizers import Adam, OptimizerSettings, Sgd, parameter_groups

SGD: dict[str, Any] = {
    "lr": 0.1,
    "weight_decay": 0.01,
    "momentum": 0.9,
    "nesterov": False,
    "decay_norms_and_biases": True,
    "layer_decay": None,
}
ADAM: dict[str, Any] = {
    "lr": 0.01,
    "weight_decay": 0.05,
    "decoupled_weight_decay": False,
    "betas": [0.9, 0.99],
    "eps": 1e-6,
    "amsgrad": False,
    "decay_norms_and_biases": True,
    "layer_decay": None,
}


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
    )


def make_vit() -> nn.Module:
    vit: nn.Module = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=3
    )
    return vit


def take_steps(model: nn.Module, optimizer: torch.optim.Optimizer, num_steps: int = 5) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(num_steps):
        optimizer.zero_grad()
        model(torch.randn(4, 3, 6, 6, generator=generator)).square().mean().backward()
        optimizer.step()


def same_weights(module: nn.Module, other: nn.Module) -> bool:
    pairs = zip(module.parameters(), other.parameters(), strict=True)
    return all(torch.equal(ours, theirs) for ours, theirs in pairs)


def setting_by_name(
    model: nn.Module, groups: Sequence[dict[str, Any]], setting: str
) -> dict[str, float]:
    """Return a group's setting for each parameter; fails if one is in two groups."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    pairs = [(names[p], group[setting]) for group in groups for p in group["params"]]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def groups_of(model: nn.Module, **changes: Any) -> list[dict[str, Any]]:
    values = {
        "lr": 1.0,
        "weight_decay": 0.1,
        "decay_norms_and_biases": True,
        "layer_decay": None,
    }
    return parameter_groups(model, OptimizerSettings(**{**values, **changes}))


@pytest.mark.parametrize(
    "changes", [{}, {"momentum": 0.0}, {"nesterov": True}, {"weight_decay": 0.0}]
)
def test_sgd_takes_the_steps_of_torch(changes: dict[str, Any]) -> None:
    values = {**SGD, **changes}
    ours = make_net()
    theirs = copy.deepcopy(ours)
    take_steps(ours, Sgd(**values)(ours))
    plain = {key: values[key] for key in ("lr", "weight_decay", "momentum", "nesterov")}
    take_steps(theirs, torch.optim.SGD(theirs.parameters(), **plain))
    assert same_weights(ours, theirs)
    assert not same_weights(ours, make_net())


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("changes", [{}, {"amsgrad": True}, {"weight_decay": 0.0}])
def test_adam_and_adamw_take_the_steps_of_torch(changes: dict[str, Any], decoupled: bool) -> None:
    values = {**ADAM, **changes}
    ours = make_net()
    theirs = copy.deepcopy(ours)
    optimizer = Adam(**{**values, "decoupled_weight_decay": decoupled})(ours)
    take_steps(ours, optimizer)
    plain = {key: values[key] for key in ("lr", "weight_decay", "betas", "eps", "amsgrad")}
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    take_steps(theirs, kind(theirs.parameters(), fused=True, **plain))
    assert type(optimizer) is kind
    assert same_weights(ours, theirs)


def test_coupled_and_decoupled_weight_decay_differ() -> None:
    coupled, decoupled = make_net(), make_net()
    take_steps(coupled, Adam(**ADAM)(coupled))
    take_steps(decoupled, Adam(**{**ADAM, "decoupled_weight_decay": True})(decoupled))
    assert not same_weights(coupled, decoupled)


def test_a_list_of_omegaconf_is_taken_as_betas() -> None:
    optimizer = Adam(**{**ADAM, "betas": OmegaConf.create([0.8, 0.95])})(make_net())
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.95)


@pytest.mark.parametrize("layer_decay", [None, 0.5])
@pytest.mark.parametrize("decays_all", [False, True])
def test_groups_hold_every_trained_parameter_once(
    decays_all: bool, layer_decay: float | None
) -> None:
    for model in (make_net(), CifarNet(num_blocks=1, num_classes=3), make_vit()):
        groups = groups_of(model, decay_norms_and_biases=decays_all, layer_decay=layer_decay)
        lrs = setting_by_name(model, groups, "lr")
        assert set(lrs) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("decays_all", [False, True])
@pytest.mark.parametrize("make", [make_net, make_vit])
def test_groups_are_those_of_timm(
    make: Callable[[], nn.Module], decays_all: bool, weight_decay: float
) -> None:
    model = make()
    ours = groups_of(model, decay_norms_and_biases=decays_all, weight_decay=weight_decay)
    theirs = timm.optim.param_groups_weight_decay(
        model,
        weight_decay=weight_decay,
        weight_decay_exclude_1d=not decays_all,
        no_weight_decay_list=() if decays_all else getattr(model, "no_weight_decay", tuple)(),
    )
    for own, other in zip(ours, theirs, strict=True):
        assert own["weight_decay"] == other["weight_decay"]
        pairs = zip(own["params"], other["params"], strict=True)
        assert all(parameter is same for parameter, same in pairs)


@pytest.mark.parametrize("layer_decay", [None, 0.5])
def test_norms_and_biases_alone_are_not_decayed(layer_decay: float | None) -> None:
    model = make_net()
    groups = groups_of(model, decay_norms_and_biases=False, layer_decay=layer_decay)
    assert setting_by_name(model, groups, "weight_decay") == {
        "0.weight": 0.1,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
        "4.weight": 0.1,
        "4.bias": 0.0,
    }
    groups = groups_of(model, decay_norms_and_biases=True, layer_decay=layer_decay)
    assert set(setting_by_name(model, groups, "weight_decay").values()) == {0.1}


@pytest.mark.parametrize("layer_decay", [None, 0.5])
def test_what_a_model_of_timm_exempts_is_not_decayed(layer_decay: float | None) -> None:
    vit = make_vit()
    exempt = {"cls_token", "pos_embed"}
    assert exempt <= vit.no_weight_decay()
    groups = groups_of(vit, decay_norms_and_biases=False, layer_decay=layer_decay)
    decays = setting_by_name(vit, groups, "weight_decay")
    shapes = {name: parameter.ndim for name, parameter in vit.named_parameters()}
    assert {name for name, decay in decays.items() if decay == 0.0} == exempt | {
        name for name, ndim in shapes.items() if ndim == 1
    }
    groups = groups_of(vit, decay_norms_and_biases=True, layer_decay=layer_decay)
    assert set(setting_by_name(vit, groups, "weight_decay").values()) == {0.1}


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_steps_without_decay_of_norms_and_biases_are_those_of_torch(name: str) -> None:
    ours = make_net()
    theirs = copy.deepcopy(ours)
    kinds: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for parameter in theirs.parameters():
        kinds[parameter.ndim > 1].append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": kinds[False], "weight_decay": 0.0},
        {"params": kinds[True], "weight_decay": 0.05},
    ]
    changes = {"weight_decay": 0.05, "decay_norms_and_biases": False}
    if name == "sgd":
        optimizer = Sgd(**{**SGD, **changes})(ours)
        oracle = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    else:
        optimizer = Adam(**{**ADAM, **changes, "decoupled_weight_decay": name == "adamw"})(ours)
        kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
        oracle = kind(groups, lr=0.01, betas=(0.9, 0.99), eps=1e-6, fused=True)
    take_steps(ours, optimizer)
    take_steps(theirs, oracle)
    assert same_weights(ours, theirs)


@pytest.mark.parametrize(
    ("num_blocks", "layers"),
    [
        (1, "conv1|bn1 layer1.0 layer2.0 layer3.0 fc"),
        (2, "conv1|bn1 layer1.0 layer1.1 layer2.0 layer2.1 layer3.0 layer3.1 fc"),
    ],
)
@pytest.mark.parametrize("decays_all", [False, True])
def test_each_layer_of_the_cifar_net_has_its_rate(
    num_blocks: int, layers: str, decays_all: bool
) -> None:
    model = CifarNet(num_blocks=num_blocks, num_classes=3)
    groups = groups_of(model, lr=0.2, layer_decay=0.5, decay_norms_and_biases=decays_all)
    lrs = setting_by_name(model, groups, "lr")
    expected = {}
    for distance, layer in enumerate(reversed(layers.split())):
        for name in lrs:
            if any(name.startswith(f"{prefix}.") for prefix in layer.split("|")):
                expected[name] = 0.2 * 0.5**distance
    assert lrs == pytest.approx(expected)
    assert setting_by_name(model, groups, "initial_lr") == lrs


def test_rates_of_layers_checked_by_hand() -> None:
    vit = make_vit()
    lrs = setting_by_name(vit, groups_of(vit, layer_decay=0.5), "lr")
    assert {name: lrs[name] for name in lrs if not name.startswith("blocks")} == {
        "cls_token": 0.125,
        "pos_embed": 0.125,
        "patch_embed.proj.weight": 0.125,
        "patch_embed.proj.bias": 0.125,
        "norm.weight": 0.5,  # timm counts it to the last block
        "norm.bias": 0.5,
        "head.weight": 1.0,
        "head.bias": 1.0,
    }
    for block, lr in (("blocks.0.", 0.25), ("blocks.1.", 0.5)):
        assert {lrs[name] for name in lrs if name.startswith(block)} == {lr}
    net = CifarNet(num_blocks=1, num_classes=3)
    lrs = setting_by_name(net, groups_of(net, layer_decay=0.1), "lr")
    assert lrs["fc.weight"] == 1.0
    assert lrs["layer3.0.bn2.weight"] == pytest.approx(0.1)
    assert lrs["conv1.weight"] == pytest.approx(1e-4)


def test_layer_decay_1_is_no_layer_decay() -> None:
    model = CifarNet(num_blocks=1, num_classes=3)
    for setting in ("lr", "initial_lr", "weight_decay"):
        with_decay = setting_by_name(model, groups_of(model, layer_decay=1.0), setting)
        assert with_decay == setting_by_name(model, groups_of(model), setting)


@pytest.mark.parametrize("layer_decay", [None, 0.5])
def test_frozen_parameters_are_left_out_and_do_not_move_the_others(
    layer_decay: float | None,
) -> None:
    model = CifarNet(num_blocks=1, num_classes=3)
    all_lrs = setting_by_name(model, groups_of(model, layer_decay=layer_decay), "lr")
    model.layer1.requires_grad_(False)
    model.fc.bias.requires_grad_(False)
    lrs = setting_by_name(model, groups_of(model, layer_decay=layer_decay), "lr")
    assert lrs == {
        name: lr
        for name, lr in all_lrs.items()
        if not name.startswith("layer1.") and name != "fc.bias"
    }


@pytest.mark.parametrize("layer_decay", [None, 0.5])
def test_optimizers_keep_the_rate_of_each_group_for_the_schedule(
    layer_decay: float | None,
) -> None:
    model = CifarNet(num_blocks=1, num_classes=3)
    for optimizer in (
        Sgd(**{**SGD, "layer_decay": layer_decay})(model),
        Adam(**{**ADAM, "layer_decay": layer_decay})(model),
    ):
        assert all(group["initial_lr"] == group["lr"] for group in optimizer.param_groups)
        lrs = setting_by_name(model, optimizer.param_groups, "initial_lr")
        base = SGD["lr"] if isinstance(optimizer, torch.optim.SGD) else ADAM["lr"]
        assert lrs["fc.weight"] == base
        assert lrs["conv1.weight"] == pytest.approx(base * (layer_decay or 1.0) ** 4)


@pytest.mark.parametrize("kind", [Sgd, Adam])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.0}, "lr must be > 0, got 0.0"),
        ({"lr": -0.1}, "lr must be > 0, got -0.1"),
        ({"lr": math.nan}, "lr must be > 0, got nan"),
        ({"weight_decay": -1e-4}, "weight_decay must be >= 0, got -0.0001"),
        ({"weight_decay": math.nan}, "weight_decay must be >= 0, got nan"),
        ({"layer_decay": 0.0}, "layer_decay must be in (0, 1] or null, got 0.0"),
        ({"layer_decay": 1.1}, "layer_decay must be in (0, 1] or null, got 1.1"),
    ],
)
def test_values_out_of_range_are_refused(
    kind: type[Sgd] | type[Adam], changes: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        kind(**{**(SGD if kind is Sgd else ADAM), **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"momentum": 1.0}, "momentum must be in [0, 1), got 1.0"),
        ({"momentum": -0.1}, "momentum must be in [0, 1), got -0.1"),
        (
            {"momentum": 0.0, "nesterov": True},
            "momentum must be > 0 with nesterov, got 0.0",
        ),
    ],
)
def test_wrong_momentum_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Sgd(**{**SGD, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"betas": [0.9]}, "betas must be two numbers, got [0.9]"),
        ({"betas": [0.9, 0.99, 0.999]}, "betas must be two numbers, got [0.9, 0.99, 0.999]"),
        ({"betas": [0.9, 1.0]}, "betas must be in [0, 1), got 1.0"),
        ({"betas": [-0.1, 0.9]}, "betas must be in [0, 1), got -0.1"),
        ({"eps": 0.0}, "eps must be > 0, got 0.0"),
    ],
)
def test_wrong_settings_of_adam_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Adam(**{**ADAM, **changes})
