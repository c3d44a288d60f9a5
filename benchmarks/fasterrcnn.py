"""Speed of Faster R-CNN beside torchvision's, measured in alternation in one process.

    python benchmarks/fasterrcnn.py [--threads 2] [--rounds 3] [--smoke]

Both have ResNet-18, a pyramid, random weights and the same numbers, and get the same images,
already resized and normalised. Run it on a quiet machine. `--smoke` only shows that everything
runs.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from composing import make_experiment
from results import options, publish
from sides import Result, compare, speedup
from torch import Tensor
from torchvision.models import resnet18
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision_retinanet import CPU, draw_targets, infer, step

from visionlab.runs.experiment import Experiment
from visionlab.task import Batch

NUM_CLASSES, NUM_BOXES = 3, 10
SETTINGS = ("task=detection", "dataset=digit_scenes", "model=fasterrcnn")


def make_torchvision(size: tuple[int, int]) -> FasterRCNN:
    backbone = _resnet_fpn_extractor(resnet18(weights=None), 5)
    return FasterRCNN(backbone, NUM_CLASSES + 1, min_size=size[0], max_size=size[1])


def random_batch(batch_size: int, size: tuple[int, int]) -> tuple[Batch, list[dict[str, Tensor]]]:
    """Return a batch, and its targets as torchvision has them: 0 is background."""
    images = torch.rand(batch_size, 3, *size)
    targets = draw_targets(batch_size, size, num_boxes=NUM_BOXES, num_classes=NUM_CLASSES)
    matrices = torch.eye(3, device=CPU).repeat(batch_size, 1, 1)
    rows = zip(targets.boxes, targets.labels, strict=True)
    theirs = [{"boxes": boxes, "labels": labels + 1} for boxes, labels in rows]
    return Batch(images, targets, torch.arange(batch_size), matrices), theirs


def training_sides(
    experiment: Experiment, batch_size: int, size: tuple[int, int]
) -> dict[str, Callable[[], None]]:
    """Return whole training steps."""
    batch, theirs = random_batch(batch_size, size)
    peer, own = make_torchvision(size), experiment.model(num_classes=NUM_CLASSES)
    images = list(batch.inputs)

    def loss() -> Tensor:
        losses = experiment.loss(own(batch), batch.targets)
        return torch.stack(list(losses.values())).mean(dim=1).sum()

    context = partial(torch.autocast, "cpu", enabled=False)
    return {
        "torchvision": partial(step, lambda: sum(peer(images, theirs).values()), peer, context),
        "visionlab": partial(step, loss, own, context),
    }


def inference_sides(
    experiment: Experiment, batch_size: int, size: tuple[int, int]
) -> dict[str, Callable[[], None]]:
    """Return inference, ours also with the losses that a validation needs."""
    batch, _ = random_batch(batch_size, size)
    peer, own = make_torchvision(size).eval(), experiment.model(num_classes=NUM_CLASSES).eval()
    images, predict = list(batch.inputs), experiment.task.predict
    plain = batch._replace(targets=None)

    def validate() -> None:
        outputs = own(batch)
        experiment.loss(outputs, batch.targets)
        predict(outputs, batch)

    context = partial(torch.autocast, "cpu", enabled=False)
    return {
        "torchvision": partial(infer, lambda: peer(images), context),
        "visionlab": partial(infer, lambda: predict(own(plain), batch), context),
        "visionlab with losses": partial(infer, validate, context),
    }


def measure(
    experiment: Experiment, batch_size: int, size: tuple[int, int], rounds: int
) -> Iterator[Result]:
    title = f"Faster R-CNN, ResNet-18, batch {batch_size}, {size[0]}x{size[1]}"
    for name, make_sides in (("training", training_sides), ("inference", inference_sides)):
        sides = make_sides(experiment, batch_size, size)
        found = compare(f"{title}: {name}", sides, rounds=rounds, count=batch_size)
        yield found
        yield speedup(
            found, "visionlab", "torchvision", f"{name} against torchvision's", at_least=0.97
        )


def main() -> None:
    arguments = options(__doc__, rounds=3).parse_args()
    torch.set_num_threads(arguments.threads)
    batch_size, size, rounds = 4, (256, 320), arguments.rounds
    if arguments.smoke:
        batch_size, size, rounds = 1, (64, 64), 1
    experiment = make_experiment(*SETTINGS, "model.backbone.name=resnet18")
    results = measure(experiment, batch_size, size, rounds)
    publish(results, threads=arguments.threads, json_file=arguments.json)


if __name__ == "__main__":
    main()
