"""Predictions of any images have the numbers of an evaluation of the same images."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from composing import composed, of_new_run
from PIL import Image
from torch import Tensor, nn

from visionlab.ensembles.prediction import Inference, Member, fused_batches, predict_members
from visionlab.images.arrays import array_images
from visionlab.images.views import View
from visionlab.runs.build import build_data, build_evaluated, build_experiment, build_task
from visionlab.runs.evaluation_options import build_views
from visionlab.runs.experiment import Experiment
from visionlab.runs.predict import stacks_of
from visionlab.runs.predictor import PredictingModel, Predictor, plain_images_of
from visionlab.runs.saved_run import SavedRun
from visionlab.task import Data, Record, Task

CPU = torch.device("cpu")
SCENES = ("dataset.num_train=2", "dataset.num_val=2", "dataset.num_test=7")
LOW = ("task.predict.score_threshold=0.001",)  # or models with random weights find nothing
TINY = ("model.backbone.name=test_resnet", "model.backbone.norm=trained")
TINY += ("task.predict.max_detections=20",)
FEW = ("task.predict.candidates_per_level=100",)
TASKS: Mapping[str, tuple[str, ...]] = {
    "classification": ("model.depth=8",),
    "keypoints": (
        *("task=keypoints", "model.backbone.name=test_resnet", "model.stride=32", "model.grid=2"),
        *("dataset.size_px=64", *SCENES),
    ),
    "detection": ("task=detection", *TINY, *SCENES, *LOW, *FEW),
    "fasterrcnn": ("task=detection", "model=fasterrcnn_small", *TINY, *SCENES, *LOW),
    "oriented": ("task=detection", "dataset=rotated_digit_scenes", *TINY, *SCENES, *LOW, *FEW),
    "pretraining": (
        *("task=pretraining", "dataset.num_train=40", "dataset.num_test=7"),
        "model.queue_length=16",
    ),
}
_SLOW = ("detection", "fasterrcnn", "oriented")  # seconds each
_MARKS = dict.fromkeys(_SLOW, pytest.mark.integration)


def each_task(*names: str) -> pytest.MarkDecorator:
    chosen = [pytest.param(name, id=name, marks=_MARKS.get(name, ())) for name in names]
    return pytest.mark.parametrize("evaluated", chosen, indirect=True)


class Evaluated:
    """A task with random weights and its test images, as files and in its data set."""

    def __init__(self, name: str, folder: Path) -> None:
        self.experiment: Experiment = build_experiment(of_new_run(*TASKS[name]))
        self.data: Data = build_data(self.experiment, CPU)
        self.task: Task = build_task(self.experiment, self.data, CPU)
        self.split = self.data.splits["test"]
        _disturb(self.task.evaluated)
        self.paths = _save_images(self.data, folder)

    def records(self, model: nn.Module | None = None) -> list[Record]:
        """Return what an evaluation predicts, by key."""
        model = (model or self.task.evaluated).eval()
        found = {}
        for batch in self.split.batches(batch_size=4, epoch=0, first_batch=0):
            with torch.no_grad():
                predictions = self.task.predict(self.task.forward(model, batch), batch)
            found |= zip(batch.keys.tolist(), self.results.records(predictions), strict=True)
        return [found[key] for key in sorted(found)]

    @property
    def results(self) -> Any:
        return self.plain.results

    @property
    def plain(self) -> Any:
        return self.experiment.dataset.plain_images(  # type: ignore[attr-defined]
            class_names=self.data.class_names, class_ids=self.data.class_ids, device=CPU
        )


def _disturb(module: nn.Module) -> None:
    """Give every weight and statistic a value of its own, as training does."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in module.named_buffers():
            if name.endswith("running_var"):
                buffer.mul_(0.7 + torch.rand(buffer.shape, generator=generator))


def _save_images(data: Data, folder: Path) -> list[Path]:
    """Save the test images as PNG, in the order of their keys."""
    paths = {}
    samples = data.splits["test"].samples  # type: ignore[attr-defined]
    for batch in data.splits["test"].batches(batch_size=4, epoch=0, first_batch=0):
        for row, key in enumerate(batch.keys.tolist()):
            pixels = _original(samples, key)
            if pixels is None:
                pixels = (data.to_pixels(batch.inputs[row : row + 1])[0] * 255).round().byte()
            paths[key] = folder / f"{key:012d}.png"
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(paths[key])
    return [paths[key] for key in sorted(paths)]


def _original(samples: Any, key: int) -> Tensor | None:
    """Return the pixels of a sample, None if the inputs are the pixels."""
    if isinstance(samples, list):
        return next(each.image for each in samples if each.key == key)  # type: ignore[no-any-return]
    if hasattr(samples, "sources"):
        return samples.sources[samples.keys.tolist().index(key)]  # type: ignore[no-any-return]
    return None


def _pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.asarray(image)


def predicted(predictor: Predictor, paths: list[Path]) -> list[Record]:
    found = []
    for stacks, failed in stacks_of(paths, predictor, num_workers=0):
        assert not failed
        found += predictor.records(stacks)
    return found


def predictor_of(
    evaluated: Evaluated,
    *models: nn.Module,
    views: Mapping[str, View] | None = None,
    batch_size: int = 4,
) -> Predictor:
    task = evaluated.task
    return Predictor(
        task=task.name,
        about={},
        models=[
            PredictingModel(
                model=model.eval(), predict=task.predict, autocast=nullcontext, weight=1.0, images=0
            )
            for model in models
        ],
        images=[evaluated.plain],
        views=views,
        fuse=task.fuse if views or len(models) > 1 else None,
        batch_size=batch_size,
    )


def assert_equal(found: Any, expected: Any) -> None:
    """Compare containers, numbers up to rounding in other orders of sums."""
    assert type(found) is type(expected)
    if isinstance(found, dict):
        assert found.keys() == expected.keys()
        for key in found:
            assert_equal(found[key], expected[key])
    elif isinstance(found, list):
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert_equal(ours, theirs)
    elif isinstance(found, float):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
    else:
        assert found == expected


def num_found(records: list[Record]) -> int:
    return sum(len(each.get("detections", [each])) for each in records)


@pytest.fixture(scope="module")
def evaluated(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Evaluated:
    return Evaluated(request.param, tmp_path_factory.mktemp("images"))


@each_task(*TASKS)
@pytest.mark.parametrize("batch_size", [3, 500])
def test_files_have_the_predictions_of_the_data_set(evaluated: Evaluated, batch_size: int) -> None:
    predictor = predictor_of(evaluated, evaluated.task.evaluated, batch_size=batch_size)
    found = predicted(predictor, evaluated.paths)
    expected = evaluated.records()
    assert num_found(expected) >= len(evaluated.paths) >= 7
    assert_equal(found, expected)
    assert found[0] != found[1]


@each_task("keypoints", *_SLOW)  # digits in test_predict_script
def test_views_and_ensembles_have_the_fused_predictions_of_an_evaluation(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    task = evaluated.task
    views = build_views(composed("views=mirrored", "run=x", name="eval")["views"])
    other = build_evaluated(evaluated.experiment, evaluated.data.sizes, CPU)
    members = [
        Member(
            name=str(number),
            task=task,
            weights={key: value.clone() for key, value in model.state_dict().items()},
            cache_key={},
            folder=tmp_path / str(number),
        )
        for number, model in enumerate((task.evaluated, other))
    ]
    inference = Inference(
        split="test", views=views, batch_size=4, autocast=nullcontext, check=lambda: None
    )
    saved, samples = predict_members(members, inference)
    all_saved = [each for of_one in saved.values() for each in of_one.values()]
    assert len(all_saved) == 4
    expected = {}
    batches = fused_batches(task, all_saved, [1.0] * 4, samples)
    for keys, fused in zip(samples.keys, batches, strict=True):
        expected |= zip(keys.tolist(), evaluated.results.records(fused), strict=True)
    task.evaluated.load_state_dict(members[0].weights)
    found = predicted(predictor_of(evaluated, task.evaluated, other, views=views), evaluated.paths)
    assert_equal(found, [expected[key] for key in sorted(expected)])
    assert found != predicted(predictor_of(evaluated, task.evaluated, other), evaluated.paths)


@pytest.mark.integration
def test_a_batch_of_several_canvases_keeps_its_order(tmp_path: Path) -> None:
    evaluated = Evaluated("detection", tmp_path)
    predictor = predictor_of(evaluated, evaluated.task.evaluated, batch_size=7)
    forwards = predicted(predictor, evaluated.paths)
    backwards = predicted(predictor, evaluated.paths[::-1])
    assert_equal(backwards[::-1], forwards)
    sizes = {_pixels(path).shape for path in evaluated.paths}
    assert len(sizes) > 1


def test_arrays_and_files_have_equal_predictions(tmp_path: Path) -> None:
    evaluated = Evaluated("classification", tmp_path)
    paths = evaluated.paths[:7]
    np.save(tmp_path / "a.npy", np.stack([_pixels(path) for path in paths]))
    predictor = predictor_of(evaluated, evaluated.task.evaluated)
    arrays: list[Any] = list(array_images(tmp_path / "a.npy"))
    assert predicted(predictor, arrays) == predicted(predictor, paths)


@each_task("keypoints")
def test_members_with_inputs_of_other_sizes_see_their_own(evaluated: Evaluated) -> None:
    dataset: Any = evaluated.experiment.dataset
    names = {"class_names": evaluated.data.class_names, "class_ids": evaluated.data.class_ids}
    large = replace(dataset, size_px=96).plain_images(**names, device=CPU)
    small = predictor_of(evaluated, evaluated.task.evaluated)
    (model,) = small.models
    models = [model, replace(model, images=1, weight=3.0)]
    both = replace(small, models=models, images=[small.images[0], large], fuse=evaluated.task.fuse)
    alone = [
        torch.tensor([record["points"] for record in predicted(each, evaluated.paths)])
        for each in (small, replace(small, images=[large]))
    ]
    assert (alone[0] - alone[1]).abs().max() > 0.1
    expected = (alone[0] + 3 * alone[1]) / 4
    found = torch.tensor([record["points"] for record in predicted(both, evaluated.paths)])
    assert torch.allclose(found, expected, atol=1e-3)


def test_a_data_set_that_cannot_show_other_images_is_refused() -> None:
    experiment = build_experiment(of_new_run())
    config = {"dataset": {"_target_": "mine.Stripes"}}
    saved = SavedRun(config, ["a"], [0], {})
    bare = replace(experiment, dataset=lambda **_: evaluated)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"dataset must have a method plain_images .* mine\.Stripes"
    ):
        plain_images_of(bare, saved, CPU)
