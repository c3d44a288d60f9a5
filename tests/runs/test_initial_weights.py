"""Initial weights from the command line to the run's record."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from composing import of_new_run
from torch import nn

from visionlab.backbones.features import Features
from visionlab.config.run_config import Invocation
from visionlab.files.tensors import read_tensors
from visionlab.runs.build import build_experiment, build_task
from visionlab.runs.experiment import training_invariant_keys
from visionlab.runs.initial_weights import split_model, without_initial_weights
from visionlab.runs.train import train
from visionlab.task import Data, Task
from visionlab.tasks.classification.model import ResNetCifar

SMALL = ("model.depth=8", "device=cpu", "tensorboard=false", "threads=1", "stop.max_steps=3")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Return a file with weights of the network of `SMALL`, trained for other classes."""
    model = ResNetCifar(depth=8)(num_classes=4)
    state = {name: value + 1 for name, value in model.state_dict().items()}
    torch.save({"model": state}, tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def run(folder: Path, *overrides: str) -> None:
    folder.mkdir()
    train(of_new_run(*overrides), Invocation(folder=folder, choices={}, overrides=[]))


def task_of(*overrides: str, model: dict[str, Any] | None = None) -> Task:
    """Return a task of ten classes, with other settings of a model instead of those chosen."""
    config = of_new_run(*overrides)
    experiment = build_experiment({**config, "model": model or config["model"]})
    data = Data(
        splits={"train": None},  # type: ignore[dict-item]
        sizes={"num_classes": 10},
        class_names=list("abcdefghij"),
        class_ids=range(10),
        class_counts={},
        to_pixels=torch.sigmoid,
        unreadable=[],
        read_counts={},
    )
    return build_task(experiment, data, torch.device("cpu"))


class Pretraining(nn.Module):
    """A query encoder, which is evaluated, and a copy of it."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Module()
        self.query.backbone = ResNetCifar(depth=8)(num_classes=4)
        self.key = ResNetCifar(depth=8)(num_classes=4)

    @property
    def evaluated(self) -> nn.Module:
        return self.query

    def after_load(self) -> None:
        self.key.load_state_dict(self.query.backbone.state_dict())  # type: ignore[union-attr]


def make_pretraining(*, num_classes: int) -> Pretraining:
    return Pretraining()


def test_a_run_records_where_its_weights_come_from_and_a_resume_needs_them_no_more(
    tmp_path: Path, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        run(tmp_path / "run", *SMALL, f"model.backbone.weights={weights}")
    (line,) = [each for each in caplog.messages if each.startswith("backbone from")]
    assert "tensors taken, 2 fresh (fc.weight, fc.bias), 2 unused (fc" in line
    found = json.loads((tmp_path / "run" / "run.json").read_text())["initial_weights"]["backbone"]
    assert (found["file"], len(found["sha256"])) == (str(weights), 64)
    assert found["fresh"] == found["unused"] == ["fc.weight", "fc.bias"]
    assert "layer3.0.bn2.running_var" in found["taken"]


def test_the_weights_of_a_checkpoint_are_recorded(tmp_path: Path) -> None:
    run(tmp_path / "first", *SMALL)
    file = tmp_path / "first" / "checkpoints" / "last.pt"
    task = task_of("model.depth=8", f"model.checkpoint={file}")
    assert task.initial_weights["checkpoint"]["file"] == str(file)
    same = read_tensors(file, require_checksum=True)["model"]
    assert all(torch.equal(value, same[name]) for name, value in task.model.state_dict().items())
    taken = task_of("model.depth=8", f"model.backbone.weights={tmp_path / 'first'}")
    assert taken.initial_weights["backbone"]["file"] == str(file)


def test_the_backbone_of_a_detector_takes_weights_beside_its_own_settings(tmp_path: Path) -> None:
    settings = ["task=detection", "model=retinanet_small", "model.backbone.name=test_resnet"]
    first = task_of(*settings)
    assert isinstance(first.model.backbone, Features)
    torch.save(first.model.backbone.body.state_dict(), tmp_path / "body.pt")
    task = task_of(*settings, "global_seed=5", f"model.backbone.weights={tmp_path / 'body.pt'}")
    ours, theirs = task.model.state_dict(), first.model.state_dict()
    assert {name for name in ours if not torch.equal(ours[name], theirs[name])}.isdisjoint(
        task.initial_weights["backbone"]["taken"]
    )
    assert len(task.initial_weights["backbone"]["taken"]) > 30


def test_what_copies_its_backbone_copies_the_loaded_one(weights: Path) -> None:
    model = {"_target_": f"{__name__}.make_pretraining", "backbone": {"weights": str(weights)}}
    task = task_of(model=model)
    state = read_tensors(weights, require_checksum=False)["model"]
    for name in ("query.backbone.conv1.weight", "key.conv1.weight"):
        assert torch.equal(task.model.state_dict()[name], state["conv1.weight"])


@pytest.mark.parametrize(
    ("given", "own"),
    [
        ({"backbone": {"weights": None, "adapt_stem": False}, "depth": 8}, {"depth": 8}),
        ({"backbone": {"_target_": "a.B", "weights": None}}, {"backbone": {"_target_": "a.B"}}),
        ({"backbone": "wide", "checkpoint": None}, {"backbone": "wide"}),
        ({"freeze": [], "classifier_std": None}, {}),
    ],
)
def test_settings_of_weights_are_none_of_the_model(
    given: dict[str, Any], own: dict[str, Any]
) -> None:
    assert split_model(given)[0] == own


def test_no_weights_are_read_where_others_are_given(weights: Path) -> None:
    config = of_new_run("model.depth=8", f"model.backbone.weights={weights}.gone")
    assert build_experiment(config).initial_weights.backbone.weights
    without = without_initial_weights(config)
    assert build_experiment(without).initial_weights.backbone.weights is None


def test_runs_that_differ_only_in_their_checkpoints_train_alike() -> None:
    keys = training_invariant_keys(build_experiment(of_new_run()))
    assert {"checkpoint.every_epochs", "checkpoint.keep", "checkpoint.every_minutes"} <= set(keys)


def test_a_linear_probe_needs_weights() -> None:
    with pytest.raises(FileNotFoundError, match=r"^model.backbone.weights .* nothing: FILE_OR_RUN"):
        task_of("experiment=linear_probe", "model.depth=8")


def test_a_linear_probe_changes_its_last_layer_alone(tmp_path: Path, weights: Path) -> None:
    settings = ["experiment=linear_probe", f"model.backbone.weights={weights}", "hparams.epochs=2"]
    config = build_experiment(of_new_run(*settings))
    assert config.hparams.freeze_backbone_epochs == 2
    start = task_of(*settings, "model.depth=8").model.state_dict()
    assert math.isclose(start["fc.weight"].std(), 0.01, rel_tol=0.2)
    run(tmp_path / "run", *settings, *SMALL[:-1], "scheduler.milestone_epochs=[1]")
    last = read_tensors(tmp_path / "run" / "checkpoints" / "last.pt", require_checksum=True)
    assert last["state"]["epoch"] == 2
    changed = [name for name, value in last["model"].items() if not torch.equal(value, start[name])]
    assert changed == ["fc.weight", "fc.bias"]
