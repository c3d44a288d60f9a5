import logging
import math

import pytest
import torch

from visionlab.tasks.pretraining.metric import Features, NearestNeighbours, principal_plane


def metric(k: int = 4, temperature: float = 0.07) -> NearestNeighbours:
    return NearestNeighbours(class_names=["a", "b", "c"], k=k, temperature=temperature)


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(0.07, [0.762865, 0.226635, 0.010500]), (0.1, [0.643914, 0.324027, 0.032059])],
)
def test_worked_votes(temperature: float, expected: list[float]) -> None:
    votes = metric(temperature=temperature).vote(
        torch.tensor([[0.9, 0.8, 0.7, 0.6]]), torch.tensor([[0, 1, 1, 2]])
    )
    torch.testing.assert_close(votes[0], torch.tensor(expected), atol=1e-6, rtol=0)


def features(angles: list[float], keys: list[int]) -> Features:
    turns = torch.tensor(angles)
    return Features(torch.stack([turns.cos(), turns.sin()], dim=1), torch.tensor(keys))


def test_a_sample_is_no_neighbour_of_itself_and_ties_go_to_the_lowest_class() -> None:
    knn = metric(k=2)
    knn.remember(features([0.0, 0.1, -0.1], [7, 8, 9]), torch.tensor([2, 1, 0]))
    knn.update(features([0.0], [7]), torch.tensor([0]))
    samples = knn.samples()
    assert sorted(samples["neighbours"][0].tolist()) == [8, 9]
    assert samples["predicted"].tolist() == [0]
    assert knn.compute() == {"knn": 1.0}


def test_more_neighbours_than_the_bank_has_are_said(caplog: pytest.LogCaptureFixture) -> None:
    knn = metric(k=200)
    knn.remember(features([0.0, 1.0], [1, 2]), torch.tensor([0, 1]))
    with caplog.at_level(logging.WARNING):
        knn.update(features([0.9], [3]), torch.tensor([1]))
    assert "task.metric.k is 200, the bank has 2 samples" in caplog.text
    assert knn.compute() == {"knn": 1.0}


def test_samples_without_labels_or_bank_have_no_accuracy() -> None:
    knn = metric()
    knn.update(features([0.0, 1.0], [1, 2]), torch.tensor([-1, -1]))
    assert math.isnan(knn.compute()["knn"])


def test_the_plane_has_the_axes_of_largest_variance() -> None:
    line = torch.linspace(-1.0, 1.0, 9)
    values = torch.stack([0.0 * line + 5.0, 0.1 * line**2, -3.0 * line], dim=1)
    plane = principal_plane(values)
    torch.testing.assert_close(plane[:, 0], (-3.0 * line).double())  # the largest part is positive
    torch.testing.assert_close(plane[:, 1], (0.1 * (line**2 - (line**2).mean())).double())
    assert principal_plane(values[:, :1]).tolist() == [[0.0, 0.0]] * 9
