"""Weights of a backbone, from whatever file, into whatever model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from timm.models import adapt_input_conv
from torch import Tensor, nn

from visionlab.backbones.features import Backbone
from visionlab.backbones.initial import (
    BackboneWeights,
    Loaded,
    adapt_channels,
    describe,
    initialise_classifier,
    load_backbone,
)
from visionlab.files.tensors import write_tensors
from visionlab.tasks.classification.model import ResNetCifar, ResNetSmallImages


class Detector(nn.Module):
    """A backbone and a head, named as in ours."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(2, 2)


def features(name: str = "test_resnet", strides: Any = (8, 16, 32), norm: Any = "trained") -> Any:
    return Backbone(name=name, pretrained=False, norm=norm)(strides=strides)


def noise(model: nn.Module) -> dict[str, Tensor]:
    """Return a state of a model in which all tensors differ from its own."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(value.shape, generator=generator) if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def load(model: nn.Module, path: Path, **settings: Any) -> Loaded:
    return load_backbone(model, BackboneWeights(weights=str(path), **settings))


RESNET = noise(timm.create_model("test_resnet", num_classes=3))
BODY = {name: value for name, value in RESNET.items() if not name.startswith("fc.")}
OTHERS = {name: value + 1 for name, value in BODY.items()}
QUEUE = {"queue": torch.zeros(4, 9), "queue_ptr": torch.zeros(1, dtype=torch.long)}
FILES: dict[str, Any] = {
    "classifier": RESNET,
    "a classifier's run": {"model": RESNET, "step": 3},
    "backbone alone": BODY,
    "detector's run": {
        "model": prefixed("backbone.body.", BODY) | {"head.weight": torch.ones(2)},
        "config": {"task": {"name": "detection"}},
    },
    "encoder of a pretraining": {
        "model": prefixed("backbone.", BODY) | {"head.0.bias": BODY["bn1.bias"]}
    },
    "whole pretraining": {
        "model": prefixed("query.backbone.", BODY) | prefixed("key.backbone.", OTHERS) | QUEUE,
        "evaluated": "query",
    },
    "reference MoCo v1": {
        "epoch": 200,
        "arch": "resnet",
        "state_dict": prefixed("module.encoder_q.", RESNET)
        | prefixed("module.encoder_k.", OTHERS)
        | prefixed("module.", QUEUE),
    },
    "reference MoCo v2": {
        "state_dict": prefixed("module.encoder_k.", OTHERS)
        | prefixed("module.encoder_q.", BODY | {"fc.0.weight": torch.ones(3, 2)})
        | {"module.encoder_q.fc.2.bias": torch.ones(3)},
    },
    "Lightning": {"state_dict": prefixed("model.", RESNET), "epoch": 2},
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("task", ["classification", "detection", "keypoints"])
def test_a_backbone_is_found_in_every_file_for_every_task(
    tmp_path: Path, kind: str, task: str
) -> None:
    models: dict[str, nn.Module] = {
        "classification": timm.create_model("test_resnet", num_classes=5),
        "detection": Detector(features()),
        "keypoints": Detector(features(strides=[8])),  # without later layers
    }
    path, model = tmp_path / "weights.pt", models[task]
    heads = {name: value.clone() for name, value in model.state_dict().items()}
    torch.save(FILES[kind], path)
    loaded = load(model, path)
    found = model.state_dict()
    prefix = "" if task == "classification" else "backbone.body."
    assert all(torch.equal(found[name], BODY[name.removeprefix(prefix)]) for name in loaded.taken)
    assert set(loaded.taken) | set(loaded.fresh) == set(found)
    assert all(torch.equal(found[name], heads[name]) for name in loaded.fresh)
    assert set(loaded.fresh) == {
        name for name in found if name.startswith("fc.") or not name.startswith(prefix)
    }
    assert any(name.startswith("layer4.") for name in loaded.unused) == (task == "keypoints")


def test_what_was_taken_is_described_in_one_line(tmp_path: Path) -> None:
    save_file(RESNET, tmp_path / "a.safetensors")
    loaded = load(timm.create_model("test_resnet", num_classes=5), tmp_path / "a.safetensors")
    assert len(loaded.sha256) == 64
    assert describe(loaded) == (
        f"backbone from {tmp_path / 'a.safetensors'}: {len(BODY)} tensors taken, "
        "2 fresh (fc.weight, fc.bias), 2 unused (fc.bias, fc.weight)"  # as the file has them
    )


def test_a_run_gives_its_best_weights_else_its_last(tmp_path: Path) -> None:
    model, folder = timm.create_model("test_resnet"), tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    with pytest.raises(
        FileNotFoundError, match=r"model.backbone.weights must .* without .*best.pt"
    ):
        load(model, tmp_path / "run")
    write_tensors(folder / "last.pt", {"model": RESNET})
    assert load(model, tmp_path / "run").file.endswith("last.pt")
    write_tensors(folder / "best.pt", {"model": prefixed("backbone.", OTHERS)})
    assert load(model, tmp_path / "run").file.endswith("best.pt")
    assert torch.equal(model.state_dict()["bn1.bias"], OTHERS["bn1.bias"])


def test_the_home_folder_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(RESNET, tmp_path / "a.pt")
    load(timm.create_model("test_resnet"), Path("~/a.pt"))
    with pytest.raises(FileNotFoundError, match=r"model.backbone.weights .* nothing: .*no\.pt"):
        load(timm.create_model("test_resnet"), Path("~/no.pt"))


def test_a_file_of_torchvision_fits_our_networks(tmp_path: Path) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save(noise(torchvision.models.resnet18()), path)
    assert load(torchvision.models.resnet18(), path).fresh == ["fc.weight", "fc.bias"]
    assert load(timm.create_model("resnet18"), path).fresh == ["fc.weight", "fc.bias"]
    small = load(ResNetSmallImages(depth=18)(num_classes=10), path)
    assert small.fresh == ["conv1.weight", "fc.weight", "fc.bias"]  # 3x3 instead of 7x7
    path = tmp_path / "resnet8.pt"
    torch.save({"model": noise(ResNetCifar(depth=8)(num_classes=3))}, path)
    assert load(ResNetCifar(depth=8)(num_classes=2), path).fresh == ["fc.weight", "fc.bias"]


def test_features_with_flat_names_find_their_weights(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_convnext").state_dict(), tmp_path / "a.pt")
    loaded = load(Detector(features("test_convnext", strides=[8, 16])), tmp_path / "a.pt")
    assert "backbone.body.stem_0.weight" in loaded.taken
    assert loaded.fresh == ["head.weight", "head.bias"]


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("resnet18", "resnet34", r"differs in \d\d of \d+ .*layer1.2.conv1.weight is not in the f"),
        ("resnet18", "resnet50", r"differs in \d+ of .*layer1.0.conv1.weight has shape \(64, 64"),
        ("resnet50", "resnet18", r"differs in \d+ of .*layer1.0.conv1.weight has shape .* 1, 1\)"),
        ("resnet18", "efficientnet_b0", "share tensors with the backbone, got none"),
    ],
)
def test_another_backbone_is_refused_by_what_differs(
    tmp_path: Path, name: str, other: str, message: str
) -> None:
    torch.save(timm.create_model(name).state_dict(), tmp_path / "a.pt")
    model = Detector(features(other))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=rf"^model.backbone.weights must .*{message}") as e:
        load(model, tmp_path / "a.pt")
    assert "\n" not in str(e.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_model_whose_backbone_is_not_known_takes_none(tmp_path: Path) -> None:
    torch.save(RESNET, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"^model.backbone.weights must be null .* got .*a\.pt"):
        load(nn.Sequential(nn.Linear(2, 2)), tmp_path / "a.pt")


def test_group_norms_keep_their_start_where_the_file_has_batch_norms(tmp_path: Path) -> None:
    torch.save(noise(timm.create_model("resnet18")), tmp_path / "batch.pt")
    grouped = Detector(features("resnet18", norm="group"))
    loaded = load(grouped, tmp_path / "batch.pt")
    assert torch.equal(grouped.state_dict()["backbone.body.bn1.weight"], torch.ones(64))
    assert "backbone.body.bn1.weight" in loaded.fresh
    torch.save(noise(grouped), tmp_path / "group.pt")
    assert load(grouped, tmp_path / "group.pt").fresh == ["head.weight", "head.bias"]
    loaded = load(timm.create_model("resnet18"), tmp_path / "group.pt")
    assert {"bn1.weight", "bn1.running_mean"} <= set(loaded.fresh)


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_a_stem_is_adapted_on_request_as_in_timm(tmp_path: Path, channels: int) -> None:
    torch.save(RESNET, tmp_path / "a.pt")
    model = timm.create_model("test_resnet", in_chans=channels)
    name = "conv1.0.weight"
    assert name in load(model, tmp_path / "a.pt").fresh
    loaded = load(model, tmp_path / "a.pt", adapt_stem=True)
    assert loaded.adapted == [name]
    assert name not in loaded.fresh
    expected = adapt_input_conv(channels, RESNET[name])
    assert torch.allclose(model.state_dict()[name], expected)


def test_a_grey_stem_answers_a_grey_image_in_colour_alike() -> None:
    weight = torch.randn(5, 1, 3, 3)
    grey = torch.randn(2, 1, 8, 8)
    answer = nn.functional.conv2d(grey.expand(-1, 3, -1, -1), adapt_channels(weight, 3))
    assert torch.allclose(answer, nn.functional.conv2d(grey, weight), atol=1e-5)


def test_a_classifier_starts_with_a_standard_deviation() -> None:
    model = ResNetCifar(depth=8)(num_classes=500)
    initialise_classifier(model, 0.01)
    assert model.get_parameter("fc.weight").std().item() == pytest.approx(0.01, rel=0.05)
    assert not model.get_parameter("fc.bias").any()
    with pytest.raises(ValueError, match=r"model.classifier_std must be null .*, got 0.01"):
        initialise_classifier(nn.Sequential(), 0.01)
