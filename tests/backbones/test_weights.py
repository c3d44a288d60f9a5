import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from visionlab.backbones.files import read_weights
from visionlab.backbones.weights import backbone_of, freeze, load_exactly
from visionlab.files.tensors import write_tensors
from visionlab.tasks.classification.model import ResNetCifar, ResNetSmallImages, TimmModel


def network(width: int = 4, num_classes: int = 3, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))
    return nn.Sequential(OrderedDict(body=body, head=nn.Linear(width, num_classes)))


def state(**changes: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network(**changes).state_dict().items()}


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        torch.equal(value, theirs[name]) for name, value in ours.items()
    )


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state().items()}


@pytest.mark.parametrize(
    "content",
    [
        state(),
        OrderedDict(state()),
        network().state_dict(),
        {"state_dict": state(), "epoch": 3},
        {"model": state(), "optimizer": {"state": {}}, "names": ["a"]},
        {"model_state_dict": state(), "loss": 0.5},
        {"model": "resnet", **state()},
        {"net": state(), "best_acc": torch.tensor(0.9), "optimizer": {"state": {0: {}}}},
        prefixed("_orig_mod."),
        state() | dict(network().named_parameters()),
    ],
    ids=lambda content: next(iter(content)),
)
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_are_found_in_files_of_torch(tmp_path: Path, content: Any, zipped: bool) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert same(read_weights(path), state())


WRAPPED = {
    "DDP": prefixed("module."),
    "DDP of a compiled model": prefixed("module._orig_mod."),
    "compiled DDP": prefixed("_orig_mod.module."),
    "compiled part": {k.replace("body.", "body._orig_mod."): v for k, v in state().items()},
    "AveragedModel": {"n_averaged": torch.tensor(7), **prefixed("module.")},
    "Lightning": {"state_dict": prefixed("model.") | {"loss.weight": torch.ones(3)}, "epoch": 1},
    "Lightning with net": {"state_dict": prefixed("net."), "hparams": {"lr": 0.1}},
    "encoder beside a decoder": prefixed("encoder.") | {"decoder.weight": torch.ones(2, 4)},
    "own attribute": prefixed("system.classifier."),
    "average of equal weights": prefixed("model.") | {"step": torch.tensor(3)},
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_weights_load_whatever_wrapper_named_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    path, model = tmp_path / "weights.pt", network(seed=1)
    torch.save(WRAPPED[kind], path)
    with caplog.at_level("INFO"):
        load_exactly(model, path)
    assert same(model.state_dict(), state())
    assert "compiled part" in kind or "without the prefix" in caplog.text


def test_weights_with_a_prefix_load_from_safetensors(tmp_path: Path) -> None:
    path, model = tmp_path / "weights.safetensors", network(seed=1)
    save_file(prefixed("module."), path)
    load_exactly(model, path)
    assert same(model.state_dict(), state())


def test_a_model_whose_own_names_begin_like_a_wrapper_keeps_them(tmp_path: Path) -> None:
    path, model = tmp_path / "weights.pt", nn.ModuleDict({"module": network(seed=1)})
    torch.save(prefixed("module."), path)
    load_exactly(model, path)
    assert same(model["module"].state_dict(), state())


def test_weights_without_the_counters_of_batch_norms_load(tmp_path: Path) -> None:
    path, model = tmp_path / "weights.pt", network(seed=1)
    torch.save({k: v for k, v in state().items() if "num_batches_tracked" not in k}, path)
    load_exactly(model, path)
    assert same(model.state_dict(), state())


def test_tensors_that_no_model_has_are_refused(tmp_path: Path) -> None:
    torch.save({0: torch.zeros(2)}, tmp_path / "numbered.pt")
    with pytest.raises(ValueError, match=r"numbered\.pt must hold weights, got the keys \['0'\]"):
        read_weights(tmp_path / "numbered.pt")
    for value in (torch.zeros(2, device="meta"), torch.zeros(2, dtype=torch.complex64)):
        torch.save({"a": value}, tmp_path / "odd.pt")
        with pytest.raises(ValueError, match=r"odd\.pt must hold dense, real tensors, .* as a$"):
            read_weights(tmp_path / "odd.pt")


@pytest.mark.parametrize(
    "content",
    [prefixed("teacher.") | prefixed("student."), {"teacher": state(), "student": state()}],
    ids=["prefixes", "dictionaries"],
)
def test_a_file_of_two_models_is_refused_by_their_names(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    with pytest.raises(ValueError, match=f"{path} must hold .* one model, got .*teacher.*student"):
        load_exactly(network(seed=1), path)


def test_weights_are_found_in_our_own_checkpoints_and_their_checksum_is_compared(
    tmp_path: Path,
) -> None:
    path = tmp_path / "best.pt"
    write_tensors(path, {"model": state(), "step": 3})
    assert same(read_weights(path), state())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} was altered"):
        read_weights(path)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"{tmp_path / name} must be a file, got nothing"):
        read_weights(tmp_path / name)


def save_zip(content: Any, path: Path) -> None:
    torch.save(content, path)


def save_legacy(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    ("name", "save"),
    [("zip.pt", save_zip), ("legacy.pt", save_legacy), ("weights.safetensors", save_file)],
)
def test_a_file_that_is_cut_short_is_named(
    tmp_path: Path, name: str, save: Callable[[Any, Path], None], share: float
) -> None:
    path = tmp_path / name
    save(state(), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=f"{path} "):
        read_weights(path)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"not weights", b"\0" * 200, b"<html>" * 100])
def test_a_file_of_another_kind_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} "):
        read_weights(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "names": ["a"]}, r"must hold weights, got the keys \['epoch', 'names'\]"),
        ({}, r"must hold weights, got the keys \[\]"),
        ({"model": {}}, r"must hold weights, got the keys \['model'\]"),
        ([1, 2], "must hold a dictionary, got list"),
        (torch.zeros(3), "must hold a dictionary, got Tensor"),
    ],
)
def test_a_file_without_weights_says_what_it_holds(
    tmp_path: Path, content: Any, message: str
) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    with pytest.raises(ValueError, match=message):
        read_weights(path)


class Intruder:
    """Creates a file when it is unpickled without care."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    path, marker = tmp_path / "weights.pt", tmp_path / "marker"
    content = state() | {"extra": Intruder(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=f"{path} must hold tensors and plain containers only"):
        read_weights(path)
    assert not marker.exists()


def test_a_bare_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    path, marker = tmp_path / "weights.pt", tmp_path / "marker"
    path.write_bytes(pickle.dumps({"model": Intruder(marker)}, protocol=2))
    with pytest.raises(ValueError, match=f"{path} "):
        read_weights(path)
    assert not marker.exists()


def test_a_whole_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(network(), path)
    message = f"{path} must hold tensors and plain containers only; .*Sequential.* state only"
    with pytest.raises(ValueError, match=message):
        read_weights(path)


@pytest.mark.filterwarnings("ignore")  # torch calls torch.jit deprecated
def test_a_torchscript_program_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "program.pt"
    torch.jit.script(nn.Linear(2, 3)).save(path)
    with pytest.raises(ValueError, match=f"{path} must .*, got a TorchScript program; .*state"):
        read_weights(path)


def test_loading_exactly_takes_every_parameter_and_buffer(tmp_path: Path) -> None:
    path, model = tmp_path / "weights.pt", network(seed=1)
    wanted = state()
    wanted["body.1.running_mean"] += 5
    torch.save({"state_dict": wanted}, path)
    load_exactly(model, path)
    assert same(model.state_dict(), wanted)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"head.bias": torch.zeros(9)},
            r"head.bias has shape \(9,\) in the file and \(3,\) in the model; model.backbone",
        ),
        ({"head.bias": None}, "head.bias is not in the file; model.backbone.weights"),
        ({"extra": torch.zeros(1)}, "extra is not in the model; model.backbone.weights"),
        (
            {"head.bias": None, "extra": torch.zeros(1), "head.weight": torch.zeros(2)},
            r"head.weight has shape \(2,\).*; head.bias is not .*; extra is not .*; model.backbone",
        ),
        (
            {f"extra{i}": torch.zeros(1) for i in range(5)},
            "extra4 is not in the model; model.backbone.weights",
        ),
        (
            {f"extra{i}": torch.zeros(1) for i in range(8)},
            "extra4 is not in .*; and 3 more; model.backbone.weights",
        ),
    ],
    ids=["shape", "missing", "unknown", "all kinds", "five", "eight"],
)
def test_loading_exactly_names_what_differs_and_changes_nothing(
    tmp_path: Path, changes: dict[str, Tensor | None], message: str
) -> None:
    path, model = tmp_path / "weights.pt", network(seed=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    content = state() | changes
    torch.save({name: value for name, value in content.items() if value is not None}, path)
    with pytest.raises(ValueError, match=f"{path} holds weights of another model: .*{message}"):
        load_exactly(model, path)
    assert same(model.state_dict(), before)


@pytest.mark.parametrize(
    ("patterns", "trained"),
    [
        ([], {"body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias"}),
        (["body.*"], set()),
        (["body.0.*"], {"body.1.weight", "body.1.bias"}),
        (["body.0.*", "body.1.*"], set()),
        (["body.*.bias"], {"body.0.weight", "body.1.weight"}),
        (["body.?.weight"], {"body.0.bias", "body.1.bias"}),
    ],
)
def test_frozen_is_what_a_pattern_matches(patterns: list[str], trained: set[str]) -> None:
    model = network()
    freeze(model, patterns)
    names = {name for name, value in model.named_parameters() if value.requires_grad}
    assert names == trained | {"head.weight", "head.bias"}


def test_a_pattern_matches_whole_names() -> None:
    model = nn.ParameterDict({name: torch.zeros(1) for name in ("scale", "scales", "rescale")})
    freeze(model, ["scale"])
    frozen = [name for name, value in model.named_parameters() if not value.requires_grad]
    assert frozen == ["scale"]


@pytest.mark.parametrize("pattern", ["layer9.*", "body", "BODY.*", "body.1.running_mean"])
def test_a_pattern_that_matches_no_parameter_is_refused(pattern: str) -> None:
    message = (
        f"model.freeze must match a parameter's name, got '{pattern}'; the names begin with body.0."
    )
    with pytest.raises(ValueError, match=message.replace("*", r"\*")):
        freeze(network(), ["head.*", pattern])


def test_freezing_everything_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"model.freeze must leave something to train, got \['\*'\]"
    ):
        freeze(network(), ["*"])


@pytest.mark.parametrize(
    ("recipe", "heads"),
    [
        (ResNetCifar(depth=8), ["fc"]),
        (ResNetSmallImages(depth=18), ["fc"]),
        (TimmModel(name="test_resnet", pretrained=False), ["fc"]),
        (TimmModel(name="test_efficientnet", pretrained=False), ["classifier"]),
        (TimmModel(name="test_convnext", pretrained=False), ["head.fc"]),
        (TimmModel(name="test_vit", pretrained=False), ["head"]),  # tokens of the model's own
        (TimmModel(name="levit_128s", pretrained=False), ["head", "head_dist"]),
    ],
    ids=lambda value: getattr(value, "name", None) or type(value).__name__,
)
def test_the_backbone_of_a_classifier_is_all_but_its_last_layer(
    recipe: Callable[..., nn.Module], heads: list[str]
) -> None:
    model = recipe(num_classes=3)
    parts = [id(each) for part in backbone_of(model) for each in part.parameters()]
    names = {id(each): name for name, each in model.named_parameters()}
    assert len(parts) == len(set(parts))
    found = {names[part] for part in parts}
    of_heads = {name for name in names.values() if name.startswith(tuple(f"{h}." for h in heads))}
    assert of_heads
    assert found == set(names.values()) - of_heads


def test_a_backbone_by_its_name_comes_first() -> None:
    model = network()
    model.backbone = "resnet18"  # type: ignore[assignment]
    assert backbone_of(model) == [model.body]  # all but what torchvision calls a head
    del model.backbone
    model.backbone = model.head
    model.get_classifier = lambda: model.head  # type: ignore[assignment]
    assert backbone_of(model) == [model.head]


def test_a_model_without_a_known_head_has_no_known_backbone() -> None:
    assert backbone_of(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3))) == []
