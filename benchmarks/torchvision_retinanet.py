"""RetinaNet of torchvision beside ours: models, targets, training steps and inference."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from visionlab.core import seeding
from visionlab.task import Batch
from visionlab.tasks.detection.records import Annotated, BoxTargets, Detections

CPU = torch.device("cpu")
SIZES_PX = [32.0, 64.0, 128.0, 256.0, 512.0]
RATIOS, SCALES = [0.5, 1.0, 2.0], [1.0, 2 ** (1 / 3), 2 ** (2 / 3)]


def make_torchvision(num_classes: int, size: tuple[int, int]) -> TorchvisionRetinaNet:
    backbone = _resnet_fpn_extractor(
        resnet18(weights=None), 5, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256)
    )
    sizes = tuple(tuple(size_px * scale for scale in SCALES) for size_px in SIZES_PX)
    anchors = AnchorGenerator(sizes, (tuple(RATIOS),) * len(SIZES_PX))
    return TorchvisionRetinaNet(
        backbone,
        num_classes,
        anchor_generator=anchors,
        min_size=size[0],
        max_size=size[1],
        detections_per_img=100,
    )


def draw_targets(
    batch_size: int,
    size: tuple[int, int],
    *,
    num_boxes: int,
    num_classes: int,
    device: torch.device = CPU,
) -> BoxTargets:
    """Return random boxes from 20 pixels to half the height, every image with as many."""
    keys = torch.arange(batch_size * num_boxes)
    draws = seeding.uniform(keys, seed=5, num_draws=5).view(batch_size, num_boxes, 5)
    height, width = size
    sides = 20.0 * (height / 40.0) ** draws[..., :2]
    corners = draws[..., 2:4] * (torch.tensor([width, height]) - sides)
    boxes = torch.cat([corners, corners + sides], dim=-1)
    labels = (draws[..., 4] * num_classes).long()
    annotated = [
        Annotated(
            name="",
            key=key,
            image=torch.zeros(3, 1, 1, dtype=torch.uint8),
            width_px=width,
            height_px=height,
            boxes=boxes[key].double(),
            labels=labels[key],
            crowd=torch.zeros(num_boxes, dtype=torch.bool),
            areas=sides[key].prod(dim=1).double(),
        )
        for key in range(batch_size)
    ]
    sizes = torch.tensor([[width, height]], dtype=torch.float32).expand(batch_size, 2)
    return BoxTargets(boxes.to(device), labels.to(device), annotated, sizes.to(device))


def as_torchvision(targets: BoxTargets) -> list[dict[str, Tensor]]:
    rows = zip(targets.boxes, targets.labels, strict=True)
    return [{"boxes": boxes, "labels": labels} for boxes, labels in rows]


def compare_steps(
    own: Callable[[], nn.Module],
    loss: Callable[[Any, BoxTargets], Mapping[str, Tensor]],
    predict: Callable[[Any, Batch], Sequence[Detections]],
    *,
    batch_size: int,
    size: tuple[int, int],
    device: torch.device,
) -> Iterator[tuple[str, dict[str, Callable[[], None]]]]:
    """Yield the sides of whole training steps and of inference, at random weights."""
    images = torch.rand(batch_size, 3, *size, device=device)
    targets = draw_targets(batch_size, size, num_boxes=10, num_classes=3, device=device)
    theirs = as_torchvision(targets)
    matrices = torch.eye(3, device=device).repeat(batch_size, 1, 1)
    training, inference = {}, {}
    for name, bf16, layout in (
        ("float32", False, torch.contiguous_format),
        ("float32 channels-last", False, torch.channels_last),
        ("bf16 channels-last", True, torch.channels_last),
    ):
        context = partial(torch.autocast, device.type, dtype=torch.bfloat16, enabled=bf16)
        peer, peer_eval = (
            make_torchvision(3, size).to(device).to(memory_format=layout) for _ in range(2)
        )
        ours, ours_eval = (own().to(device).to(memory_format=layout) for _ in range(2))
        peer_eval.eval()
        ours_eval.eval()
        inputs = images.to(memory_format=layout)
        batch = Batch(inputs, targets, torch.arange(batch_size), matrices)
        training[f"torchvision {name}"] = partial(
            step, lambda p=peer: sum(p(list(images), theirs).values()), peer, context
        )
        training[f"visionlab {name}"] = partial(
            step, lambda o=ours, x=inputs: sum(loss(o(x), targets).values()), ours, context
        )
        inference[f"torchvision {name}"] = partial(
            infer, lambda p=peer_eval: p(list(images)), context
        )
        inference[f"visionlab {name}"] = partial(
            infer, lambda o=ours_eval, b=batch: predict(o(b.inputs), b), context
        )
    title = f"RetinaNet, ResNet-18, batch {batch_size}, {size[0]}x{size[1]}"
    yield f"{title}: training", training
    yield f"{title}: inference", inference


def step(
    loss: Callable[[], Tensor], model: nn.Module, context: Callable[[], torch.autocast]
) -> None:
    """Forward, losses, backward, clipping, SGD."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    with context():
        value = loss()
    value.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 10.0)
    optimizer.step()
    optimizer.zero_grad()


@torch.no_grad()
def infer(run: Callable[[], object], context: Callable[[], torch.autocast]) -> None:
    with context():
        run()
