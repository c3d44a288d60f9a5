"""Speed of fusing detections on a CPU, measured side by side in one process.

    python benchmarks/fuse.py [--threads 1] [--rounds 5] [--smoke]

The other side is ensemble_boxes, where it is installed. Run it on a quiet machine. `--smoke` only
shows that everything runs: few boxes, one round.
"""

import itertools
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec

import torch
from results import options, publish
from sides import Result, Table, compare, speedup

from visionlab.tasks.detection import (
    GaussianSoftNms,
    NonMaximumSuppression,
    NonMaximumWeighted,
    WeightedBoxFusion,
)
from visionlab.tasks.detection.records import Detections

SIDE_PX = 640.0
SETTINGS = {"score_threshold": 0.0, "max_detections": 10**6}
FUSIONS = {
    "weighted_boxes_fusion": WeightedBoxFusion(iou_threshold=0.55, confidence="avg", **SETTINGS),
    "non_maximum_weighted": NonMaximumWeighted(iou_threshold=0.55, **SETTINGS),
    "nms": NonMaximumSuppression(iou_threshold=0.5, **SETTINGS),
    "soft_nms": GaussianSoftNms(sigma=0.5, score_threshold=0.001, max_detections=10**6),
}
Members = Sequence[Sequence[Detections]]


def draw_members(
    num_members: int, num_images: int, num_boxes: int, num_classes: int, *, is_related: bool
) -> Members:
    """Return members that find the same objects with jitter, or unrelated boxes."""
    generator = torch.Generator().manual_seed(0)

    def draw() -> Detections:
        sizes = 10 + 0.2 * SIDE_PX * torch.rand(num_boxes, 2, generator=generator)
        low = torch.rand(num_boxes, 2, generator=generator) * (SIDE_PX - sizes)
        scores = torch.rand(num_boxes, generator=generator)
        labels = torch.randint(num_classes, (num_boxes,), generator=generator)
        return Detections(torch.cat([low, low + sizes], dim=1), scores, labels)

    def jittered(found: Detections) -> Detections:
        sizes = (found.boxes[:, 2:] - found.boxes[:, :2]).repeat(1, 2)
        boxes = found.boxes + 0.05 * sizes * torch.randn(num_boxes, 4, generator=generator)
        noise = 0.1 * torch.randn(num_boxes, generator=generator)
        scores = (found.scores + noise).clamp(0.001, 1.0)
        return Detections(boxes.clamp(0.0, SIDE_PX), scores, found.labels)

    objects = [draw() for _ in range(num_images)]
    return [
        [jittered(found) if is_related else draw() for found in objects] for _ in range(num_members)
    ]


def box_by_box(name: str, members: Members) -> Callable[[], None]:
    """Return a run of a function of ensemble_boxes."""
    import ensemble_boxes

    # it wants coordinates in [0, 1]; its arrays are made before the clock starts
    images = [
        [
            [(found.boxes.double() / SIDE_PX).numpy() for found in image],
            [found.scores.double().numpy() for found in image],
            [found.labels.numpy() for found in image],
        ]
        for image in zip(*members, strict=True)
    ]

    def run() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of boxes without area
            for image in images:
                getattr(ensemble_boxes, name)(*image)

    return run


def measure_each(members: Members, title: str, *, rounds: int) -> Iterator[Result]:
    num_images = len(members[0])
    weights = [1.0] * len(members)
    for name, fusion in FUSIONS.items():
        sides: dict[str, Callable[[], None]] = {}
        if find_spec("ensemble_boxes"):
            sides["ensemble_boxes"] = box_by_box(name, members)
        sides["visionlab"] = lambda fusion=fusion: fusion(members, weights)
        found = compare(f"{name}, {title}", sides, rounds=rounds, count=num_images)
        yield found
        if name == "weighted_boxes_fusion" and len(sides) == 2:
            text = f"{found.title}, against ensemble_boxes"
            yield speedup(found, "visionlab", "ensemble_boxes", text, at_least=15)


def measure_many(
    num_members: int, num_images: int, num_boxes: int, num_classes: Sequence[int]
) -> Iterator[Result]:
    """Time a fusion of all members of a large ensemble, once."""
    rows = []
    for count in num_classes:
        for is_related in (True, False):
            members = draw_members(num_members, num_images, num_boxes, count, is_related=is_related)
            for name, fusion in FUSIONS.items():
                started = time.process_time()
                fusion(members, [1.0] * num_members)
                seconds = time.process_time() - started
                kind = "the same objects" if is_related else "unrelated"
                rows.append((f"{name}, {count}, {kind}", f"{seconds:.2f}"))
    title = f"{num_members} members, {num_images} images, {num_boxes} boxes each"
    yield Table(title=title, columns=["fusion, classes, boxes", "CPU seconds"], rows=rows)


def measure_related(num_boxes: int, rounds: int) -> Iterator[Result]:
    for is_related in (True, False):
        members = draw_members(5, 1, num_boxes, 80, is_related=is_related)
        kind = "the same objects" if is_related else "unrelated boxes"
        title = f"5 members, {num_boxes} boxes, 80 classes, {kind}"
        yield from measure_each(members, title, rounds=rounds)


def main() -> None:
    arguments = options(__doc__, threads=1).parse_args()
    torch.set_num_threads(arguments.threads)
    if not find_spec("ensemble_boxes"):
        print("ensemble_boxes is not installed: only visionlab is measured", file=sys.stderr)
    num_boxes, rounds = (20, 1) if arguments.smoke else (1000, arguments.rounds)
    many = measure_many(3, 2, 5, [2]) if arguments.smoke else measure_many(30, 100, 100, [80, 5])
    results = itertools.chain(measure_related(num_boxes, rounds), many)
    publish(results, threads=arguments.threads, json_file=arguments.json)


if __name__ == "__main__":
    main()
