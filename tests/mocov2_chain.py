"""`chain=mocov2_fasterrcnn` small enough for two cores, on drawn images in the source's layout."""

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

STAGES = ("pretrain", "r1", "r2", "r3")
NUM_CLASSES = 100
_BOXES = 13  # an image: eight images have all classes
_WIDTH, _HEIGHT = 80, 64


def small(root: Path) -> list[str]:
    """Return the overrides for data of `write_objects` in `root`."""
    return [
        "chain=mocov2_fasterrcnn",
        f"dataset.root={root}",
        *("device=cpu", "threads=1", "tensorboard=false", "dataset.num_workers=0"),
        *("model.backbone.name=test_resnet", "r1.model.backbone.weights=@pretrain"),
        *("pretrain.model.queue_length=10", "pretrain.model.bn_splits=2"),
        *("pretrain.dataset.size_px=64", "pretrain.hparams.batch_size=8"),
        *("pretrain.hparams.epochs=2", "pretrain.checkpoint.every_epochs=1"),
        *(f"{stage}.dataset.resize.short_px=64" for stage in STAGES[1:]),
        *(f"{stage}.hparams.epochs={total}" for total, stage in enumerate(STAGES[1:], 2)),
    ]


def write_objects(root: Path) -> None:
    """Write numbered JPEG and YAML of 100 classes in two splits, and PNG without labels."""
    noise = np.random.default_rng(0)
    for folder, numbers in (("training", range(1, 9)), ("validation", range(9, 13))):
        (root / folder / "images").mkdir(parents=True)
        (root / folder / "labels").mkdir()
        for number in numbers:
            pixels = noise.integers(0, 80, (_HEIGHT, _WIDTH, 3), dtype=np.uint8)
            boxes = {"bboxes": [], "labels": []}
            for place in range(_BOXES):
                x, y = 16 * (place % 5), 21 * (place // 5)  # five cells in each of three rows
                label = ((number - 1) * _BOXES + place) % NUM_CLASSES
                pixels[y + 1 : y + 20, x + 1 : x + 15, label % 3] = 150 + label
                boxes["bboxes"].append([x + 1, y + 1, x + 15, y + 20])
                boxes["labels"].append(f"class {label:02d}")
            Image.fromarray(pixels).save(root / folder / "images" / f"{number}.JPEG")
            (root / folder / "labels" / f"{number}.yml").write_text(yaml.safe_dump(boxes))
    (root / "unlabeled").mkdir()
    for number in range(16):
        pixels = noise.integers(0, 256, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "unlabeled" / f"{number}.PNG")
