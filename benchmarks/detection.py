"""Speed of detection on a CPU, measured side by side in one process.

    python benchmarks/detection.py [--run RUN] [--threads 2] [--rounds 3] [--smoke]

RUN is the folder of a trained run, whose outputs are post-processed; without it an untrained model
makes them. Run it on a quiet machine. `--smoke` only shows that everything runs: few images, small
ones, one round.
"""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from composing import make_experiment
from results import options, publish
from sides import Result, Table, compare, speedup
from torch import Tensor
from torchvision_retinanet import (
    CPU,
    RATIOS,
    SCALES,
    SIZES_PX,
    as_torchvision,
    compare_steps,
    draw_targets,
    make_torchvision,
)

from visionlab.core import seeding
from visionlab.engine.checkpoints import saved_models
from visionlab.files.run_folder import read_config
from visionlab.runs.build import build_data, build_experiment, build_task
from visionlab.runs.experiment import Experiment
from visionlab.runs.initial_weights import without_initial_weights
from visionlab.tasks.detection import Anchors, AveragePrecision
from visionlab.tasks.detection.model.retinanet import LEVEL_STRIDES
from visionlab.tasks.detection.records import DenseOutput, Detections

# as torchvision has it
SETTINGS = (
    *("task=detection", "dataset=digit_scenes", "model=retinanet", "loss=retinanet"),
    *("model.backbone.name=resnet18", "model.pyramid.p6_from=p5", "model.box_std=[1,1,1,1]"),
    *(f"model.anchors.ratios={RATIOS}", f"model.anchors.scales={SCALES}", "loss.box=l1"),
)


def measure_steps(batch_size: int, size: tuple[int, int], rounds: int) -> Iterator[Result]:
    """Compare whole training steps and inference at random weights, on the same images."""
    experiment = make_experiment(*SETTINGS)
    comparisons = compare_steps(
        partial(experiment.model, num_classes=3),
        experiment.loss,
        experiment.task.predict,
        batch_size=batch_size,
        size=size,
        device=CPU,
    )
    for (title, sides), name in zip(comparisons, ("training", "inference"), strict=True):
        found = compare(title, sides, rounds=rounds, count=batch_size)
        yield found
        for kind, theirs, at_least in (
            ("float32", "float32", 0.97),
            ("float32 channels-last", "float32 channels-last", 0.97),
            ("bf16 channels-last", "float32", 1.9),
        ):
            text = f"RetinaNet {name}, {kind}, against torchvision in {theirs}"
            side, other = f"visionlab {kind}", f"torchvision {theirs}"
            yield speedup(found, side, other, text, at_least=at_least)


def measure_losses(
    batch_size: int, size: tuple[int, int], *, num_boxes: int, num_classes: int, rounds: int
) -> Iterator[Result]:
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

    found = compare(
        f"Matching and losses, {size[0]}x{size[1]}, {batch_size} images with {num_boxes} boxes, "
        f"{num_classes} classes, {len(anchors):,} anchors",
        {"torchvision, image by image": per_image, "visionlab": ours},
        rounds=rounds,
        count=batch_size,
    )
    yield found
    yield speedup(
        found,
        "visionlab",
        "torchvision, image by image",
        f"matching and losses, {num_boxes} boxes, {num_classes} classes, against torchvision",
        at_least=3,
    )


def untrained() -> Experiment:
    """Return a small model that finds a few objects everywhere, on few scenes."""
    sizes = [f"dataset.num_{split}=4" for split in ("train", "val", "test")]
    return make_experiment("task=detection", "model=retinanet_small", "model.prior=0.06", *sizes)


def measure_post_processing(run: Path | None, rounds: int) -> Iterator[Result]:
    """Compare post-processing of the outputs of a model on its validation images."""
    config = run and without_initial_weights(read_config(run))
    experiment, device = build_experiment(config) if config else untrained(), CPU
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
    kind = "trained" if run else "untrained"
    found = compare(
        f"Post-processing of {kind} outputs, {len(counts[0])} images; torchvision keeps "
        f"{sum(counts[0])} detections, visionlab {sum(counts[1])}",
        {"torchvision": theirs, "visionlab": ours},
        rounds=rounds,
        count=len(counts[0]),
    )
    yield found
    text = f"post-processing of {kind} outputs against torchvision"
    yield speedup(found, "visionlab", "torchvision", text, at_least=2)


def measure_evaluation(num_images: int, num_classes: int, num_found: int) -> Iterator[Result]:
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
    title = f"Evaluation of {num_images} images, {num_classes} classes, {num_found} detections each"
    first: dict[str, float] = {}
    rows = []
    for backend in ("pycocotools", "faster_coco_eval"):
        metric = AveragePrecision(class_names=[str(n) for n in range(num_classes)], backend=backend)
        started = time.perf_counter()
        metric.update(found, targets)
        metrics = metric.compute()
        seconds = time.perf_counter() - started
        first = first or metrics
        difference = max(abs(metrics[name] - first[name]) for name in first)
        rows.append((backend, f"{seconds:.2f}", f"{difference:.1e}"))
    columns = ["backend", "seconds", "largest difference to the first"]
    yield Table(title=title, columns=columns, rows=rows)


def measure_smallest(run: Path | None) -> Iterator[Result]:
    yield from measure_losses(1, (64, 96), num_boxes=2, num_classes=3, rounds=1)
    yield from measure_post_processing(run, rounds=1)
    yield from measure_evaluation(4, num_classes=3, num_found=5)
    yield from measure_steps(1, (64, 64), rounds=1)


def measure(run: Path | None, rounds: int) -> Iterator[Result]:
    for num_classes, num_boxes in ((80, 8), (5, 8), (3, 30)):
        yield from measure_losses(
            4, (640, 1056), num_boxes=num_boxes, num_classes=num_classes, rounds=rounds
        )
    yield from measure_post_processing(run, rounds)
    yield from measure_evaluation(1000, num_classes=80, num_found=50)
    yield from measure_steps(4, (256, 320), rounds)


def main() -> None:
    parser = options(__doc__, rounds=3)
    parser.add_argument("--run", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    run, rounds = arguments.run, arguments.rounds
    results = measure_smallest(run) if arguments.smoke else measure(run, rounds)
    publish(results, threads=arguments.threads, json_file=arguments.json)


if __name__ == "__main__":
    main()
