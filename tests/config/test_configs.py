"""Every file under `conf/` composes and builds, and wrong settings are refused in one line."""

import copy
import functools
import logging.config
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from composing import composed, of_new_run
from omegaconf import OmegaConf
from optuna.pruners import BasePruner

from visionlab.config import command_line
from visionlab.config.checking import check_parts
from visionlab.config.instantiate import instantiate_part
from visionlab.config.overrides import quote_paths
from visionlab.config.run_config import resolve_config, to_yaml
from visionlab.config.schemas import SCHEMAS, Tune
from visionlab.ensembles.ensemble import Ensemble
from visionlab.ensembles.views import check_views
from visionlab.runs.build import build_experiment, build_task
from visionlab.runs.evaluation_options import evaluation_options
from visionlab.task import Batch, Data
from visionlab.tasks.detection.loss.retinanet import RetinaNetLoss
from visionlab.tasks.detection.records import TwoStageOutput

CONF = Path(command_line.CONF)
GROUPS = [
    "augment",
    "averaged",
    "compare",
    "dataset",
    "experiment",
    "fuse",
    "hparams",
    "loss",
    "metric",
    "model",
    "optimizer",
    "predict",
    "scheduler",
    "task",
]
FILES = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
DETECTION_EXPERIMENTS = [
    "bccd",
    "bccd_fasterrcnn",
    "retinanet_depths",
    "retinanet_lr",
    "retinanet_study",
]
BOX_FILES = ["bccd", "boxes_csv", "coco", "numbered_yaml", "voc", "yolo"]
BOX_FILES += ["deepscores", "dota"]
BOX_AUGMENTS = [path.stem for path in (CONF / "augment").glob("boxes_*.yaml")]
POINT_FILES = ["landmarks_csv", "points_csv"]
KEYPOINT_EXPERIMENTS = ["faces68"]
KEYPOINT_EXPERIMENTS += [
    f"landmarks_{part}" for part in ("1_frozen", "2_unfrozen", "3_enme", "4_decay")
]
VIEW_AUGMENTS = [path.stem for path in (CONF / "augment").glob("moco_*.yaml")]
POINT_AUGMENTS = [path.stem for path in (CONF / "augment").glob("points_*.yaml")]
BOX_FUSIONS = ["wbf", "wbf_oriented", "nms", "nmw", "soft_nms_gaussian", "soft_nms_linear"]
POINT_FUSIONS = ["inverse_spread", "mean_points", "median_points"]
NEEDED = {  # settings that a file leaves to its user
    ("dataset", "imagefolder"): ["dataset.root=images"],
    ("model", "timm"): ["model.name=resnet10t", "model.pretrained=false"],
    **{("dataset", name): ["task=detection", "dataset.root=images"] for name in BOX_FILES},
    ("dataset", "digit_scenes"): ["task=detection"],
    ("dataset", "rotated_digit_scenes"): ["task=detection"],
    **{("augment", name): ["task=detection"] for name in BOX_AUGMENTS},
    ("loss", "retinanet"): ["task=detection"],
    ("loss", "fasterrcnn"): ["task=detection", "model=fasterrcnn_small"],
    ("loss", "retinanet_oriented"): ["task=detection", "model=retinanet_oriented_small"],
    ("predict", "retinanet"): ["task=detection"],
    ("compare", "boxes"): ["task=detection"],
    ("compare", "points"): ["task=keypoints"],
    **{("fuse", name): ["task=detection"] for name in BOX_FUSIONS},
    **{("fuse", name): ["task=keypoints"] for name in POINT_FUSIONS},
    ("predict", "retinanet_oriented"): ["task=detection", "model=retinanet_oriented_small"],
    ("metric", "coco"): ["task=detection"],
    ("metric", "oriented"): ["task=detection", "model=retinanet_oriented_small"],
    ("predict", "fasterrcnn"): ["task=detection", "model=fasterrcnn_small"],
    **{("experiment", name): ["dataset.root=images"] for name in DETECTION_EXPERIMENTS},
    ("model", "retinanet"): ["task=detection", "model.backbone.name=resnet10t"],
    ("model", "retinanet_small"): ["task=detection"],
    ("model", "retinanet_oriented"): ["task=detection", "model.backbone.name=resnet10t"],
    ("model", "retinanet_oriented_small"): ["task=detection"],
    ("model", "fasterrcnn"): ["task=detection", "model.backbone.name=resnet10t"],
    ("model", "fasterrcnn_c5"): ["task=detection", "model.backbone.name=resnet10t"],
    ("model", "fasterrcnn_small"): ["task=detection"],
    **{("dataset", name): ["task=keypoints", "dataset.root=images"] for name in POINT_FILES},
    ("dataset", "drawn_faces"): ["task=keypoints"],
    **{("augment", name): ["task=keypoints"] for name in POINT_AUGMENTS},
    **{("loss", name): ["task=keypoints"] for name in ("mse", "smooth_l1", "wing", "enme")},
    **{("experiment", name): ["dataset.root=images"] for name in KEYPOINT_EXPERIMENTS},
    ("model", "keypoints"): ["task=keypoints", "model.grid=1"],
    ("model", "keypoints_small"): ["task=keypoints", "model.grid=4"],
    ("experiment", "linear_probe"): ["model.backbone.weights=best.pt"],
    ("dataset", "images"): ["task=pretraining", "dataset.root=images"],
    ("dataset", "placed_digits"): ["task=pretraining"],
    **{("augment", name): ["task=pretraining"] for name in VIEW_AUGMENTS},
    ("loss", "info_nce"): ["task=pretraining"],
    ("model", "moco"): ["task=pretraining", "model.backbone.name=resnet10t"],
    ("model", "moco_v1"): ["task=pretraining", "model.backbone.name=resnet10t"],
    ("model", "moco_cifar"): ["task=pretraining"],
    ("model", "moco_small"): ["task=pretraining"],
    ("experiment", "moco_cifar10"): ["dataset.root=images"],
    ("scheduler", "multistep"): ["scheduler.milestone_epochs=[3]"],
}
# of groups that stand elsewhere
PLACES = {name: f"task.{name}" for name in ("predict", "fuse", "metric", "compare")}
POINTS = {"num_points": 5, "size_px": 32, "mean_points": [[1.0, 2.0]] * 5}
PARTS = ("dataset", "augment", "model", "loss", "optimizer", "scheduler", "averaged", "hparams")


def of_file(group: str, name: str) -> dict[str, Any]:
    place = f"{group}@{PLACES[group]}" if group in PLACES else group
    return of_new_run(f"{place}={name}", *NEEDED.get((group, name), []))


def nodes(value: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every node with a `_target_`, with its dotted key."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield key, value
        for name, child in value.items():
            yield from nodes(child, f"{key}.{name}".lstrip("."))


def changed(config: Mapping[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """Return a copy of a configuration with another value for one key."""
    copied = copy.deepcopy(dict(config))
    *parents, last = dotted.split(".")
    functools.reduce(dict.__getitem__, parents, copied)[last] = value
    return copied


def refusal(config: Mapping[str, Any]) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        check_parts(config, parts=())
    return str(caught.value)


def test_the_number_of_files() -> None:
    found = [path for path in CONF.rglob("*.yaml") if "hydra" not in path.parts]
    others = [f"{name}.yaml" for name in SCHEMAS]
    others.append("points/ibug68.yaml")
    folders = ("views", "boxes", "ensemble", "pruner", "search", "table", "chain")
    others += [path for name in folders for path in (CONF / name).iterdir()]
    assert len(found) == len(FILES) + len(others) > 90


@pytest.mark.parametrize(("group", "name"), FILES, ids=[f"{g}-{n}" for g, n in FILES])
def test_every_file_composes_and_builds(group: str, name: str) -> None:
    experiment = build_experiment(of_file(group, name))
    if group == "model":
        sizes = {"keypoints": POINTS, "pretraining": {"num_images": 65536, "size_px": 32}}
        data = Data(
            splits={"train": None},  # type: ignore[dict-item]
            sizes=sizes.get(experiment.task.name, {"num_classes": 7}),
            class_names=[str(number) for number in range(68)],
            class_ids=range(68),
            class_counts={},
            to_pixels=torch.sigmoid,
            unreadable=[],
            read_counts={},
        )
        task = build_task(experiment, data, torch.device("cpu"))
        batch = Batch(torch.zeros(2, 3, 32, 32), None, torch.arange(2))
        outputs = task.forward(task.evaluated.eval(), batch)
        if task.name == "detection":  # for the second stage, background is a class of its own
            is_two_stage = isinstance(outputs, TwoStageOutput)
            logits = outputs.regions.logits if is_two_stage else outputs.logits
            assert logits.shape[-1] == 7 + is_two_stage
        elif task.name == "pretraining":
            dim = experiment.config["model"]["head"]["dim"]
            assert outputs.projections.shape == (2, dim)
        else:
            assert outputs.shape == {"classification": (2, 7), "keypoints": (2, 5, 2)}[task.name]


@pytest.mark.parametrize(("group", "name"), FILES, ids=[f"{g}-{n}" for g, n in FILES])
def test_wrong_settings_of_every_part_are_refused_by_key_and_value(group: str, name: str) -> None:
    config = of_file(group, name)
    own = [(key, node) for key, node in nodes(config) if key.split(".")[0] == group]
    if group not in (*PARTS, "task"):  # an experiment chooses parts, each of which has its turn
        own = []
    for key, node in own:
        assert refusal(changed(config, f"{key}.no_such_name", 1)).startswith(f"{key}.no_such_name")
        for setting, value in node.items():
            if setting == "_target_":
                continue
            full = f"{key}.{setting}"
            missing = refusal(changed(config, full, "???"))
            assert missing.startswith(full)
            assert missing.endswith("got nothing")
            if isinstance(value, bool | int | float):
                for wrong in ("abc", [1, 2, [3]], {"a": 1}):
                    assert re.match(
                        rf"{re.escape(full)} must be .*, got {re.escape(repr(wrong))}$",
                        refusal(changed(config, full, wrong)),
                    )


@pytest.mark.parametrize("name", [path.stem for path in (CONF / "views").glob("*.yaml")])
def test_every_list_of_views_composes_and_builds(name: str) -> None:
    views = evaluation_options(composed(f"views={name}", "run=somewhere", name="eval")).views
    assert views is not None
    check_views(views)


@pytest.mark.parametrize("name", [path.stem for path in (CONF / "boxes").glob("*.yaml")])
def test_every_writer_of_boxes_composes_and_builds(name: str) -> None:
    config = composed(f"boxes={name}", "run=somewhere", name="eval")
    assert callable(evaluation_options(config).boxes)
    for other in ("submission=true", "views=mirrored", "ensemble=snapshots"):
        with pytest.raises(
            ValueError, match=r"^boxes must be null with views, ensemble or submission"
        ):
            evaluation_options(composed(f"boxes={name}", "run=x", other, name="eval"))


@pytest.mark.parametrize("name", [path.stem for path in (CONF / "ensemble").glob("*.yaml")])
def test_every_ensemble_composes_and_builds(name: str) -> None:
    members = ["ensemble.members=[a.pt,b]"] if name == "members" else []
    config = composed(f"ensemble={name}", "run=somewhere", *members, name="eval")
    assert isinstance(evaluation_options(config).ensemble, Ensemble)
    with pytest.raises(ValueError, match=r"^ensemble must be null with checkpoint or models"):
        evaluation_options(
            composed(f"ensemble={name}", "run=x", *members, "models=[best]", name="eval")
        )


@pytest.mark.parametrize("name", [path.stem for path in (CONF / "pruner").glob("*.yaml")])
def test_every_pruner_composes_and_builds(name: str) -> None:
    pruner = composed(f"pruner={name}", name="tune")["pruner"]
    assert isinstance(instantiate_part(pruner, key="pruner"), BasePruner)


@pytest.mark.parametrize("name", [path.stem for path in (CONF / "search").glob("*.yaml")])
def test_every_search_composes_and_builds(name: str) -> None:
    config = composed(f"search={name}", name="tune")
    build_experiment(config)
    assert set(config) == {field.name for field in fields(Tune)}


def test_the_views_of_the_contest_entry_add_up_to_one() -> None:
    views = composed("views=poor_mans_ensemble", "run=somewhere", name="eval")["views"]
    assert len(views) == 8
    assert sum(view["weight"] for view in views.values()) == pytest.approx(1.0)


def test_the_default_augmentation_follows_the_data_set() -> None:
    assert composed()["augment"]["flip_prob"] == 0.0
    assert composed("dataset=cifar10")["augment"]["flip_prob"] == 0.5
    assert composed("dataset=cifar10", "augment=none")["augment"]["pad_px"] == 0
    assert composed("experiment=bccd", "dataset.root=x")["augment"]["vertical_flip_prob"] == 0.5


def test_turned_digits_train_longer_from_a_warm_up() -> None:
    config = composed("task=detection", "dataset=rotated_digit_scenes")
    assert (config["hparams"]["epochs"], config["scheduler"]["warmup_steps"]) == (12, 100)
    config = composed(
        "task=detection", "dataset=rotated_digit_scenes", "hparams.epochs=2", "scheduler=constant"
    )
    assert (config["hparams"]["epochs"], config["scheduler"]["warmup_steps"]) == (2, 0)


def test_a_detector_selects_its_loss_and_its_detections() -> None:
    for overrides in (
        ["task=detection", "model=fasterrcnn"],
        ["model=fasterrcnn_small", "dataset=digit_scenes", "task=detection"],
        ["task=detection", "dataset=coco", "dataset.root=x", "model=fasterrcnn_c5"],
    ):
        config = composed(*overrides)
        assert config["model"]["_target_"] == "visionlab.tasks.detection.FasterRcnn"
        assert config["loss"]["_target_"] == "visionlab.tasks.detection.FasterRcnnLoss"
        assert config["task"]["predict"]["_target_"] == "visionlab.tasks.detection.DetectRegions"
    assert composed("task=detection")["model"]["backbone"]["name"] == "resnet18"  # of the data set


def test_a_detector_of_oriented_boxes_selects_its_detections_and_its_metrics() -> None:
    for overrides in (
        ["task=detection", "dataset=rotated_digit_scenes"],
        ["task=detection", "dataset=dota", "dataset.root=x"],
        ["task=detection", "dataset=coco", "dataset.root=x", "model=retinanet_oriented"],
    ):
        config = composed(*overrides)
        assert len(config["model"]["box_std"]) == 5
        assert config["task"]["predict"]["nms_iou"] == 0.1
        metric = config["task"]["metric"]["_target_"]
        assert metric == "visionlab.tasks.detection.OrientedAveragePrecision"
    upright = composed("task=detection", "dataset=dota", "dataset.root=x", "model=retinanet")
    assert upright["task"]["predict"]["nms_iou"] == 0.5
    assert upright["task"]["metric"]["_target_"] == "visionlab.tasks.detection.AveragePrecision"


def test_names_of_parts_in_runs_from_before_one_class_had_both_kinds_of_boxes() -> None:
    config = of_new_run("task=detection", "dataset=rotated_digit_scenes")
    config["model"]["_target_"] = "visionlab.tasks.detection.OrientedRetinaNet"
    config["loss"]["_target_"] = "visionlab.tasks.detection.OrientedRetinaNetLoss"
    config["task"]["predict"]["_target_"] = "visionlab.tasks.detection.OrientedDetect"
    check_parts(config, parts=())
    assert isinstance(build_experiment(config).loss, RetinaNetLoss)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=fasterrcnn", "loss=retinanet"], "^loss must .* TwoStageOutput, got RetinaNetLoss"),
        (["loss=fasterrcnn"], "^loss must .* DenseOutput, got FasterRcnnLoss"),
        (
            ["model=fasterrcnn", "predict@task.predict=retinanet"],
            "^task.predict must .* TwoStageOutput, got Detect for DenseOutput",
        ),
    ],
)
def test_a_part_of_another_detector_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_experiment(of_new_run("task=detection", *overrides))


def test_none_is_a_constant_rate_and_no_average() -> None:
    experiment = build_experiment(of_new_run("scheduler=none", "averaged=none"))
    assert experiment.scheduler(5, total_steps=9, steps_per_epoch=3) == 1.0
    assert experiment.averaged(torch.nn.Linear(1, 1)) == []


def test_a_range_test_starts_from_its_own_rate_whatever_that_of_the_optimizer() -> None:
    experiment = build_experiment(of_new_run("scheduler=range_test", "optimizer.lr=0.3"))
    factor = experiment.scheduler(0, total_steps=9, steps_per_epoch=3)
    assert 0.3 * factor == pytest.approx(0.01)


def test_a_list_of_decays_is_one_average_each() -> None:
    experiment = build_experiment(of_new_run("averaged.decay=[0.9,0.99]"))
    names = [average.name for average in experiment.averaged(torch.nn.Linear(1, 1))]
    assert names == ["ema_0.9", "ema_0.99"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer.lr=-1"], "optimizer.lr must be > 0, got -1"),
        (["hparams.batch_size=0"], "hparams.batch_size must be > 0, got 0"),
        (["averaged.decay=1.5"], r"averaged.decay must be in \[0, 1\), got 1.5"),
        (["dataset.val.split=2"], r"dataset.val.split must be in \[0, 1\), got 2"),
        (["scheduler.warmup_steps=-1"], "scheduler.warmup_steps must be >= 0, got -1"),
        (["model=timm", "model.name=resnett18"], "model.name must be a model of timm.*resnet18"),
        (["scheduler=plateau", "scheduler.gamma=1"], r"scheduler.gamma must be in \(0, 1\), got"),
        (
            ["scheduler=plateau", "scheduler.monitor=val/model/loss"],
            "scheduler.monitor must be train/loss for every=step, got 'val/model/loss'",
        ),
        (["scheduler=range_test", "scheduler.end_lr=0"], "scheduler.end_lr must be > 0, got 0"),
        (["hparams.hard_examples=[0.5,0.1]"], r"hparams.hard_examples must be .* \[0.5, 0.1\]"),
        (["hparams.hard_examples=[]"], r"hparams.hard_examples must be .* got \[\]"),
        (
            ["hparams.freeze_backbone_epochs=31"],
            "hparams.freeze_backbone_epochs must be <= epochs 30, got 31",
        ),
        (["augment.flip_prob=2"], r"augment.flip_prob must be in \[0, 1\], got 2"),
        (["model.classifier_std=0"], "model.classifier_std must be > 0, got 0"),
        (
            ["model.checkpoint=a.pt", "model.backbone.weights=b.pt"],
            "model.backbone.weights must be null with model.checkpoint.*, got b.pt",
        ),
        (["checkpoint.every_epochs=0"], "checkpoint.every_epochs must be > 0, got 0"),
        (["checkpoint.keep=best"], "checkpoint.keep must be all, last:N or best:N .* got 'best'"),
        (["stop.max_steps=0"], "stop.max_steps must be > 0, got 0"),
        (["loss.label_smoothing=1"], r"loss.label_smoothing must be in \[0, 1\), got 1"),
        (["global_seed=-1"], "global_seed must be >= 0 or null, got -1"),
        (["optimizer.lr=1e308"], r"optimizer.lr must be <= 1e\+09, got 1e\+308"),
        (["optimizer.weight_decay=1e308"], r"optimizer.weight_decay must be <= 1e\+09, got 1e"),
        (["loss.class_weights=[1,1e308]"], r"loss.class_weights must be in .* got \[1, 1e\+308\]"),
        (["augment.pad_px=2147483648"], r"augment.pad_px must be <= 32768, got 2147483648"),
        (
            ["dataset=imagefolder", "dataset.root=x", "dataset.size_px=2147483648"],
            r"dataset.size_px must be <= 32768, got 2147483648",
        ),
        (
            ["task=detection", "augment=boxes_jitter", "augment.scale=[1,1e30]"],
            r"augment.scale must be in \[0.01, 100\], got \[1, 1e",
        ),
    ],
)
def test_a_range_error_names_key_rule_and_value(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        build_experiment(of_new_run(*overrides))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=abc", "optimizer.lr must be a number, got 'abc'"),
        ("averaged.decay=[0.9,no]", r"averaged.decay must be .*number.*, got \[0.9, 'no'\]"),
        ("evaluation.train=x", "evaluation.train must be one of none, plain, augmented, got 'x'"),
        ("+optimizer.learning_rate=1", r"optimizer.learning_rate .* did you mean optimizer.lr\?"),
        ("+dataset.val.foo=1", "dataset.val.foo must be a setting of Holdout"),
        ("model.backbone.weights=[a]", r"model.backbone.weights must be .*, got \['a'\]"),
        ("+model.backbone.name=a", "model.backbone.name must be a setting of model.backbone"),
        ("model.backbone.adapt_stem=2", "model.backbone.adapt_stem must be true or false, got 2"),
        ("model.freeze=conv1", "model.freeze must be a list .*, got 'conv1'"),
        ("task.draw.num_images=abc", r"task.draw.num_images must be .* in \[1, 1000\], got 'abc'"),
        ("task.draw.num_images=-1", r"task.draw.num_images must be .* in \[1, 1000\], got -1"),
        ("+optimizer._args_=[1]", "optimizer._args_ must be a setting of Sgd"),
    ],
)
def test_a_wrong_name_or_type_names_key_rule_and_value(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        composed(override)


def test_weights_may_be_a_path_with_signs_of_hydras_grammar(tmp_path: Path) -> None:
    path = tmp_path / "run (1),seed=2"
    path.mkdir()
    assert quote_paths(f"model.backbone.weights={path}") == f"model.backbone.weights='{path}'"
    assert composed(quote_paths(f"model.backbone.weights={path}"))["model"]["backbone"] == {
        "weights": str(path),
        "adapt_stem": False,
    }


@pytest.mark.parametrize("score", ["-0.1", "1.1", "nan"])
def test_a_score_outside_its_range_is_refused(score: str) -> None:
    with pytest.raises(ValueError, match=rf"^task.draw.min_score must .* in \[0, 1\], got {score}"):
        composed("task=detection", f"task.draw.min_score={score}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model._target_=os.system", "model._target_ must be in visionlab or .*, got 'os.system'"),
        ("loss._target_=torch.load", "loss._target_ must be in visionlab or .*, got 'torch.load'"),
        (
            "model._target_=visionlab.files.atomic.os.system",
            "model._target_ must .*, got 'visionlab.files.atomic.os.system'",
        ),
        (
            "model._target_=visionlab.files.atomic.json",
            "model._target_ must .*, got 'visionlab.files.atomic.json'",
        ),
        (
            "model._target_=visionlab.tasks.classification.ResNetCifarr",
            "model._target_ must be a part .* did you mean .*ResNetCifar",
        ),
    ],
)
def test_only_parts_of_allowed_packages_are_built(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        composed(override)


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("loss", "visionlab.tasks.classification.ImageFolder"),
        ("scheduler", "visionlab.optim.Sgd"),
        ("stop", "visionlab.engine.Evaluation"),
        ("task.predict", "visionlab.tasks.classification.Augment"),
    ],
)
def test_a_part_of_another_kind_is_refused(key: str, target: str) -> None:
    config = of_new_run()
    others = {name: of_new_run()[name] for name in ("optimizer", "evaluation", "augment")}
    others["dataset"] = of_new_run("dataset=imagefolder", "dataset.root=x")["dataset"]
    (other,) = [each for each in others.values() if each["_target_"] == target]
    (config["task"] if key.startswith("task.") else config)[key.rpartition(".")[2]] = other
    with pytest.raises(
        ValueError, match=rf"^{key}\._target_ must be a part for {key}, got '{target}"
    ):
        build_experiment(config)


def test_a_part_of_another_task_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^loss must be one for task classification, got Retina"):
        build_experiment(of_new_run("loss=retinanet"))


def test_a_band_needs_a_loss_for_each_sample() -> None:
    band = "hparams.hard_examples=[0.01,0.5]"
    assert build_experiment(of_new_run(band)).hparams.hard_examples == [0.01, 0.5]
    with pytest.raises(ValueError, match=r"^hparams.hard_examples must be .* got \[0.01, 0.5\]$"):
        build_experiment(of_new_run("task=detection", band))


@pytest.mark.parametrize("override", ["+foo=1", "+task.foo=1"])
def test_a_plus_does_not_smuggle_a_key_in(override: str) -> None:
    with pytest.raises(ValueError, match=r"foo must be a setting; overrides need no leading \+"):
        composed(override)


def test_a_setting_without_value_must_be_given() -> None:
    with pytest.raises(ValueError, match=r"^dataset\.root must be given"):
        composed("dataset=imagefolder")


def test_a_folder_of_photographs_has_defaults_of_its_own() -> None:
    config = of_new_run("dataset=imagefolder", "dataset.root=images")
    assert config["model"]["name"] == "resnet18"
    assert config["model"]["pretrained"] == "if_available"
    assert (config["optimizer"]["lr"], config["optimizer"]["betas"]) == (0.0003, [0.9, 0.999])
    assert (config["hparams"]["epochs"], config["hparams"]["batch_size"]) == (20, 16)
    assert config["dataset"]["size_px"] == 8 * config["augment"]["pad_px"]
    assert (config["averaged"]["warmup_power"], config["evaluation"]["batch_size"]) == (0.6667, 64)
    chosen = ["model=resnet20", "optimizer=momentum", "hparams=quick", "augment=none"]
    config = of_new_run("dataset=imagefolder", "dataset.root=images", *chosen)
    assert config["model"]["depth"] == 20
    assert config["optimizer"]["lr"] == 0.1
    assert config["hparams"]["batch_size"] == 128
    assert config["augment"]["pad_px"] == 0


def test_a_saved_configuration_builds_the_same() -> None:
    config = of_new_run("dataset=cifar10", "scheduler=multistep_he", "optimizer=adamw")
    saved = OmegaConf.to_container(OmegaConf.create(to_yaml(config)))
    assert saved == config


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


@pytest.mark.parametrize(
    "name", ["job_logging/visionlab", "job_logging/terminal", "hydra_logging/visionlab"]
)
def test_libraries_do_not_talk_into_the_log(name: str) -> None:
    content = OmegaConf.to_container(OmegaConf.load(CONF / "hydra" / f"{name}.yaml"), resolve=False)
    assert isinstance(content, dict)
    loggers = {"version": 1, "incremental": True, "loggers": content["loggers"]}
    logging.config.dictConfig(loggers)
    assert not logging.getLogger("alembic.runtime.plugins").isEnabledFor(logging.INFO)


def test_two_sweeps_of_one_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda _: "now")
    assert [command_line.sweep_folder("train") for _ in range(2)] == [
        "multirun/now",
        "multirun/now_2",
    ]
    assert command_line.sweep_folder("tune") == "tune/now"


def test_paths_of_the_data_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    val = {"list": "~/val.txt", "split": 0.0}
    config: dict[str, Any] = {"global_seed": 0, "dataset": {"root": "data", "val": val}}
    dataset = resolve_config(config)["dataset"]
    assert dataset["root"] == str(tmp_path / "data")
    assert dataset["val"] == {"list": str(Path.home() / "val.txt"), "split": 0.0}
    assert config["dataset"]["root"] == "data"
    for other in ({"root": "s3://bucket"}, {"root": None, "val": None}, {"val": {"list": None}}):
        remote = {**config, "dataset": other}
        assert resolve_config(remote) == remote
