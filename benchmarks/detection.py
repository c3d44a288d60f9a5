"""Speed of detection on a CPU, measured side by side in one process.

    python benchmarks/detection.py [--run RUN] [--threads 2] [--rounds 5] [--smoke]

RUN is the folder of a trained run, whose outputs are post-processed; without it an untrained model
makes them. Run it on a quiet machine. `--smoke` only shows that everything runs: few images, small
ones, one round.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from composing import make_experiment
from sides import alternate, describe, report
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from visionlab.core import seeding
from visionlab.engine.checkpoints import saved_models
from visionlab.files.run_folder import read_config
from visionlab.runs.build import build_data, build_experiment, build_task, without_initial_weights
from visionlab.runs.experiment import Experiment
from visionlab.task import Batch
from visionlab.tasks.detection import Anchors, AveragePrecision
from visionlab.tasks.detection.model.retinanet import LEVEL_STRIDES
from visionlab.tasks.detection.records import Annotated, BoxTargets, DenseOutput, Detections

SIZES_PX = [32.0, 64.0, 128.0, 256.0, 512.0]
RATIOS, SCALES = [0.5, 1.0, 2.0], [1.0, 2 ** (1 / 3), 2 ** (2 / 3)]
# as torchvision has it
SETTINGS = (
    *("task=detection", "dataset=digit_scenes", "model=retinanet", "loss=retinanet"),
    *("model.backbone.name=resnet18", "model.pyramid.p6_from=p5", "model.box_std=[1,1,1,1]"),
    *(f"model.anchors.ratios={RATIOS}", f"model.anchors.scales={SCALES}", "loss.box=l1"),
)


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
    batch_size: int, size: tuple[int, int], *, num_boxes: int, num_classes: int
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
    return BoxTargets(boxes, labels, annotated)


def as_torchvision(targets: BoxTargets) -> list[dict[str, Tensor]]:
    rows = zip(targets.boxes, targets.labels, strict=True)
    return [{"boxes": boxes, "labels": labels} for boxes, labels in rows]


def measure_steps(batch_size: int, size: tuple[int, int], rounds: int) -> None:
    """Compare whole training steps and inference at random weights, on the same images."""
    images = torch.rand(batch_size, 3, *size)
    targets = draw_targets(batch_size, size, num_boxes=10, num_classes=3)
    theirs = as_torchvision(targets)
    experiment = make_experiment(*SETTINGS)
    loss, predict = experiment.loss, experiment.task.predict
    training, inference = {}, {}
    for name, bf16, layout in (
        ("float32", False, torch.contiguous_format),
        ("float32 channels-last", False, torch.channels_last),
        ("bf16 channels-last", True, torch.channels_last),
    ):
        context = partial(torch.autocast, "cpu", dtype=torch.bfloat16, enabled=bf16)
        peer = make_torchvision(3, size).to(memory_format=layout)
        own = experiment.model(num_classes=3).to(memory_format=layout)
        inputs = images.to(memory_format=layout)
        training[f"torchvision {name}"] = partial(
            step, lambda p=peer: sum(p(list(images), theirs).values()), peer, context
        )
        training[f"visionlab {name}"] = partial(
            step, lambda o=own, x=inputs: sum(loss(o(x), targets).values()), own, context
        )
        peer_eval = make_torchvision(3, size).to(memory_format=layout).eval()
        own_eval = experiment.model(num_classes=3).to(memory_format=layout).eval()
        batch = Batch(
            inputs, targets, torch.arange(batch_size), torch.eye(3).repeat(batch_size, 1, 1)
        )
        inference[f"torchvision {name}"] = partial(
            infer, lambda p=peer_eval: p(list(images)), context
        )
        inference[f"visionlab {name}"] = partial(
            infer, lambda o=own_eval, b=batch: predict(o(b.inputs), b), context
        )
    title = f"RetinaNet, ResNet-18, batch {batch_size}, {size[0]}x{size[1]}"
    report(f"{title}: training", alternate(training, rounds=rounds), num_images=batch_size)
    report(f"{title}: inference", alternate(inference, rounds=rounds), num_images=batch_size)


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


def measure_losses(
    batch_size: int, size: tuple[int, int], *, num_boxes: int, num_classes: int, rounds: int
) -> None:
    """Compare matching and losses, forward and backward to the outputs."""
    loss = make_experiment(*SETTINGS).loss
    shapes = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in LEVEL_STRIDES]
    anchors = Anchors(sizes_px=SIZES_PX, ratios=RATIOS, scales=SCALES)(shapes, LEVEL_STRIDES)
    targets = draw_targets(batch_size, size, num_boxes=num_boxes, num_classes=num_classes)
    logits = torch.randn(batch_size, len(anchors), num_classes) - 4.0
    deltas = 0.1 * torch.randn(batch_size, len(anchors), 4)
    outputs = DenseOutput(logits, deltas, anchors, shapes, torch.ones(4))
    peer, theirs = make_torchvision(num_classes, size), as_torchvision(targets)

    def ours() -> None:
        leaves = [each.detach().requires_grad_() for each in (logits, deltas)]
        dense = outputs._replace(logits=leaves[0], deltas=leaves[1])
        sum(loss(dense, targets).values()).backward()

    def per_image() -> None:
        leaves = [each.detach().requires_grad_() for each in (logits, deltas)]
        heads = {"cls_logits": leaves[0], "bbox_regression": leaves[1]}
        sum(peer.compute_loss(theirs, heads, [anchors] * batch_size).values()).backward()

    report(
        f"Matching and losses, {size[0]}x{size[1]}, {batch_size} images with {num_boxes} boxes, "
        f"{num_classes} classes, {len(anchors):,} anchors",
        alternate({"torchvision, image by image": per_image, "visionlab": ours}, rounds=rounds),
        num_images=batch_size,
    )


def untrained() -> Experiment:
    """Return a small model that finds a few objects everywhere, on few scenes."""
    sizes = [f"dataset.num_{split}=4" for split in ("train", "val", "test")]
    return make_experiment("task=detection", "model=retinanet_small", "model.prior=0.06", *sizes)


def measure_post_processing(run: Path | None, rounds: int) -> None:
    """Compare post-processing of the outputs of a model on its validation images."""
    config = run and without_initial_weights(read_config(run))
    experiment, device = build_experiment(config) if config else untrained(), torch.device("cpu")
    data = build_data(experiment, device)
    task = build_task(experiment, data, device)
    if run:
        task.model.load_state_dict(saved_models(run / "checkpoints")["best"])
    task.model.eval()
    batches = list(data.splits["val"].batches(batch_size=8, epoch=0, first_batch=0))
    with torch.no_grad():
        outputs = [task.model(batch.inputs) for batch in batches]
    peer = make_torchvision(data.sizes["num_classes"], (240, 320))

    def theirs() -> list[dict[str, Tensor]]:
        found = []
        for batch, output in zip(batches, outputs, strict=True):
            sizes = output.level_sizes
            heads = {
                "cls_logits": list(output.logits.split(sizes, dim=1)),
                "bbox_regression": list((output.deltas * output.box_std).split(sizes, dim=1)),
            }
            anchors = [list(output.anchors.split(sizes))] * len(batch.keys)
            shapes = [tuple(batch.inputs.shape[2:])] * len(batch.keys)
            found += peer.postprocess_detections(heads, anchors, shapes)
        return found

    def ours() -> list[Detections]:
        pairs = zip(outputs, batches, strict=True)
        return [found for output, batch in pairs for found in task.predict(output, batch)]

    counts = [len(each["scores"]) for each in theirs()], [len(each.scores) for each in ours()]
    print(f"\ndetections kept: torchvision {sum(counts[0])}, visionlab {sum(counts[1])}")
    report(
        f"Post-processing of {'trained' if run else 'untrained'} outputs, {len(counts[0])} images",
        alternate({"torchvision": theirs, "visionlab": ours}, rounds=rounds),
        num_images=len(counts[0]),
    )


def measure_evaluation(num_images: int, num_classes: int, num_found: int) -> None:
    """Compare the backends of the COCO metric, once."""
    num_boxes = 7
    targets = draw_targets(num_images, (480, 640), num_boxes=num_boxes, num_classes=num_classes)
    draws = seeding.uniform(torch.arange(num_images * num_found), seed=9, num_draws=6)
    draws = draws.view(num_images, num_found, 6)
    source = (draws[..., 5] * num_boxes).long()
    boxes = torch.gather(targets.boxes, 1, source[..., None].expand(-1, -1, 4))
    boxes = boxes + (draws[..., :4] - 0.5) * 20.0
    boxes[..., 2:] = torch.maximum(boxes[..., 2:], boxes[..., :2] + 1.0)
    labels = torch.gather(targets.labels, 1, source)
    labels = torch.where(draws[..., 0] < 0.7, labels, (draws[..., 1] * num_classes).long())
    found = [Detections(*rows) for rows in zip(boxes, draws[..., 4], labels, strict=True)]
    print(
        f"\nEvaluation of {num_images} images, {num_classes} classes, {num_found} detections each"
        "\n\n| backend | seconds | largest difference to the first |\n|---|---|---|"
    )
    first: dict[str, float] = {}
    for backend in ("pycocotools", "faster_coco_eval"):
        metric = AveragePrecision(class_names=[str(n) for n in range(num_classes)], backend=backend)
        started = time.perf_counter()
        metric.update(found, targets)
        metrics = metric.compute()
        seconds = time.perf_counter() - started
        first = first or metrics
        difference = max(abs(metrics[name] - first[name]) for name in first)
        print(f"| {backend} | {seconds:.2f} | {difference:.1e} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(describe(arguments.threads))
    if arguments.smoke:
        measure_losses(1, (64, 96), num_boxes=2, num_classes=3, rounds=1)
        measure_post_processing(arguments.run, rounds=1)
        measure_evaluation(4, num_classes=3, num_found=5)
        measure_steps(1, (64, 64), rounds=1)
        return
    for num_classes, num_boxes in ((80, 8), (5, 8), (3, 30)):
        measure_losses(
            16,
            (640, 1056),
            num_boxes=num_boxes,
            num_classes=num_classes,
            rounds=arguments.rounds,
        )
    measure_post_processing(arguments.run, arguments.rounds)
    measure_evaluation(5000, num_classes=80, num_found=50)
    measure_steps(4, (256, 320), arguments.rounds)


if __name__ == "__main__":
    main()
