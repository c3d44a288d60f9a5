"""Small detection data sets on disk, and what a recipe makes of them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from PIL import Image

from visionlab.images.holdout import Holdout
from visionlab.images.resize import Resize
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.records import Annotated

SIZE = (20, 10)  # width and height of every image
AUGMENTATION = BoxAugment(
    flip_prob=0.0,
    vertical_flip_prob=0.0,
    scale=[1.0, 1.0],
    rotation_degrees=0.0,
    min_visible=0.0,
    colours=None,
)


@dataclass(frozen=True, kw_only=True)
class Read:
    """What a recipe hands to `from_annotations`."""

    parts: Mapping[str, Sequence[Annotated]]
    class_names: list[str]
    class_ids: list[int]
    read_counts: Mapping[str, Mapping[str, int]]


def common(root: Path, *, val: float = 0.25) -> dict[str, Any]:
    """Return the settings that all recipes share."""
    return {
        "root": str(root),
        "drop_invalid": False,
        "resize": Resize(short_px=10, long_px=20),
        "num_workers": 0,
        "mean": [0.0] * 3,
        "std": [1.0] * 3,
        "val": Holdout(split=val, seed=1234),
    }


def read(recipe: Callable[..., Any]) -> Read:
    """Return what a recipe reads."""
    with patch("visionlab.tasks.detection.datasets.annotations.from_annotations") as found:
        recipe(augmentation=AUGMENTATION, seed=3, device=torch.device("cpu"))
    (parts,), rest = found.call_args
    assert rest["seed"] == 3
    return Read(
        parts=parts,
        class_names=list(rest["class_names"]),
        class_ids=list(rest["class_ids"]),
        read_counts=rest["read_counts"],
    )


def write_image(path: Path, size: tuple[int, int] = SIZE) -> Path:
    """Write an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (10, 200, 30)).save(path)
    return path


def write(path: Path, text: str) -> Path:
    """Write a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_coco(
    path: Path,
    boxes: Mapping[int, Sequence[tuple[int, Sequence[float]]]],
    *,
    names: Mapping[int, str],
    **sections: Any,
) -> Path:
    """Write a COCO file of images `<id>.png` with boxes (category id, [x, y, w, h])."""
    annotations = [
        {"image_id": image, "category_id": category, "bbox": list(bbox)}
        for image, found in boxes.items()
        for category, bbox in found
    ]
    content: dict[str, Any] = {
        "images": [
            {"id": image, "file_name": f"{image}.png", "width": SIZE[0], "height": SIZE[1]}
            for image in boxes
        ],
        "annotations": [{"id": number, **each} for number, each in enumerate(annotations, start=1)],
        "categories": [{"id": number, "name": name} for number, name in names.items()],
    }
    content |= sections
    kept = {name: section for name, section in content.items() if section is not None}
    return write(path, json.dumps(kept))


def voc_xml(objects: Sequence[str], *, size: tuple[float, float] | None = SIZE) -> str:
    """Return a VOC file."""
    sides = "" if size is None else f"<width>{size[0]}</width><height>{size[1]}</height>"
    return f"<annotation><size>{sides}</size>{''.join(objects)}</annotation>"


def voc_object(name: str, corners: Sequence[object], *, difficult: int | None = None) -> str:
    """Return an object of a VOC file."""
    sides = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{side}>{value}</{side}>" for side, value in zip(sides, corners, strict=True))
    mark = "" if difficult is None else f"<difficult>{difficult}</difficult>"
    return f"<object><name>{name}</name>{mark}<bndbox>{box}</bndbox></object>"


def rows(sample: Annotated) -> list[tuple[int, list[float]]]:
    """Return label and corners of each box."""
    return list(zip(sample.labels.tolist(), sample.boxes.tolist(), strict=True))
