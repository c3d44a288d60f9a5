"""Weighted means over views of the same images."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from siblings import boxes, classification, keypoints
from torch import Tensor
from viewing import view

from visionlab.engine.evaluation import evaluate
from visionlab.ensembles.prediction import Inference, Member
from visionlab.ensembles.views import ViewResult, check_views, evaluate_views
from visionlab.files.tensors import map_tensors, write_tensors
from visionlab.images.views import View
from visionlab.task import Task

NO_AUTOCAST = partial(torch.autocast, "cpu", enabled=False)


THREE = {
    "plain": view(weight=0.5),
    "turned": view(rotation_degrees=20.0, weight=0.3),
    "mirrored": view(mirror=True, weight=0.2),
}


def run(
    task: Task,
    folder: Path,
    views: Mapping[str, View],
    *,
    weights: Mapping[str, Tensor] | None = None,
    about: str = "data",
) -> ViewResult:
    member = Member(
        name="model",
        task=task,
        weights=weights or copy.deepcopy(task.evaluated.state_dict()),
        cache_key={"data": about},
        folder=folder,
    )
    inference = Inference(
        split="val", views=views, batch_size=5, autocast=NO_AUTOCAST, check=lambda: None
    )
    return evaluate_views(member, inference)


def kept(folder: Path) -> dict[str, Tensor]:
    return {path.stem: map_tensors(path)["columns"]["values"] for path in folder.glob("*.pt")}


@pytest.mark.parametrize("make_task", [classification, keypoints])
def test_a_plain_view_is_a_plain_evaluation(make_task: Any, tmp_path: Path) -> None:
    task = make_task()
    plain = evaluate(
        task,
        task.model,
        task.splits["val"],
        batch_size=5,
        autocast=NO_AUTOCAST,
        check=lambda: None,
    )
    found = run(task, tmp_path, {"plain": view(weight=0.1)})
    expected = {name: plain.metrics[name] for name in task.metric.names}
    assert found.alone == {"plain": expected}
    assert found.running == {"plain": expected}
    assert torch.equal(found.samples["keys"], plain.samples["keys"])


@pytest.mark.parametrize("make_task", [classification, keypoints])
def test_the_running_mean_is_that_of_the_kept_predictions(make_task: Any, tmp_path: Path) -> None:
    task = make_task()
    found = run(task, tmp_path, THREE)
    predictions = kept(tmp_path)
    assert sorted(predictions) == ["mirrored", "plain", "turned"]
    assert not torch.allclose(predictions["plain"], predictions["turned"])
    split = task.splits["val"]
    targets = [batch.targets for batch in split.batches(batch_size=100, epoch=0, first_batch=0)]
    total, weight = 0.0, 0.0
    for name in THREE:
        total = total + THREE[name].weight * predictions[name].double()
        weight += THREE[name].weight
        task.metric.reset()
        task.metric.update((total / weight).float(), targets[0])
        assert found.running[name] == pytest.approx(task.metric.compute(), abs=1e-6)


def test_points_of_turned_and_mirrored_views_are_led_back(tmp_path: Path) -> None:
    """A model that sees where the points are: every view then finds them where they are."""
    task = keypoints()
    split = task.splits["val"]
    for batches in split.view_batches(batch_size=5, views=list(THREE.values())):  # type: ignore[attr-defined]
        for batch in batches:
            back = task.predict(batch.targets.points, batch)
            torch.testing.assert_close(back, batch.targets.original, atol=1e-3, rtol=0.0)


def test_an_image_is_decoded_once_for_all_views() -> None:
    task = keypoints()
    split: Any = task.splits["val"]
    rows: list[Tensor] = []
    read = split.read
    split = replace(split, read=lambda wanted: read(rows.append(r) or r for r in wanted))
    views = list(split.view_batches(batch_size=5, views=list(THREE.values())))
    assert all(len(batches) == 3 for batches in views)
    assert torch.equal(torch.cat(rows), torch.arange(len(split)))


def forbid_predictions(task: Task) -> Task:
    """Return a task whose model must not be asked."""

    def predict(outputs: Any, batch: Any) -> Any:
        raise AssertionError("the model was called")

    return replace(task, predict=predict)


def test_other_weights_and_fewer_views_take_no_model(tmp_path: Path) -> None:
    task = keypoints()
    run(task, tmp_path, THREE)
    asleep = forbid_predictions(task)
    again = run(asleep, tmp_path, {**THREE, "turned": view(rotation_degrees=20.0)})
    alone = run(asleep, tmp_path, {"turned": THREE["turned"]})
    assert again.alone["turned"] == alone.running["turned"]


SPOILT: dict[str, bytes | None] = {
    "absent": None,
    "empty": b"",
    "no tensors": b"no tensors",
    "no archive": b"PK\3\4 no archive",
}


@pytest.mark.parametrize("change", ["view", "weights", "about", "cut", "form", *SPOILT])
def test_what_was_kept_of_something_else_is_made_anew(change: str, tmp_path: Path) -> None:
    task = keypoints()
    run(task, tmp_path, THREE)
    views, about, path = dict(THREE), "data", tmp_path / "turned.pt"
    if change == "view":
        views["turned"] = view(rotation_degrees=21.0)
    elif change == "weights":
        next(iter(task.model.parameters())).data.add_(0.01)
    elif change == "about":
        about = "other data"
    elif change == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    elif change == "form":
        content = map_tensors(path)
        path.unlink()
        write_tensors(path, {"digest": content["digest"], "values": content["columns"]})
    else:
        path.unlink()
        if (spoilt := SPOILT[change]) is not None:
            path.write_bytes(spoilt)
    with pytest.raises(AssertionError, match="the model was called"):
        run(forbid_predictions(task), tmp_path, views, about=about)
    run(task, tmp_path, views, about=about)
    run(forbid_predictions(task), tmp_path, views, about=about)


def test_predictions_of_other_samples_are_made_anew(tmp_path: Path) -> None:
    """Fewer images, or the same ones in another order, under the same settings."""
    whole, fewer = keypoints(), keypoints()
    split: Any = fewer.splits["val"]
    rows = torch.tensor([5, 4, 3, 9, 0])
    few = replace(split, samples=rows, order=lambda **settings: [rows])
    fewer = replace(fewer, splits={**fewer.splits, "val": few})
    run(whole, tmp_path / "kept", THREE)
    found = run(fewer, tmp_path / "kept", THREE)
    expected = run(fewer, tmp_path / "anew", THREE)
    assert found.alone == expected.alone
    assert found.running == expected.running
    for name, predictions in kept(tmp_path / "anew").items():
        assert torch.equal(kept(tmp_path / "kept")[name], predictions)


def test_a_weight_of_nothing_counts_for_nothing(tmp_path: Path) -> None:
    task = keypoints()
    found = run(task, tmp_path, {"turned": view(rotation_degrees=20.0, weight=0.0), **THREE})
    assert "turned" in found.alone
    only = run(task, tmp_path / "other", {"a": view(weight=0.0, blur_px=3), "b": view()})
    assert only.running == {"b": only.alone["b"]}


def test_the_gain_is_told() -> None:
    result = ViewResult(
        alone={"plain": {"nme": 0.1}, "turned": {"nme": 0.3}},
        running={"plain": {"nme": 0.1}, "turned": {"nme": 0.09}},
        samples={},
    )
    assert result.describe_gain("nme") == "nme is 0.1000 in view plain and 0.0900 in all (-10.00%)"


def test_a_view_that_is_much_worse_alone_is_named() -> None:
    def worse(mode: str, **alone: float) -> dict[str, float]:
        metrics = {name: {"value": value} for name, value in alone.items()}
        result = ViewResult(alone=metrics, running=metrics, samples={})
        return result.worse_alone("value", mode=mode)

    assert worse("max", plain=0.7, mirrored=0.4, turned=0.65) == {"mirrored": 0.4}
    assert worse("min", plain=0.1, mirrored=0.4, turned=0.11) == {"mirrored": 0.4}
    assert worse("max", plain=0.7, zoomed=0.9) == worse("min", plain=0.1, zoomed=0.05) == {}
    assert worse("max", plain=float("nan"), mirrored=0.5) == {}


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ({}, "views must have at least one view, got none"),
        (
            {"a": view(weight=0.0), "b": view(weight=0.0)},
            "views must have weights with a sum above 0, got a=0, b=0",
        ),
    ],
)
def test_views_without_a_mean_are_refused(views: dict[str, View], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_views(views)


def test_predictions_without_a_mean_are_refused(tmp_path: Path) -> None:
    task = boxes()
    split: Any = task.splits["val"]

    class Viewed:
        def __len__(self) -> int:
            return len(split)

        def view_batches(self, *, batch_size: int, views: Any) -> Any:
            batches = split.batches(batch_size=batch_size, epoch=0, first_batch=0)
            return ([batch] * len(views) for batch in batches)

    task.splits["val"] = Viewed()  # type: ignore[index]
    with pytest.raises(ValueError, match="views must be null for task boxes"):
        run(task, tmp_path, THREE)
    assert not list(tmp_path.iterdir())
