"""Speed of oriented boxes on a CPU, measured side by side in one process.

    python benchmarks/oriented.py [--shapely FOLDER] [--threads 1] [--rounds 5] [--smoke]

FOLDER has shapely, installed by `pip install --target FOLDER shapely`; without it, its sides are
left out. Run it on a quiet machine. `--smoke` only shows that everything runs: few boxes, a round.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from results import options, publish
from sides import Result, Table, compare
from torch import Tensor

from visionlab.core.oriented_boxes import corners
from visionlab.core.polygons import pairwise_iou
from visionlab.tasks.detection.oriented.fuse import OrientedBoxFusion
from visionlab.tasks.detection.oriented.nms import oriented_nms
from visionlab.tasks.detection.records import Detections

PAGE_PX = (2707.0, 3828.0)


def draw_boxes(count: int, *, side_px: float, seed: int) -> Tensor:
    """Return boxes (count, 5) of 0.2 to 1 times a side, at any angle and place of a page."""
    draws = torch.rand(count, 5, generator=torch.Generator().manual_seed(seed)).double()
    sides = side_px * (0.2 + 0.8 * draws[:, 2:4])
    angles = torch.pi * (draws[:, 4:] - 0.5)
    return torch.cat([draws[:, :2] * torch.tensor(PAGE_PX).double(), sides, angles], dim=1)


def measure_iou(count: int, *, side_px: float, rounds: int, with_shapely: bool) -> Iterator[Result]:
    """Compare the IoU of all pairs of `count` x `count` boxes."""
    pair = [corners(draw_boxes(count, side_px=side_px, seed=seed)) for seed in (1, 2)]
    found = pairwise_iou(*pair)
    sides: dict[str, Callable[[], object]] = {}
    if with_shapely:
        for name, skips in (("shapely, every pair", False), ("shapely, near pairs", True)):
            sides[name] = partial(shapely_iou, *pair, skips_distant=skips)
        difference = (found - shapely_iou(*pair, skips_distant=True)).abs().max().item()
        title = f"IoU of boxes of up to {side_px:g} px"
        yield Table(
            title=title, columns=["largest difference to shapely"], rows=[[f"{difference:.1e}"]]
        )
    sides["visionlab"] = partial(pairwise_iou, *pair)
    share = (found > 0).double().mean().item()
    yield compare(
        f"IoU of {count:,} x {count:,} boxes of up to {side_px:g} px on a page, {share:.1%} of the "
        "pairs overlap",
        sides,
        rounds=rounds,
        count=count * count,
        unit="pairs",
    )


def shapely_iou(polygons: Tensor, others: Tensor, *, skips_distant: bool) -> Tensor:
    """Return the IoU of all pairs, one after another, or only of those whose bounds overlap."""
    from shapely import Polygon

    ours = [(each, each.bounds, each.area) for each in map(Polygon, polygons.tolist())]
    theirs = [(each, each.bounds, each.area) for each in map(Polygon, others.tolist())]
    found = torch.zeros(len(ours), len(theirs), dtype=torch.float64)
    for row, (one, (left, top, right, bottom), area) in enumerate(ours):
        for column, (other, (x1, y1, x2, y2), other_area) in enumerate(theirs):
            is_near = x1 < right and left < x2 and y1 < bottom and top < y2
            if is_near or not skips_distant:
                common = one.intersection(other).area
                found[row, column] = common / (area + other_area - common)
    return found


def measure_nms(count: int, *, num_classes: int, rounds: int) -> Iterator[Result]:
    """Measure NMS per class of the candidates of a page."""
    boxes = draw_boxes(count // 4, side_px=60.0, seed=3).repeat_interleave(4, dim=0)
    boxes = boxes + torch.randn(boxes.shape, generator=torch.Generator().manual_seed(4)).double()
    scores = torch.rand(len(boxes), generator=torch.Generator().manual_seed(5))
    groups = torch.randint(num_classes, (len(boxes),), generator=torch.Generator().manual_seed(6))
    yield compare(
        f"NMS of {len(boxes):,} boxes of {num_classes} classes on a page",
        {"visionlab": lambda: oriented_nms(boxes, scores, groups, iou_threshold=0.1)},
        rounds=rounds,
        count=1,
        unit="pages",
    )


def measure_fusion(
    num_images: int, *, num_boxes: int, num_classes: int, rounds: int
) -> Iterator[Result]:
    """Measure the fusion of five members that find the same objects on pages."""
    fuse = OrientedBoxFusion(
        iou_threshold=0.3, score_threshold=0.0, confidence="avg", max_detections=num_boxes
    )
    generator = torch.Generator().manual_seed(7)
    objects = [draw_boxes(num_boxes, side_px=60.0, seed=seed) for seed in range(num_images)]
    labels = torch.randint(num_classes, (num_boxes,), generator=generator)

    def detect(boxes: Tensor) -> Detections:
        noise = torch.randn(boxes.shape, generator=generator) * torch.tensor([1, 1, 1, 1, 0.05])
        return Detections(
            (boxes + noise).float(), torch.rand(num_boxes, generator=generator), labels
        )

    members = [[detect(boxes) for boxes in objects] for _ in range(5)]
    yield compare(
        f"Fusion of 5 members, {num_boxes} boxes of {num_classes} classes an image",
        {"visionlab": lambda: fuse(members, [1.0] * 5)},
        rounds=rounds,
        count=num_images,
    )


def measure(count: int, *, rounds: int, with_shapely: bool) -> Iterator[Result]:
    for side_px in (60.0, 600.0):
        yield from measure_iou(count, side_px=side_px, rounds=rounds, with_shapely=with_shapely)
    for num_classes in (1, 136):
        yield from measure_nms(5 * count, num_classes=num_classes, rounds=rounds)
        yield from measure_fusion(20, num_boxes=count // 10, num_classes=num_classes, rounds=rounds)


def main() -> None:
    parser = options(__doc__, threads=1)
    parser.add_argument("--shapely", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.shapely:
        sys.path.append(str(arguments.shapely))
    count, rounds = (20, 1) if arguments.smoke else (1000, arguments.rounds)
    results = measure(count, rounds=rounds, with_shapely=arguments.shapely is not None)
    publish(results, threads=arguments.threads, json_file=arguments.json)


if __name__ == "__main__":
    main()
