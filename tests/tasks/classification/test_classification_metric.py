import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from visionlab.task import Batch
from visionlab.tasks.classification.metric import Accuracy, probabilities, top1


def problem(num_samples: int, num_classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return probabilities without ties, and labels."""
    generator = torch.Generator().manual_seed(seed)
    ranks = torch.stack(
        [torch.randperm(num_classes, generator=generator) for _ in range(num_samples)]
    )
    labels = torch.randint(0, num_classes, (num_samples,), generator=generator)
    return (ranks + 1.0) / (ranks + 1.0).sum(dim=1, keepdim=True), labels


PROBLEMS = st.builds(problem, st.integers(1, 100), st.integers(1, 9), st.integers(0, 9999))


def naive_top_k(predictions: Tensor, labels: Tensor, k: int) -> float:
    hits = 0
    for row, label in zip(predictions.tolist(), labels.tolist(), strict=True):
        best = sorted(range(len(row)), key=lambda index: -row[index])[:k]
        hits += label in best
    return hits / len(labels)


def names_of(predictions: Tensor) -> list[str]:
    return [str(label) for label in range(predictions.shape[1])]


def accuracy_of(predictions: Tensor, labels: Tensor, *top_k: int) -> dict[str, float]:
    metric = Accuracy(class_names=names_of(predictions), top_k=top_k)
    metric.update(predictions, labels)
    return metric.compute()


def test_top_k_at_numbers_checked_by_eye() -> None:
    predictions = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])
    labels = torch.tensor([0, 1, 2, 2])
    expected = {"top1": 0.5, "top2": 0.75, "top3": 1.0}
    assert accuracy_of(predictions, labels, 1, 2, 3) == expected


@given(problem=PROBLEMS, top_k=st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True))
def test_top_k_equals_the_naive_count(problem: tuple[Tensor, Tensor], top_k: list[int]) -> None:
    found = accuracy_of(*problem, *top_k)
    assert found == {f"top{k}": pytest.approx(naive_top_k(*problem, k)) for k in top_k}


@given(problem=PROBLEMS, data=st.data())
def test_neither_batching_nor_order_changes_a_number(
    problem: tuple[Tensor, Tensor], data: st.DataObject
) -> None:
    predictions, labels = problem
    order = torch.tensor(data.draw(st.permutations(range(len(labels)))))
    metric = Accuracy(class_names=names_of(predictions), top_k=[1, 5])
    for rows in order.split(data.draw(st.integers(1, 40))):
        metric.update(predictions[rows], labels[rows])
    assert metric.compute() == accuracy_of(predictions, labels, 1, 5)


@given(problem=PROBLEMS)
def test_top_k_grows_with_k_up_to_one(problem: tuple[Tensor, Tensor]) -> None:
    values = list(accuracy_of(*problem, *range(1, 10)).values())
    assert values == sorted(values)
    assert values[-1] == 1.0


@given(problem=PROBLEMS)
def test_perfect_predictions_score_one_and_worst_ones_zero(problem: tuple[Tensor, Tensor]) -> None:
    _, labels = problem
    perfect = torch.nn.functional.one_hot(labels, 10).float()
    assert accuracy_of(perfect, labels, 1, 5) == {"top1": 1.0, "top5": 1.0}
    assert accuracy_of(1 - perfect, labels, 1, 9) == {"top1": 0.0, "top9": 0.0}


def test_with_fewer_classes_than_k_every_sample_counts() -> None:
    predictions = torch.tensor([[0.9, 0.1], [0.9, 0.1]])
    found = accuracy_of(predictions, torch.tensor([0, 1]), 1, 5)
    assert found == {"top1": 0.5, "top5": 1.0}


def test_samples_come_in_the_order_of_the_updates() -> None:
    metric = Accuracy(class_names=["a", "b", "c"], top_k=[2])
    metric.update(torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5]]), torch.tensor([0, 1]))
    metric.update(torch.tensor([[0.2, 0.7, 0.1]]), torch.tensor([1]))
    samples = metric.samples()
    assert {name: value.tolist() for name, value in samples.items()} == {
        "label": [0, 1, 1],
        "predicted": [0, 2, 1],
        "correct": [True, False, True],
        "label_prob": pytest.approx([0.9, 0.3, 0.7], abs=1e-3),
    }
    types = [samples[name].dtype for name in ("label", "predicted", "correct", "label_prob")]
    assert types == [torch.int16, torch.int16, torch.bool, torch.float16]


@given(problem=PROBLEMS)
def test_the_share_of_correct_samples_is_top1(problem: tuple[Tensor, Tensor]) -> None:
    metric = Accuracy(class_names=names_of(problem[0]), top_k=[3, 1])
    metric.update(*problem)
    share = metric.samples()["correct"].double().mean().item()
    assert share == pytest.approx(metric.compute()["top1"])


def test_reset_forgets_everything() -> None:
    metric = Accuracy(class_names=["a", "b"], top_k=[1])
    metric.update(torch.tensor([[0.1, 0.9]]), torch.tensor([0]))
    metric.reset()
    with pytest.raises(ValueError, match="an accuracy needs at least one sample, got 0"):
        metric.compute()
    metric.update(torch.tensor([[0.9, 0.1]]), torch.tensor([0]))
    assert metric.compute() == {"top1": 1.0}
    assert metric.samples()["label"].tolist() == [0]


def test_computing_does_not_end_the_counting() -> None:
    metric = Accuracy(class_names=["a", "b"], top_k=[1])
    metric.update(torch.tensor([[0.1, 0.9]]), torch.tensor([0]))
    assert metric.compute() == metric.compute() == {"top1": 0.0}
    metric.update(torch.tensor([[0.9, 0.1]]), torch.tensor([0]))
    assert metric.compute() == {"top1": 0.5}


def test_a_metric_without_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="an accuracy needs at least one sample, got 0"):
        Accuracy(class_names=["a", "b"], top_k=[1]).compute()


def test_names_are_those_of_the_numbers() -> None:
    metric = Accuracy(class_names=["a", "b"], top_k=[1, 5])
    metric.update(torch.tensor([[0.1, 0.9]]), torch.tensor([0]))
    assert list(metric.names) == list(metric.compute()) == ["top1", "top5"]


def test_a_model_with_more_outputs_than_classes_is_refused() -> None:
    metric = Accuracy(class_names=["a", "b"], top_k=[1])
    with pytest.raises(ValueError, match=r"model must return 2 logits.* got 3"):
        metric.update(torch.tensor([[0.1, 0.8, 0.1]]), torch.tensor([0]))


@pytest.mark.parametrize("top_k", [[], [0], [5, 0], [-1]])
def test_wrong_values_of_k_are_refused(top_k: list[int]) -> None:
    with pytest.raises(ValueError, match="top_k must be numbers >= 1, got"):
        Accuracy(class_names=[], top_k=top_k)


@given(problem=PROBLEMS)
def test_top1_of_a_batch_is_that_of_the_metric(problem: tuple[Tensor, Tensor]) -> None:
    predictions, labels = problem
    logits = predictions.log().requires_grad_()
    drawn = top1(logits, labels)
    assert list(drawn) == ["top1"]
    assert drawn["top1"].item() == pytest.approx(accuracy_of(predictions, labels, 1)["top1"])
    assert not drawn["top1"].requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_predictions_are_probabilities_in_float32(dtype: torch.dtype) -> None:
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0], [900.0, -900.0]], dtype=dtype)
    batch = Batch(inputs=None, targets=None, keys=torch.arange(3))
    found = probabilities(logits, batch)
    assert found.dtype == torch.float32
    expected = torch.tensor([[0.5, 0.5], [0.8807971, 0.1192029], [1.0, 0.0]])
    torch.testing.assert_close(found, expected)
