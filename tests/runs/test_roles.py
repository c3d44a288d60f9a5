"""Parts that take other outputs than the model returns are refused, where annotations tell."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, nn

from visionlab.runs.roles import check_outputs
from visionlab.tasks.classification import CrossEntropy, ResNetCifar, TimmModel
from visionlab.tasks.detection import Detect, RetinaNet, RetinaNetLoss, boxes_per_image
from visionlab.tasks.keypoints import KeypointRegressor, SmoothL1

LOSS = RetinaNetLoss(
    alpha=0.25,
    gamma=2.0,
    positive_iou=0.5,
    negative_iou=0.4,
    force_best_anchor=False,
    box="l1",
    beta=0.1,
    box_weight=1.0,
)
DETECT = Detect(score_threshold=0.1, candidates_per_level=9, nms_iou=0.5, max_detections=9)
CLASSES = CrossEntropy(label_smoothing=0.0, class_weights=None)


class Pair(nn.Module):
    """A model of one's own with two outputs."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images


class Untold(nn.Module):
    """A model without annotations."""

    def forward(self, images):  # type: ignore[no-untyped-def]
        return images


def make_pair(num_classes: int) -> Pair:
    return Pair()


def either(outputs: Tensor | Pair, targets: Any) -> dict[str, Tensor]:
    return {}


@pytest.mark.parametrize(
    ("model", "taker"),
    [
        (RetinaNet, LOSS),
        (RetinaNet, DETECT),
        (RetinaNet, boxes_per_image),
        (KeypointRegressor, SmoothL1(beta=1.0)),
        (KeypointRegressor, either),
        (ResNetCifar, CLASSES),  # returns some nn.Module
        (ResNetCifar, LOSS),
        (TimmModel, CLASSES),
        (Untold, LOSS),
        (Pair, LOSS),  # a tuple is open
        (make_pair, CLASSES),
        (RetinaNet, lambda outputs, targets: {}),
    ],
)
def test_what_fits_or_cannot_be_told_is_taken(
    model: Callable[..., Any], taker: Callable[..., Any]
) -> None:
    check_outputs(model, {"loss": taker})


@pytest.mark.parametrize(
    ("model", "key", "taker", "message"),
    [
        (RetinaNet, "loss", CLASSES, "loss must .* DenseOutput, got CrossEntropy for Tensor"),
        (KeypointRegressor, "task.predict", DETECT, "predict must .* Tensor, got Detect for Dense"),
        (RetinaNet, "task.extra_scalars", either, "DenseOutput, got either for Tensor or Pair"),
    ],
)
def test_a_part_for_other_outputs_is_refused(
    model: Callable[..., Any], key: str, taker: Callable[..., Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_outputs(model, {key: taker})
