"""The loop on a GPU; skips itself without one."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from siblings import SEED, classification, fasterrcnn, scenes

from visionlab.config.errors import explain
from visionlab.engine.device import choose_device, set_determinism
from visionlab.images.holdout import Holdout
from visionlab.task import Task
from visionlab.tasks.classification.augment import Augment
from visionlab.tasks.classification.records import LabelledImages
from visionlab.tasks.classification.splits import ClassificationDataset, in_memory
from visionlab.testing.training import NO_STOP, assert_same, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def on_gpu() -> Task:
    device = choose_device("cuda")
    set_determinism(device, deterministic=True)
    images = torch.randint(0, 256, (64, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    labelled = LabelledImages(images.to(torch.uint8), torch.arange(64) % 2)
    data = in_memory(
        labelled,
        labelled,
        class_names=["even", "odd"],
        dataset=ClassificationDataset(
            val=Holdout(split=0.25, seed=1), mean=[0.5] * 3, std=[0.25] * 3
        ),
        augmentation=Augment(pad_px=4, flip_prob=0.5, cutout_px=8),
        seed=SEED,
        device=device,
    )
    task = classification()
    return replace(task, splits=data.splits, model=task.model.to(device))


def test_a_run_on_a_gpu_resumes_exactly(tmp_path: Path) -> None:
    whole = train(on_gpu, tmp_path / "whole")
    train(on_gpu, tmp_path / "broken", stop=replace(NO_STOP, max_steps=4))
    assert_same(whole, train(on_gpu, tmp_path / "broken", resume=True))


@pytest.fixture
def _only_deterministic() -> Iterator[None]:
    """Make an operation without a deterministic implementation an error, not a warning."""
    set_determinism(choose_device("cuda"), deterministic=True)
    torch.use_deterministic_algorithms(True)
    yield
    set_determinism(choose_device("cuda"), deterministic=True)  # which warns only


@pytest.mark.usefixtures("_only_deterministic")
def test_two_steps_of_faster_rcnn_repeat_or_name_the_operation_that_does_not(
    tmp_path: Path,
) -> None:
    def make() -> Task:
        device = choose_device("cuda")
        task = fasterrcnn()
        return replace(task, splits=scenes(device).splits, model=task.model.to(device))

    stop = replace(NO_STOP, max_steps=2)
    try:
        first = train(make, tmp_path / "first", stop=stop)
    except RuntimeError as error:
        message = explain(error)
        assert "deterministic" in message
        assert "\n" not in message
    else:
        assert_same(first, train(make, tmp_path / "second", stop=stop))
