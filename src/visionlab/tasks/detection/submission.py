"""Detections in COCO's results format."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision.ops import box_convert

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
    x2.

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
        bboxes = box_convert(sample.boxes, "xyxy", "xywh").tolist()
        columns = (sample.labels.tolist(), bboxes, sample.areas.tolist(), sample.crowd.tolist())
        for label, bbox, area, is_crowd in zip(*columns, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": sample.key,
                    "category_id": ids[label],
                    "bbox": bbox,
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

    Boxes are (M, 4) as x1, y1, x2, y2 in pixels of the original image, scores (M,).
    """
    bboxes = box_convert(boxes.double().view(-1, 4), "xyxy", "xywh").tolist()
    names = ("image_id", "category_id", "bbox", "score")
    rows = zip(images, categories, bboxes, scores.tolist(), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]
