"""Detections in COCO's results format."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision.ops import box_convert

from visionlab.core import oriented_boxes
from visionlab.core.polygons import bounds
from visionlab.files import atomic as storage
from visionlab.images.splits import ImageSplit
from visionlab.tasks.detection.records import Annotated, Detections


def write_results(
    folder: Path,
    split_label: str,
    samples: Mapping[str, Tensor],
    split: ImageSplit[Any],
    *,
    categories: Mapping[int, str],
) -> Path:
    """Write detections as `<split_label>_bbox_results.json`, atomically, and return the file.

    `<split_label>_annotations.json` beside it has file names, sizes and boxes of the images under
    the ids of the results, in COCO's format, as pycocotools needs them. Without detections, the
    results are an empty list. Numbers keep the precision of float32: x + width, rounded to it, is
    x2. Oriented boxes have a `segmentation`, four corners, besides the upright `bbox` around them.

    Args:
        folder: the folder of the file; created if missing.
        split_label: the name of the split.
        samples: `keys` (N,) and `num_detections` (N,) integers of the images; of all detections
            (M,), image after image, `boxes` (M, 4) float32 as x1, y1, x2, y2 in pixels of the
            original image, `scores` (M,) float32 and `labels` (M,) integers.
        split: the images; its `samples` are `Annotated`.
        categories: names by id, one per label.

    Raises:
        ValueError: the lengths do not match, a label is unknown, or a number is not finite.
        OSError: the file cannot be written; an old file is untouched.
    """
    path = folder / f"{split_label}_bbox_results.json"
    counts = samples["num_detections"].cpu()
    boxes, scores, labels = (samples[name].cpu() for name in Detections._fields)
    if not int(counts.sum()) == len(boxes) == len(scores) == len(labels):
        lengths = f"{len(boxes)} boxes, {len(scores)} scores, {len(labels)} labels"
        raise ValueError(f"{path} must get {counts.sum()} detections as counted, got {lengths}")
    ids = list(categories)
    unknown = labels[(labels < 0) | (labels >= len(ids))]
    if len(unknown):
        raise ValueError(f"labels must be in [0, {len(ids)}), got {unknown[0]}")
    if not (boxes.isfinite().all() and scores.isfinite().all()):
        raise ValueError(f"{path} must get finite boxes and scores, got others")
    images = samples["keys"].cpu().repeat_interleave(counts)
    found = [ids[label] for label in labels.tolist()]
    entries = coco_results(images.tolist(), found, boxes, scores)
    folder.mkdir(parents=True, exist_ok=True)
    truth = coco_annotations(split.samples, categories)
    storage.write_text(folder / f"{split_label}_annotations.json", json.dumps(truth) + "\n")
    storage.write_text(path, json.dumps(entries) + "\n")
    return path


def coco_annotations(samples: Sequence[Annotated], categories: Mapping[int, str]) -> dict[str, Any]:
    """Return images, their boxes and the categories, names by id, in COCO's format."""
    ids, annotations = list(categories), list[dict[str, Any]]()
    for sample in samples:
        shapes = coco_shapes(sample.boxes, sample.polygons)
        columns = (sample.labels.tolist(), shapes, sample.areas.tolist(), sample.crowd.tolist())
        for label, shape, area, is_crowd in zip(*columns, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": sample.key,
                    "category_id": ids[label],
                    **shape,
                    "area": area,
                    "iscrowd": int(is_crowd),
                }
            )
    images = [
        {
            "id": sample.key,
            "file_name": sample.name,
            "width": sample.width_px,
            "height": sample.height_px,
        }
        for sample in samples
    ]
    named = [{"id": number, "name": name} for number, name in categories.items()]
    return {"info": {}, "images": images, "annotations": annotations, "categories": named}


def coco_results(
    images: Sequence[int], categories: Sequence[int], boxes: Tensor, scores: Tensor
) -> list[dict[str, Any]]:
    """Return M detections, given their image and category ids, as entries of COCO's results.

    Boxes are (M, 4) as x1, y1, x2, y2 in pixels of the original image, or (M, 5), scores (M,).
    """
    if boxes.shape[1:] == (5,):
        polygons = oriented_boxes.corners(boxes.double())
        shapes = coco_shapes(bounds(polygons), polygons)
    else:
        shapes = coco_shapes(boxes.double().view(-1, 4), None)
    rows = zip(images, categories, shapes, scores.tolist(), strict=True)
    return [
        {"image_id": image, "category_id": category, **shape, "score": score}
        for image, category, shape, score in rows
    ]


def coco_shapes(boxes: Tensor, polygons: Tensor | None) -> list[dict[str, Any]]:
    """Return the `bbox` of upright boxes (K, 4), and the `segmentation` of corners (K, 4, 2).

    Both are in COCO's format: x, y, width, height, and a polygon.
    """
    shapes = [{"bbox": bbox} for bbox in box_convert(boxes, "xyxy", "xywh").tolist()]
    if polygons is None:
        return shapes
    outlines = polygons.flatten(1).tolist()
    return [
        {**shape, "segmentation": [outline]}
        for shape, outline in zip(shapes, outlines, strict=True)
    ]
