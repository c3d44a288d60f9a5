"""Every file under `conf/` composes and builds, and says what the code says."""

import copy
import dataclasses
import functools
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from optuna.pruners import BasePruner
from visionlab.config.schemas.parts import Model

from visionlab.config import command_line
from visionlab.config import errors as messages
from visionlab.config.schemas import Tune
from visionlab.ensembles.views import check_views
from visionlab.images.views import View
from visionlab.runs.build import build_experiment, build_task
from visionlab.runs.combinations import Recipes
from visionlab.task import Data

CONF = Path(command_line.CONF)
GROUPS = [
    "augment",
    "averaged",
    "dataset",
    "experiment",
    "hparams",
    "loss",
    "model",
    "optimizer",
    "scheduler",
    "task",
]
FILES = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
ON_BOXES_IN_FILES = ["bccd", "retinanet_depths", "retinanet_lr", "retinanet_study"]
BOXES_IN_FILES = ["boxes_csv", "coco", "numbered_yaml", "voc"]
BOX_AUGMENTS = [*BOXES_IN_FILES, "digit_scenes", "boxes_all_flips", "boxes_flip"]
BOX_AUGMENTS += ["boxes_jitter", "boxes_none"]
POINTS_IN_FILES = ["landmarks_csv", "points_csv"]
ON_POINTS_IN_FILES = ["faces68"]
ON_POINTS_IN_FILES += [
    f"landmarks_{part}" for part in ("1_frozen", "2_unfrozen", "3_enme", "4_decay")
]
POINT_AUGMENTS = [*POINTS_IN_FILES, "drawn_faces"]
POINT_AUGMENTS += [path.stem for path in (CONF / "augment").glob("points_*.yaml")]
NEEDED = {  # what a file leaves for its user to say
    ("dataset", "imagefolder"): ["dataset.root=images"],
    ("model", "timm"): ["model.name=resnet10t", "model.pretrained=false"],
    **{("dataset", name): ["task=detection", "dataset.root=images"] for name in BOXES_IN_FILES},
    ("dataset", "digit_scenes"): ["task=detection"],
    **{("augment", name): ["task=detection"] for name in BOX_AUGMENTS},
    ("loss", "retinanet"): ["task=detection"],
    **{("experiment", name): ["dataset.root=images"] for name in ON_BOXES_IN_FILES},
    ("model", "retinanet"): ["task=detection", "model.backbone.name=resnet10t"],
    ("model", "retinanet_small"): ["task=detection"],
    **{("dataset", name): ["task=keypoints", "dataset.root=images"] for name in POINTS_IN_FILES},
    ("dataset", "drawn_faces"): ["task=keypoints"],
    **{("augment", name): ["task=keypoints"] for name in POINT_AUGMENTS},
    **{("loss", name): ["task=keypoints"] for name in ("mse", "smooth_l1", "wing", "enme")},
    **{("experiment", name): ["dataset.root=images"] for name in ON_POINTS_IN_FILES},
    ("model", "keypoints"): ["task=keypoints", "model.grid=1"],
    ("model", "keypoints_small"): ["task=keypoints", "model.grid=4"],
    ("scheduler", "multistep"): ["scheduler.milestone_epochs=[3]"],
}
POINTS = {"num_points": 5, "size_px": 32, "mean_points": [[1.0, 2.0]] * 5}
OF_EVERY_MODEL = {"checkpoint", "init_from", "freeze"}


@pytest.fixture(autouse=True)
def _registered() -> None:
    command_line.register()


def composed(*overrides: str, name: str = "train") -> DictConfig:
    return copy.deepcopy(_composed(*overrides, name=name))


@functools.cache  # several tests ask for the same
def _composed(*overrides: str, name: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, overrides=list(overrides))


def test_the_number_of_files() -> None:
    found = [path for path in CONF.rglob("*.yaml") if "hydra" not in path.parts]
    others = ["train.yaml", "eval.yaml", "tune.yaml", "plots.yaml", "points/ibug68.yaml"]
    others += [
        path for name in ("views", "pruner", "search", "table") for path in (CONF / name).iterdir()
    ]
    assert len(found) == len(FILES) + len(others) == 113


@pytest.mark.parametrize(("group", "name"), FILES, ids=[f"{g}-{n}" for g, n in FILES])
def test_every_file_composes_and_builds(group: str, name: str) -> None:
    config = composed(f"{group}={name}", *NEEDED.get((group, name), []))
    messages.check_keys(config)
    recipes = build_experiment(config)
    if group == "model":
        task = build_task(
            OmegaConf.create(OmegaConf.to_container(config, resolve=True)),
            recipes,
            Data(
                splits={"train": None},  # type: ignore[dict-item]
                sizes=POINTS if config.task.name == "keypoints" else {"num_classes": 7},
                class_names=[str(number) for number in range(68)],
                class_ids=[],
                to_pixels=torch.sigmoid,
                unreadable=[],
            ),
            torch.device("cpu"),
        )
        outputs = task.model(torch.zeros(2, 3, 32, 32))
        shapes = {"classification": (2, 7), "detection": (2, 7), "keypoints": (2, 5, 2)}
        of_image = outputs.logits[:, 0] if task.name == "detection" else outputs
        assert of_image.shape == shapes[task.name]


@pytest.mark.parametrize(("group", "name"), FILES, ids=[f"{g}-{n}" for g, n in FILES])
def test_a_schema_has_the_names_of_what_it_builds(group: str, name: str) -> None:
    config = composed(f"{group}={name}", *NEEDED.get((group, name), []))
    for node in _targets(config):
        kind = OmegaConf.get_type(node)
        if dataclasses.is_dataclass(kind):
            named = {field.name for field in dataclasses.fields(kind)} - {"_target_"}
            if issubclass(kind, Model):
                named -= OF_EVERY_MODEL
            assert named == set(inspect.signature(get_class(node._target_)).parameters)


@pytest.mark.parametrize("name", [path.stem for path in (CONF / "views").glob("*.yaml")])
def test_every_list_of_views_composes_and_builds(name: str) -> None:
    views = composed(f"views={name}", name="eval").views
    check_views({key: View(**settings) for key, settings in views.items()})
    fields = {field.name for field in dataclasses.fields(View)}
    assert all(set(settings) == fields for settings in views.values())


@pytest.mark.parametrize("name", [path.stem for path in (CONF / "pruner").glob("*.yaml")])
def test_every_pruner_composes_and_builds(name: str) -> None:
    config = composed(f"pruner={name}", name="tune")
    messages.check_keys(config)
    assert isinstance(instantiate(config.pruner), BasePruner)


@pytest.mark.parametrize("name", [path.stem for path in (CONF / "search").glob("*.yaml")])
def test_every_search_composes_and_builds(name: str) -> None:
    config = composed(f"search={name}", name="tune")
    build_experiment(config)
    assert set(config) == {field.name for field in dataclasses.fields(Tune)}


def test_the_views_of_the_contest_entry_add_up_to_one() -> None:
    views = composed("views=poor_mans_ensemble", name="eval").views
    assert len(views) == 8
    assert sum(view.weight for view in views.values()) == pytest.approx(1.0)


def _targets(node: DictConfig) -> list[DictConfig]:
    children = [value for value in node.values() if isinstance(value, DictConfig)]
    below = [target for child in children for target in _targets(child)]
    return ([node] if "_target_" in node else []) + below


def test_all_recipes_are_settings_of_a_run() -> None:
    config = composed()
    assert {field.name for field in dataclasses.fields(Recipes)} <= set(config)


def test_the_default_augmentation_follows_the_data_set() -> None:
    assert composed().augment.flip_prob == 0.0
    assert composed("dataset=cifar10").augment.flip_prob == 0.5
    assert composed("dataset=cifar10", "augment=none").augment.pad_px == 0


def test_none_is_a_constant_rate_and_no_average() -> None:
    recipes = build_experiment(composed("scheduler=none", "averaged=none"))
    assert recipes.scheduler(5, total_steps=9, steps_per_epoch=3) == 1.0
    assert recipes.averaged(torch.nn.Linear(1, 1)) == []


def test_a_range_test_starts_from_its_own_rate_whatever_that_of_the_optimizer() -> None:
    recipes = build_experiment(composed("scheduler=range_test", "optimizer.lr=0.3"))
    factor = recipes.scheduler(0, total_steps=9, steps_per_epoch=3)
    assert 0.3 * factor == pytest.approx(0.01)


def test_a_list_of_decays_is_one_average_each() -> None:
    recipes = build_experiment(composed("averaged.decay=[0.9,0.99]"))
    names = [average.name for average in recipes.averaged(torch.nn.Linear(1, 1))]
    assert names == ["ema_0.9", "ema_0.99"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer.lr=-1"], "optimizer.lr must be > 0, got -1.0"),
        (["hparams.batch_size=0"], "hparams.batch_size must be > 0, got 0"),
        (["averaged.decay=1.5"], r"averaged.decay must be in \[0, 1\), got 1.5"),
        (["averaged.decay=[0.9,no]"], r"averaged.decay must be in \[0, 1\), got 'no'"),
        (["dataset.val.split=2"], r"dataset.val.split must be in \[0, 1\), got 2.0"),
        (["scheduler.warmup_steps=-1"], "scheduler.warmup_steps must be >= 0, got -1"),
        (["model=timm", "model.name=resnett18"], "model.name must be a model of timm.*resnet18"),
        (["scheduler=plateau", "scheduler.gamma=1"], r"scheduler.gamma must be in \(0, 1\), got"),
        (
            ["scheduler=plateau", "scheduler.monitor=val/model/loss"],
            "scheduler.monitor must be train/loss for every=step, got 'val/model/loss'",
        ),
        (["scheduler=range_test", "scheduler.end_lr=0"], "scheduler.end_lr must be > 0, got 0.0"),
        (["hparams.hard_examples=[0.5,0.1]"], r"hparams.hard_examples must be .* \[0.5, 0.1\]"),
        (["hparams.hard_examples=[]"], r"hparams.hard_examples must be .* got \[\]"),
        (
            ["hparams.freeze_backbone_epochs=31"],
            "hparams.freeze_backbone_epochs must be <= epochs 30, got 31",
        ),
        (["augment.flip_prob=2"], r"augment.flip_prob must be in \[0, 1\], got 2.0"),
        (["stop.max_steps=0"], "stop.max_steps must be > 0, got 0"),
        (["evaluation.train=x"], "evaluation.train must be one of none, plain, augmented"),
        (["loss.label_smoothing=1"], r"loss.label_smoothing must be in \[0, 1\), got 1.0"),
    ],
)
def test_a_range_error_names_key_rule_and_value(overrides: list[str], message: str) -> None:
    with pytest.raises(Exception, match="full_key") as caught:
        build_experiment(composed(*overrides))
    assert re.search(message, messages.explain(caught.value))


def test_a_band_needs_a_loss_for_each_sample() -> None:
    band = "hparams.hard_examples=[0.01,0.5]"
    assert build_experiment(composed(band)).hparams.hard_examples == [0.01, 0.5]
    message = (
        r"^hparams.hard_examples must be null for a loss that is not per sample, got \[0.01, 0.5\]$"
    )
    with pytest.raises(ValueError, match=message):
        build_experiment(composed("task=detection", band))


@pytest.mark.parametrize("override", ["+foo=1", "+optimizer.foo=1", "+dataset.val.foo=1"])
def test_a_plus_does_not_smuggle_a_key_in(override: str) -> None:
    with pytest.raises(ValueError, match=r"foo must be a setting; overrides need no leading \+"):
        messages.check_keys(composed(override))


def test_a_setting_without_value_must_be_given() -> None:
    with pytest.raises(ValueError, match=r"dataset\.root must be given"):
        messages.check_keys(composed("dataset=imagefolder"))


def test_a_saved_configuration_builds_the_same() -> None:
    config = composed("dataset=cifar10", "scheduler=multistep_he", "optimizer=adamw")
    plain = OmegaConf.create(OmegaConf.to_yaml(config, resolve=True))
    assert isinstance(plain, DictConfig)
    assert vars(build_experiment(plain).optimizer) == vars(build_experiment(config).optimizer)  # type: ignore[arg-type]
    assert build_experiment(plain).scheduler == build_experiment(config).scheduler


def test_a_configuration_from_before_bands_and_freezing_builds_without_them() -> None:
    config = OmegaConf.create(OmegaConf.to_yaml(composed(), resolve=True))
    assert isinstance(config, DictConfig)
    del config.hparams.hard_examples, config.hparams.freeze_backbone_epochs
    assert build_experiment(config).hparams == build_experiment(composed()).hparams


def test_what_is_drawn_and_predicted_is_found_by_its_path() -> None:
    task = composed().task
    parts: list[Callable[..., Any]] = [instantiate(task.curves), instantiate(task.predict)]
    assert [part.__name__ for part in parts] == ["top1", "probabilities"]


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ("a=1,b=2", "a=1,b=2"),
        ("dataset.root=/x/y z,a='b'", "dataset.root=-x-y-z,a=-b--8980cec0"),
        ("", "defaults"),
    ],
)
def test_a_folder_name_has_no_separators(overrides: str, name: str) -> None:
    assert command_line.folder_name(overrides) == name


def test_long_folder_names_are_cut_and_stay_different() -> None:
    names = {command_line.folder_name("x" * 300 + end) for end in "ab"}
    assert len(names) == 2
    assert max(map(len, names)) < 150
