"""Speed of detection on a CPU, measured side by side in one process.

    python benchmarks/detection.py [--run RUN] [--threads 2] [--rounds 5] [--smoke]

RUN is the folder of a trained run, whose outputs are post-processed; without it an untrained model
makes them. Run it on a quiet machine. `--smoke` only shows that everything runs: few images, small
ones, one round.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import torch
from composing import make_experiment
from sides import alternate, describe, report
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


def measure_steps(batch_size: int, size: tuple[int, int], rounds: int) -> None:
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
    for title, sides in comparisons:
        report(title, alternate(sides, rounds=rounds), num_images=batch_size)


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
