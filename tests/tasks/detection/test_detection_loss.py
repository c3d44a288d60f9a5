from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.retinanet import (
    RetinaNetClassificationHead,
    RetinaNetRegressionHead,
)
from torchvision.ops import box_iou, generalized_box_iou

from visionlab.core.boxes import decode, encode
from visionlab.tasks.detection.loss.retinanet import RetinaNetLoss, boxes_per_image
from visionlab.tasks.detection.model.anchors import Anchors
from visionlab.tasks.detection.records import BoxTargets, DenseOutput

SHAPES = [(6, 8), (3, 4), (1, 1)]
STRIDES = (8, 16, 64)
ANCHORS = Anchors(sizes_px=[12.0, 30.0, 50.0], ratios=[0.5, 1.0, 2.0], scales=[1.0])
BOX_STD = [0.1, 0.1, 0.2, 0.2]
NUM_CLASSES = 3


def make(**settings: Any) -> RetinaNetLoss:
    defaults: dict[str, Any] = {
        "alpha": 0.25,
        "gamma": 2.0,
        "positive_iou": 0.5,
        "negative_iou": 0.4,
        "force_best_anchor": False,
        "box": "smooth_l1",
        "beta": 1 / 9,
        "box_weight": 1.0,
    }
    return RetinaNetLoss(**{**defaults, **settings})


def outputs_of(
    num_images: int, seed: int, *, box_std: Sequence[float] = BOX_STD, dtype: Any = torch.float32
) -> DenseOutput:
    generator = torch.Generator().manual_seed(seed)
    anchors = ANCHORS(SHAPES, STRIDES)
    logits = 2 * torch.randn(num_images, len(anchors), NUM_CLASSES, generator=generator) - 2
    deltas = torch.randn(num_images, len(anchors), 4, generator=generator)
    return DenseOutput(
        logits.to(dtype).requires_grad_(),
        deltas.to(dtype).requires_grad_(),
        anchors,
        SHAPES,
        torch.tensor(list(box_std)),
    )


def targets_of(counts: Sequence[int], seed: int) -> BoxTargets:
    """Return random boxes, as many an image as told, and one row of padding more than is needed."""
    generator = torch.Generator().manual_seed(seed)
    most = max(counts) + 1
    boxes = torch.zeros(len(counts), most, 4)
    labels = torch.full((len(counts), most), -1)
    for image, count in enumerate(counts):
        low = torch.rand(count, 2, generator=generator) * torch.tensor([50.0, 35.0])
        sizes = 8 + 40 * torch.rand(count, 2, generator=generator)
        boxes[image, :count] = torch.cat([low, low + sizes], dim=1)
        labels[image, :count] = torch.randint(0, NUM_CLASSES, (count,), generator=generator)
    return BoxTargets(boxes, labels, [], torch.zeros(0, 2))


def naive_loss(
    outputs: DenseOutput, targets: BoxTargets, settings: RetinaNetLoss
) -> dict[str, Tensor]:
    """Return the losses image by image, from all overlaps, in double precision."""
    anchors = outputs.anchors.double()
    box_std = outputs.box_std.double()
    classification = torch.zeros((), dtype=torch.float64)
    box = torch.zeros((), dtype=torch.float64)
    num_positives = 0
    for logits, deltas, rows, labels in zip(
        outputs.logits.double(), outputs.deltas.double(), targets.boxes, targets.labels, strict=True
    ):
        boxes, classes = rows[labels >= 0].double(), labels[labels >= 0]
        wanted = torch.zeros_like(logits)
        is_counted = torch.ones(len(anchors), dtype=torch.bool)
        if len(boxes):
            overlaps, numbers = box_iou(boxes, anchors).max(dim=0)
            is_positive = overlaps >= settings.positive_iou
            is_counted = is_positive | (overlaps < settings.negative_iou)
            wanted[is_positive, classes[numbers[is_positive]]] = 1.0
            true, near = boxes[numbers[is_positive]], anchors[is_positive]
            found = deltas[is_positive]
            num_positives += int(is_positive.sum())
            if settings.box == "giou":
                ious = generalized_box_iou(decode(found * box_std, near), true)
                box = box + (1 - ious.diag()).sum()
            else:
                gaps = (found - encode(true, near) / box_std).abs()
                beta = settings.beta
                smooth = torch.where(gaps < beta, gaps**2 / (2 * beta), gaps - beta / 2)
                box = box + (gaps if settings.box == "l1" else smooth).mean(dim=1).sum()
        p = logits.sigmoid()
        p_t = torch.where(wanted > 0, p, 1 - p)
        alpha_t = torch.where(wanted > 0, settings.alpha, 1 - settings.alpha)
        each = -alpha_t * (1 - p_t) ** settings.gamma * p_t.log()
        classification = classification + each[is_counted].sum()
    divisor = max(1, num_positives)
    return {"classification": classification / divisor, "box": settings.box_weight * box / divisor}


@given(
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    seed=st.integers(0, 9999),
    box=st.sampled_from(["smooth_l1", "l1", "giou"]),
    gamma=st.sampled_from([0.0, 0.5, 2.0]),
    thresholds=st.sampled_from([(0.5, 0.4), (0.5, 0.5), (0.3, 0.1)]),
    box_weight=st.sampled_from([1.0, 0.0, 2.5]),
)
def test_the_losses_and_their_gradients_equal_those_of_a_loop_over_images(
    counts: list[int],
    seed: int,
    box: str,
    gamma: float,
    thresholds: tuple[float, float],
    box_weight: float,
) -> None:
    settings = make(
        box=box,
        gamma=gamma,
        positive_iou=thresholds[0],
        negative_iou=thresholds[1],
        box_weight=box_weight,
    )
    ours, theirs = outputs_of(len(counts), seed), outputs_of(len(counts), seed)
    targets = targets_of(counts, seed)
    found, expected = settings(ours, targets), naive_loss(theirs, targets, settings)
    assert list(found) == ["classification", "box"]
    for name, value in found.items():
        assert value.shape == ()
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(expected[name].item(), rel=1e-4, abs=1e-4)
    sum(found.values()).backward()  # type: ignore[union-attr]
    sum(expected.values()).backward()  # type: ignore[union-attr]
    for name in ("logits", "deltas"):
        one, two = getattr(ours, name).grad, getattr(theirs, name).grad
        assert one is not None
        two = torch.zeros_like(one) if two is None else two
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


@given(count=st.integers(1, 6), seed=st.integers(0, 9999))
def test_the_losses_are_those_of_torchvision(count: int, seed: int) -> None:
    outputs, targets = outputs_of(1, seed, box_std=[1.0] * 4), targets_of([count], seed)
    boxes, labels = targets.boxes[0, :count], targets.labels[0, :count]
    matcher = Matcher(0.5, 0.4, allow_low_quality_matches=False)
    matched = [matcher(box_iou(boxes, outputs.anchors))]
    theirs = [{"boxes": boxes, "labels": labels}]
    predicted = {"cls_logits": outputs.logits, "bbox_regression": outputs.deltas}
    heads = (RetinaNetClassificationHead(8, 3, NUM_CLASSES), RetinaNetRegressionHead(8, 3))
    classification = heads[0].compute_loss(theirs, predicted, matched)
    box = heads[1].compute_loss(theirs, predicted, [outputs.anchors], matched)
    found = make(box="l1", box_weight=4.0)(outputs, targets)  # it adds the four numbers up
    torch.testing.assert_close(found["classification"], classification, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["box"], box, rtol=1e-4, atol=1e-4)


def one_anchor(logit: float, box: Sequence[float], label: int = 0) -> tuple[Any, BoxTargets]:
    """Return what is said at the one anchor 0, 0, 10, 10, and a box."""
    outputs = DenseOutput(
        torch.full((1, 1, 1), logit),
        torch.zeros(1, 1, 4),
        torch.tensor([[0.0, 0.0, 10.0, 10.0]]),
        [(1, 1)],
        torch.tensor(BOX_STD),
    )
    return outputs, BoxTargets(
        torch.tensor([[list(box)]]), torch.tensor([[label]]), [], torch.zeros(0, 2)
    )


def test_the_losses_of_one_anchor_are_those_checked_by_hand() -> None:
    shifted = one_anchor(0.0, [1.0, 0.0, 11.0, 10.0])  # 0.1 of a side, divided by 0.1
    log2 = 0.6931472
    found = make(box="l1", gamma=0.0)(*shifted)
    assert found["classification"].item() == pytest.approx(0.25 * log2)
    assert found["box"].item() == pytest.approx(1.0 / 4, rel=1e-5)
    smooth = make(box="smooth_l1", beta=0.5)(*shifted)["box"]
    assert smooth.item() == pytest.approx((1.0 - 0.5 / 2) / 4, rel=1e-5)
    parabola = make(box="smooth_l1", beta=2.0)(*shifted)["box"]
    assert parabola.item() == pytest.approx(1.0 / 4 / 4, rel=1e-5)
    giou = make(box="giou")(*shifted)["box"]  # 90 of 110, and no more room around both
    assert giou.item() == pytest.approx(1 - 90 / 110, rel=1e-5)
    assert make(box="giou", box_weight=3.0)(*shifted)["box"].item() == pytest.approx(60 / 110)
    nothing = make(gamma=0.0)(*one_anchor(0.0, [0.0, 0.0, 10.0, 10.0], label=-1))
    assert nothing["classification"].item() == pytest.approx(0.75 * log2)
    assert nothing["box"].item() == 0.0


@pytest.mark.parametrize("box", ["smooth_l1", "l1", "giou"])
def test_perfect_boxes_cost_nothing(box: str) -> None:
    targets = targets_of([4, 2], seed=3)
    outputs = outputs_of(2, seed=3)
    rough = make(box=box)(outputs, targets)["box"].item()
    perfect = []
    for boxes, labels in zip(targets.boxes, targets.labels, strict=True):
        overlaps = box_iou(boxes[labels >= 0], outputs.anchors)
        perfect.append(encode(boxes[overlaps.argmax(dim=0)], outputs.anchors) / outputs.box_std)
    found = make(box=box)(outputs._replace(deltas=torch.stack(perfect)), targets)
    assert rough > 0.1
    assert found["box"].item() == pytest.approx(0.0, abs=1e-4)


def test_images_without_boxes_add_their_background() -> None:
    outputs, targets = outputs_of(2, seed=1), targets_of([4, 0], seed=1)
    first = DenseOutput(outputs.logits[:1], outputs.deltas[:1], *outputs[2:])
    second = DenseOutput(outputs.logits[1:], outputs.deltas[1:], *outputs[2:])
    settings = make()
    together = settings(outputs, targets)
    alone = settings(
        first, BoxTargets(targets.boxes[:1], targets.labels[:1], [], torch.zeros(0, 2))
    )
    empty = settings(
        second, BoxTargets(targets.boxes[1:], targets.labels[1:], [], torch.zeros(0, 2))
    )
    num_positives = int((box_iou(targets.boxes[0, :4], outputs.anchors).amax(dim=0) >= 0.5).sum())
    assert num_positives > 1
    expected = alone["classification"] + empty["classification"] / num_positives
    torch.testing.assert_close(together["classification"], expected)
    torch.testing.assert_close(together["box"], alone["box"])


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("box", ["smooth_l1", "l1", "giou"])
@pytest.mark.parametrize("most", [0, 2])
def test_a_batch_without_any_box_has_a_finite_loss(most: int, box: str, forced: bool) -> None:
    outputs = outputs_of(2, seed=2)
    targets = BoxTargets(torch.zeros(2, most, 4), torch.full((2, most), -1), [], torch.zeros(0, 2))
    found = make(box=box, force_best_anchor=forced)(outputs, targets)
    assert found["classification"] > 0
    assert found["box"].item() == 0.0
    sum(found.values()).backward()  # type: ignore[union-attr]
    for each in (outputs.logits, outputs.deltas):
        assert each.grad is not None
        assert each.grad.isfinite().all()
    assert outputs.logits.grad is not None
    assert outputs.logits.grad.any()


def test_a_small_box_counts_only_with_its_best_anchor_forced() -> None:
    outputs = outputs_of(1, seed=4)
    targets = BoxTargets(
        torch.tensor([[[20.0, 20.0, 23.0, 23.0]]]), torch.tensor([[1]]), [], torch.zeros(0, 2)
    )
    assert make()(outputs, targets)["box"].item() == 0.0
    assert make(force_best_anchor=True)(outputs, targets)["box"].item() > 0.0


@pytest.mark.parametrize("box", ["smooth_l1", "l1", "giou"])
def test_outputs_in_bfloat16_give_losses_in_float32(box: str) -> None:
    half, whole = outputs_of(2, seed=5, dtype=torch.bfloat16), outputs_of(2, seed=5)
    targets = targets_of([3, 1], seed=5)
    same = whole._replace(logits=half.logits.float(), deltas=half.deltas.float())
    found, expected = make(box=box)(half, targets), make(box=box)(same, targets)
    for name, value in found.items():
        assert value.dtype == torch.float32
        assert value.item() == expected[name].item()
    sum(found.values()).backward()  # type: ignore[union-attr]
    assert half.logits.grad is not None
    assert half.logits.grad.dtype == torch.bfloat16


def test_labels_decide_which_class_is_found() -> None:
    outputs, targets = outputs_of(1, seed=6), targets_of([3], seed=6)
    other = targets._replace(labels=torch.where(targets.labels >= 0, (targets.labels + 1) % 3, -1))
    one, two = make()(outputs, targets), make()(outputs, other)
    assert one["classification"].item() != two["classification"].item()
    assert one["box"].item() == two["box"].item()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1.5}, r"^alpha must be in \[0, 1\], got 1\.5$"),
        ({"alpha": -0.1}, r"^alpha must be in \[0, 1\], got -0\.1$"),
        ({"gamma": -1.0}, r"^gamma must be >= 0, got -1\.0$"),
        ({"box_weight": -1.0}, r"^box_weight must be >= 0, got -1\.0$"),
        ({"beta": 0.0}, r"^beta must be > 0, got 0\.0$"),
        ({"box": "iou"}, r"^box must be one of smooth_l1, l1, giou, got 'iou'$"),
        (
            {"positive_iou": 0.4, "negative_iou": 0.5},
            r"^negative_iou must be > 0 and <= positive_iou <= 1, "
            r"got negative_iou=0\.5 positive_iou=0\.4$",
        ),
        ({"negative_iou": 0.0}, r"^negative_iou must be > 0 .*, got negative_iou=0\.0 "),
        ({"positive_iou": 1.1}, r"<= 1, got negative_iou=0\.4 positive_iou=1\.1$"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_boxes_per_image_counts_boxes_and_no_padding() -> None:
    found = boxes_per_image(outputs_of(3, seed=7), targets_of([4, 0, 1], seed=7))
    assert list(found) == ["boxes_per_image"]
    assert found["boxes_per_image"].item() == pytest.approx(5 / 3)
    assert not found["boxes_per_image"].requires_grad
    none = BoxTargets(torch.zeros(2, 0, 4), torch.zeros(2, 0).long(), [], torch.zeros(0, 2))
    assert boxes_per_image(outputs_of(2, seed=7), none)["boxes_per_image"].item() == 0.0
