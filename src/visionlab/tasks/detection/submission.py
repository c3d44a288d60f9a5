"""Detections in COCO's results format."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from visionlab.files import atomic as storage
from visionlab.task import Split


def write_results(
    folder: Path,
    split_label: str,
    samples: Mapping[str, Tensor],
    split: Split,
    *,
    class_ids: Sequence[int],
) -> Path:
    """Write detections as `<split_label>_bbox_results.json`, atomically; an empty list if none.

    Numbers keep the precision of float32: x + width, rounded to it, is x2.

    Args:
        folder: the folder of the file; created if missing.
        split_label: the name of the split.
        samples: `keys` (N,) and `num_detections` (N,) integers of the images; of all detections
            (M,), image after image, `boxes` (M, 4) float32 as x1, y1, x2, y2 in pixels of the
            original image, `scores` (M,) float32 and `labels` (M,) integers.
        split: not used.
        class_ids: category ids, one per label.

    Returns:
        The file.

    Raises:
        ValueError: the lengths do not match, a label is unknown, or a number is not finite.
        OSError: the file cannot be written; an old file is untouched.
    """
    path = folder / f"{split_label}_bbox_results.json"
    counts = samples["num_detections"].cpu().numpy()
    boxes = samples["boxes"].cpu().double().numpy().reshape(-1, 4)
    scores = samples["scores"].cpu().double().numpy()
    labels = samples["labels"].cpu().numpy()
    if not counts.sum() == len(boxes) == len(scores) == len(labels):
        lengths = f"{len(boxes)} boxes, {len(scores)} scores, {len(labels)} labels"
        raise ValueError(f"{path} must get {counts.sum()} detections as counted, got {lengths}")
    unknown = labels[(labels < 0) | (labels >= len(class_ids))]
    if len(unknown):
        raise ValueError(f"labels must be in [0, {len(class_ids)}), got {unknown[0]}")
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError(f"{path} must get finite boxes and scores, got others")
    boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    columns = (
        np.repeat(samples["keys"].cpu().numpy(), counts).tolist(),
        [class_ids[label] for label in labels.tolist()],
        boxes.tolist(),
        scores.tolist(),
    )
    names = ("image_id", "category_id", "bbox", "score")
    entries = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    folder.mkdir(parents=True, exist_ok=True)
    storage.write_text(path, json.dumps(entries) + "\n")
    return path
