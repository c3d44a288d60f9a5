import torch
from sklearn.datasets import load_digits

from visionlab.images.digits import CLASS_NAMES, read_digits


def test_the_digits_are_those_that_scikit_learn_loads() -> None:
    images, labels = read_digits()
    source = load_digits()
    assert images.dtype == torch.float64
    assert labels.dtype == torch.int64
    assert images.numpy().tolist() == source.images.tolist()
    assert labels.tolist() == source.target.tolist()
    assert [str(name) for name in source.target_names] == CLASS_NAMES
