import math
from typing import Any

import pytest
import torch
from oriented import turned
from torch import Tensor

from visionlab.core import oriented_boxes
from visionlab.tasks.detection.loss.retinanet import RetinaNetLoss
from visionlab.tasks.detection.records import BoxTargets, DenseOutput

SHAPE = (4, 5)
STD = torch.tensor([0.1, 0.1, 0.2, 0.2, 0.2])
SETTINGS: dict[str, Any] = {
    "alpha": 0.25,
    "gamma": 2.0,
    "positive_iou": 0.5,
    "negative_iou": 0.4,
    "force_best_anchor": True,
    "box": "smooth_l1",
    "beta": 0.1,
    "box_weight": 1.0,
}


def anchors() -> Tensor:
    """Return an anchor of 16 x 16 pixels in each cell of 8 pixels."""
    y, x = torch.meshgrid(*(8.0 * torch.arange(n) + 4 for n in SHAPE), indexing="ij")
    return torch.stack([x - 8, y - 8, x + 8, y + 8], dim=-1).view(-1, 4)


def outputs(deltas: Tensor) -> DenseOutput:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(*deltas.shape[:2], 3, generator=generator)
    return DenseOutput(logits, deltas, anchors(), [SHAPE], STD)


def targets(oriented: Tensor) -> BoxTargets:
    """Return the boxes (B, K, 5) of a batch, of classes 0, 1, ..."""
    labels = torch.arange(oriented.shape[1]).expand(oriented.shape[:2])
    sizes = torch.tensor([[40.0, 32.0]]).expand(len(oriented), 2)
    boxes = oriented_boxes.enclosing(oriented)
    return BoxTargets(boxes, labels, [], sizes, oriented)


def box_loss(loss: RetinaNetLoss, deltas: Tensor, box: Tensor) -> float:
    return loss(outputs(deltas), targets(box[None].float()))["box"].item()


@pytest.mark.parametrize("box", ["smooth_l1", "l1"])
def test_at_angle_zero_the_losses_are_those_of_upright_boxes(box: Any) -> None:
    upright = torch.tensor([[[4.0, 4, 20, 18], [18, 8, 30, 30]], [[2, 2, 19, 16], [1, 18, 20, 31]]])
    oriented = oriented_boxes.canonical(oriented_boxes.from_boxes(upright))
    generator = torch.Generator().manual_seed(0)
    deltas = torch.randn(2, 20, 5, generator=generator)
    deltas[..., 4] = 0.0
    settings = {**SETTINGS, "box": box}
    found = RetinaNetLoss(**settings)(outputs(deltas), targets(oriented))
    logits = outputs(deltas).logits
    dense = DenseOutput(logits, deltas[..., :4], anchors(), [SHAPE], STD[:4])
    wanted = RetinaNetLoss(**settings)(dense, targets(oriented)._replace(boxes=upright))
    assert torch.equal(found["classification"], wanted["classification"])
    # a mean over five offsets, the last of which is right, instead of four
    assert found["box"].item() == pytest.approx(wanted["box"].item() * 4 / 5, rel=1e-5)


@pytest.mark.parametrize("degrees", [-89.0, -46.0, -44.0, 0.0, 30.0, 44.0, 46.0, 90.0])
def test_no_prediction_of_the_right_corners_is_punished(degrees: float) -> None:
    box = oriented_boxes.canonical(turned(12, 12, 22, 12, degrees).float())
    base = oriented_boxes.encode(box, oriented_boxes.from_boxes(anchors()))
    flipped = base[:, [0, 1, 3, 2, 4]].clone()  # the anchors are squares
    for turn in (-math.pi / 2, math.pi / 2):
        flipped[:, 4] = base[:, 4] + turn
        for deltas in (base, flipped):
            loss = box_loss(RetinaNetLoss(**SETTINGS), deltas[None] / STD, box)
            assert loss == pytest.approx(0, abs=1e-5)


def test_the_sides_of_a_long_anchor_change_places_too() -> None:
    box, long = turned(12, 12, 30, 8, 80).float(), torch.tensor([[0.0, 8, 24, 16]])
    anchor = oriented_boxes.from_boxes(long)
    other = torch.tensor([[12.0, 12, 30, 8, math.radians(80)]])
    deltas = torch.cat([(other[:, 2:4] / anchor[:, 2:4]).log(), other[:, 4:]], dim=1)
    deltas = torch.cat([torch.zeros(1, 2), deltas], dim=1)
    settings = {**SETTINGS, "positive_iou": 0.01, "negative_iou": 0.01}
    dense = DenseOutput(torch.zeros(1, 1, 1), deltas[None] / STD, long, [(1, 1)], STD)
    loss = RetinaNetLoss(**settings)(dense, targets(box[None]))
    assert loss["box"].item() == pytest.approx(0, abs=1e-5)


def test_an_angle_that_is_off_by_hand() -> None:
    box = turned(12, 12, 16, 12, 20).float()
    deltas = oriented_boxes.encode(box, oriented_boxes.from_boxes(anchors())) / STD
    deltas[:, 4] += 3.0
    loss = RetinaNetLoss(**{**SETTINGS, "box": "l1", "box_weight": 2.0})
    assert box_loss(loss, deltas[None], box) == pytest.approx(2 * 3.0 / 5, rel=1e-5)


def test_images_without_boxes_have_no_loss_of_boxes() -> None:
    deltas = torch.ones(1, 20, 5, requires_grad=True)
    losses = RetinaNetLoss(**SETTINGS)(outputs(deltas), targets(torch.zeros(1, 0, 5)))
    assert losses["box"].item() == 0
    assert losses["classification"].item() > 0
    losses["box"].backward()
    assert deltas.grad is not None
    assert not deltas.grad.any()


def test_giou_is_refused() -> None:
    loss, box = RetinaNetLoss(**{**SETTINGS, "box": "giou"}), turned(12, 12, 8, 8, 0)[None].float()
    with pytest.raises(ValueError, match=r"^loss\.box must be smooth_l1 or l1 .*, got 'giou'$"):
        loss(outputs(torch.zeros(1, 20, 5)), targets(box))


def test_upright_targets_are_refused() -> None:
    upright = targets(turned(12, 12, 8, 8, 0)[None].float())._replace(oriented=None)
    with pytest.raises(
        ValueError, match=r"^dataset must have oriented boxes .*, got upright ones$"
    ):
        RetinaNetLoss(**SETTINGS)(outputs(torch.zeros(1, 20, 5)), upright)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 2.0}, r"^alpha must be in \[0, 1\], got 2\.0$"),
        ({"beta": 0.0}, r"^beta must be > 0, got 0\.0$"),
        ({"gamma": -1.0}, r"^gamma must be >= 0, got -1\.0$"),
        ({"negative_iou": 0.6}, "^negative_iou must be .*, got negative_iou=0.6 positive_iou=0.5$"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RetinaNetLoss(**{**SETTINGS, **settings})
