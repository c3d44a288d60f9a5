"""Ensembles of members whose predictions are saved: laws, rivals and refusals."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from siblings import classification, detection, keypoints, two_views
from torch import Tensor
from viewing import view

from visionlab.engine.evaluation import evaluate
from visionlab.ensembles.ensemble import Ensemble, EnsemblePredictions, predict_ensemble
from visionlab.ensembles.prediction import Inference, Member
from visionlab.ensembles.results.worth import chosen_weights, size_curve
from visionlab.ensembles.soup import soup
from visionlab.images.views import View
from visionlab.task import Task

NO_AUTOCAST = partial(torch.autocast, "cpu", enabled=False)
TASKS = pytest.mark.parametrize("make_task", [classification, keypoints, detection])


def ensemble(**settings: Any) -> Ensemble:
    common = {"members": ["a"], "weights": None, "max_subsets": 50, "num_rounds": 5, "seed": 0}
    return Ensemble(**common | settings)  # type: ignore[arg-type]


def inference(views: Mapping[str, View] | None = None) -> Inference:
    return Inference(
        split="val", views=views, batch_size=5, autocast=NO_AUTOCAST, check=lambda: None
    )


def changed_weights(task: Task, number: int) -> dict[str, Tensor]:
    """Return the task's weights, with noise unless the number is 0."""
    generator = torch.Generator().manual_seed(number)
    weights = copy.deepcopy(task.evaluated.state_dict())
    for value in weights.values():
        if number and value.is_floating_point():
            value += 0.02 * value.abs().mean() * torch.randn(value.shape, generator=generator)
    return weights


def members(task: Task, folder: Path, numbers: Sequence[int]) -> list[Member]:
    """Return members with names of their numbers and places."""
    return [
        Member(
            name=f"{place}_{number}",
            task=task,
            weights=changed_weights(task, number),
            cache_key={},
            folder=folder / f"{place}_{number}" / "val_views",
        )
        for place, number in enumerate(numbers)
    ]


def fusion(
    task: Task, folder: Path, numbers: Sequence[int], views: Mapping[str, View] | None = None
) -> EnsemblePredictions:
    return predict_ensemble(members(task, folder, numbers), inference(views))


def equal(of: EnsemblePredictions) -> dict[str, float]:
    return dict.fromkeys(of.predicted, 1.0)


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.allclose(one[name].double(), other[name].double(), atol=1e-6, equal_nan=True)
        for name in one
    )


@TASKS
def test_a_member_alone_has_the_numbers_of_its_evaluation(
    make_task: Callable[[], Task], tmp_path: Path
) -> None:
    task = make_task()
    found = fusion(task, tmp_path, [1, 0])
    task.evaluated.load_state_dict(changed_weights(task, 1))
    expected = evaluate(
        task,
        task.evaluated,
        task.splits["val"],
        batch_size=5,
        autocast=NO_AUTOCAST,
        check=lambda: None,
    )
    own = found.member("0_1")
    assert own.metrics == {name: expected.metrics[name] for name in task.metric.names}
    for name, values in own.samples.items():
        assert torch.equal(values, expected.samples[name]), name


@TASKS
def test_identical_members_are_as_one(make_task: Callable[[], Task], tmp_path: Path) -> None:
    found = fusion(make_task(), tmp_path, [1, 1, 1])
    one, fused = found.member("0_1"), found.fused({"0_1": 2.0, "1_1": 1.0, "2_1": 0.5})
    assert fused.metrics == pytest.approx(one.metrics, abs=1e-9)
    assert same(fused.samples, one.samples)


@TASKS
def test_order_and_scale_of_weights_change_nothing(
    make_task: Callable[[], Task], tmp_path: Path
) -> None:
    found = fusion(make_task(), tmp_path, [0, 1, 2])
    weights = {"0_0": 3.0, "1_1": 1.0, "2_2": 2.0}
    expected = found.fused(weights)
    for other in (
        dict(reversed(weights.items())),
        {name: 7.5 * weight for name, weight in weights.items()},
    ):
        fused = found.fused(other)
        assert fused.metrics == pytest.approx(expected.metrics, abs=1e-6)
        assert same(fused.samples, expected.samples)


@TASKS
def test_a_member_without_weight_does_not_count(
    make_task: Callable[[], Task], tmp_path: Path
) -> None:
    found = fusion(make_task(), tmp_path, [0, 1, 2])
    expected = found.fused({"0_0": 1.0, "2_2": 1.0})
    assert found.fused({"0_0": 1.0, "1_1": 0.0, "2_2": 1.0}).metrics == expected.metrics


@pytest.mark.parametrize("make_task", [classification, keypoints])
def test_members_times_views_weigh_their_products(
    make_task: Callable[[], Task], tmp_path: Path
) -> None:
    views = {"plain": view(weight=3.0), "turned": view(rotation_degrees=10.0, weight=1.0)}
    task = make_task()
    found = fusion(task, tmp_path, [0, 1], views)
    fused = found.fused({"0_0": 2.0, "1_1": 1.0}).predictions
    keys = found.samples.all_keys
    expected: Any = 0.0
    for member, weight in (("0_0", 2.0), ("1_1", 1.0)):
        for name, each in views.items():
            own = found.predicted[member][name].of(keys).double()
            expected = expected + weight * each.weight * own
    assert fused is not None
    torch.testing.assert_close(fused.double(), expected / 12.0, atol=1e-5, rtol=0.0)


@TASKS
def test_other_weights_need_no_model(make_task: Callable[[], Task], tmp_path: Path) -> None:
    both = members(make_task(), tmp_path, [0, 1])
    predict_ensemble(both, inference())

    def predict(outputs: Any, batch: Any) -> Any:
        raise AssertionError("the model was called")

    asleep = replace(both[0].task, predict=predict)
    again = predict_ensemble([replace(each, task=asleep) for each in both], inference())
    assert again.fused({"0_0": 1.0, "1_1": 3.0}).metrics.keys() == set(asleep.metric.names)
    other = replace(both[1], task=asleep, weights=changed_weights(asleep, 2))
    with pytest.raises(AssertionError, match="the model was called"):
        predict_ensemble([other], inference())


def test_members_with_other_samples_are_refused(tmp_path: Path) -> None:
    task, other = keypoints(), keypoints()
    split: Any = other.splits["val"]
    rows = torch.tensor([5, 4, 3, 9, 0])
    few = replace(split, samples=rows, order=lambda **settings: [rows])
    other = replace(other, splits={**other.splits, "val": few})
    both = [*members(task, tmp_path, [0]), *members(other, tmp_path / "other", [1])]
    with pytest.raises(ValueError, match=r"^ensemble.members must have the same samples.*got.*0_1"):
        predict_ensemble(both, inference())


def test_samples_in_another_order_are_the_same(tmp_path: Path) -> None:
    task, other = keypoints(), keypoints()
    split: Any = other.splits["val"]
    rows = torch.arange(len(split)).flip(0)
    flipped = replace(split, order=lambda **settings: [rows])
    other = replace(other, splits={**other.splits, "val": flipped})
    first, second = members(task, tmp_path, [1]), members(other, tmp_path / "other", [1])
    found = predict_ensemble([*first, replace(second[0], name="other")], inference())
    torch.testing.assert_close(
        found.member("0_1").samples["points"], found.member("other").samples["points"]
    )


def test_a_task_that_cannot_fuse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^ensemble must be null for task .*, got some"):
        fusion(two_views(), tmp_path, [0, 1])
    assert not list(tmp_path.iterdir())


def test_a_soup_of_the_same_model_is_that_model(tmp_path: Path) -> None:
    task = keypoints()
    alike = members(task, tmp_path, [1, 1])
    mixed = soup(alike, [2.0, 1.0], inference())
    parameters = {name for name, _ in task.evaluated.named_parameters()}
    for name, value in mixed.weights.items():
        if name in parameters:
            torch.testing.assert_close(value, alike[0].weights[name])


def test_a_soup_has_the_mean_weights_and_its_own_statistics(tmp_path: Path) -> None:
    task = classification()
    both = members(task, tmp_path, [1, 2])
    mixed = soup(both, [3.0, 1.0], inference())
    parameters = {name for name, _ in task.evaluated.named_parameters()}
    for name, value in mixed.weights.items():
        one, other = (member.weights[name].double() for member in both)
        if name in parameters:
            torch.testing.assert_close(value.double(), 0.75 * one + 0.25 * other, atol=1e-6, rtol=0)
        elif name.endswith("running_mean"):
            assert not torch.allclose(value.double(), 0.75 * one + 0.25 * other, atol=1e-4)


def test_the_curve_over_sizes_starts_with_members_and_ends_with_all(tmp_path: Path) -> None:
    found = fusion(keypoints(), tmp_path, [0, 1, 2])
    curve = size_curve(found, ensemble(), metric="nme")
    alone = [found.member(name).metrics["nme"] for name in found.predicted]
    whole = found.fused(equal(found)).metrics["nme"]
    subsets = curve["subsets"]
    assert [row["num_subsets"] for row in subsets] == [3, 3, 1]
    assert subsets[0]["mean"] == pytest.approx(sum(alone) / 3)
    assert (subsets[0]["low"], subsets[0]["high"]) == pytest.approx((min(alone), max(alone)))
    assert subsets[2]["mean"] == pytest.approx(whole)
    assert [row["value"] for row in curve["last"]][::2] == pytest.approx([alone[2], whole])


@pytest.mark.parametrize(("make_task", "metric"), [(classification, "top1"), (keypoints, "nme")])
def test_weights_chosen_on_samples_are_no_worse_there_than_equal_ones(
    make_task: Callable[[], Task], metric: str, tmp_path: Path
) -> None:
    task = make_task()
    found = fusion(task, tmp_path, [0, 1, 2])
    chosen = chosen_weights(found, ensemble(), metric=metric, mode=task.mode)
    assert [*chosen] == ["greedy", "fitted"]
    for weights in chosen.values():
        assert sum(weights.values()) == pytest.approx(1.0)
        assert min(weights.values()) >= 0.0
        if task.name == "keypoints":
            assert found.fused(weights).metrics[metric] <= found.fused(equal(found)).metrics[metric]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"members": []}, "members must name at least one model, got none"),
        ({"weights": [1.0, -1.0]}, "weights must be >= 0, got -1.0"),
        ({"weights": [1.0, math.nan]}, "weights must be >= 0, got nan"),
        ({"weights": [0.0, 0.0]}, r"weights must have one above 0, got \[0.0, 0.0\]"),
        ({"max_subsets": 0}, "max_subsets must be >= 1, got 0"),
        ({"num_rounds": 0}, "num_rounds must be >= 1, got 0"),
    ],
)
def test_wrong_ensembles_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        ensemble(**settings)


def test_one_member_and_other_numbers_of_weights_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^ensemble.members must be at least 2 models, got a$"):
        ensemble().weights_of(["a"])
    with pytest.raises(
        ValueError, match=r"^ensemble.weights must be one for each of 3 members.*got 2$"
    ):
        ensemble(weights=[1.0, 2.0]).weights_of(["a", "b", "c"])
    assert ensemble(weights=[1.0, 0.0]).weights_of(["a", "b"]) == [1.0, 0.0]
