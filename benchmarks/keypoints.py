"""What visionlab claims about the speed of keypoint data on a CPU, side by side in one process.

    python benchmarks/keypoints.py --root DIR [--threads 2] [--rounds 5]

DIR holds training_frames_keypoints.csv and training.tar of udacity/P1_Facial_Keypoints. Run it on a
quiet machine. The table of 50,000 images with 971 points is written to a temporary folder.
"""

import argparse
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sides import alternate, describe, report
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from visionlab.images.sources import find_images, read_bytes
from visionlab.task import Split
from visionlab.tasks.keypoints.augment import PointAugment
from visionlab.tasks.keypoints.datasets.name_holdout import NameHoldout
from visionlab.tasks.keypoints.datasets.points_csv import PointsCsv
from visionlab.tasks.keypoints.datasets.points_table import read_points

SIZE_PX, BATCH_SIZE = 96, 64
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TABLE = "training_frames_keypoints.csv"
READ = """
import sys, time
from pathlib import Path
from visionlab.tasks.keypoints.datasets.points_table import read_points
started = time.perf_counter()
read_points(Path(sys.argv[1]), delimiter="\\t")
print(time.perf_counter() - started)
"""


class PerImage(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """What torchvision's v2 transforms make of one image after the other, points included."""

    def __init__(self, root: Path, *, in_memory: bool) -> None:
        table = read_points(root / TABLE, delimiter=",")
        self._sources = find_images(root / "training.tar", table.names)
        self._points = np.array(table.points)
        self._transform = v2.Compose(
            [
                v2.Resize(SIZE_PX),
                v2.CenterCrop(SIZE_PX),
                v2.RandomAffine(15, translate=(0.05, 0.05), scale=(0.9, 1.1)),
                v2.ColorJitter(brightness=0.3, contrast=0.3),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

        rows = range(len(self._sources)) if in_memory else ()
        self._kept = {row: self._decoded(row) for row in rows}

    def __len__(self) -> int:
        return len(self._sources)

    def _decoded(self, row: int) -> Image.Image:
        source = self._sources[row]
        assert source is not None
        return Image.open(io.BytesIO(read_bytes(source))).convert("RGB")

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = self._kept[row] if self._kept else self._decoded(row)
        points = tv_tensors.KeyPoints(  # type: ignore[call-arg]
            torch.from_numpy(self._points[row]), canvas_size=(image.height, image.width)
        )
        moved_image, moved_points = self._transform(image, points)
        return moved_image, torch.as_tensor(moved_points)


def visionlab_split(root: Path, *, in_memory: bool, num_workers: int) -> Split:
    """Return our training split with the same distributions."""
    augmentation = PointAugment(
        choose="each",
        affine_prob=1.0,
        rotation_degrees=15.0,
        scale=[0.9, 1.1],
        stretch=[1.0, 1.0],
        shift=0.05,
        crop_prob=0.0,
        crop_min_scale=1.0,
        mirror_prob=0.0,
        bars_prob=0.0,
        bars_max=0.0,
        colour_prob=1.0,
        brightness=0.3,
        contrast=0.3,
        grey_prob=0.0,
        blur_prob=0.0,
        blur_px=[1],
    )
    data = PointsCsv(
        root=str(root),
        tables={"train": TABLE},
        images={"train": "training.tar"},
        val=NameHoldout(split=0.0, seed=0, pattern=None, list=None),
        size_px=SIZE_PX,
        mirror=None,
        eyes=None,
        mean=MEAN,
        std=STD,
        num_workers=num_workers,
        in_memory=in_memory,
        skip_unreadable=False,
    )(augmentation=augmentation, seed=0, device=torch.device("cpu"))
    return data.splits["train"]


def measure_input(root: Path, rounds: int) -> None:
    """Compare an epoch of augmented batches."""
    images = {in_memory: PerImage(root, in_memory=in_memory) for in_memory in (True, False)}

    def theirs(*, in_memory: bool, num_workers: int) -> Callable[[], None]:
        loader = DataLoader(
            images[in_memory],
            batch_size=BATCH_SIZE,
            shuffle=True,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
        )
        return lambda: [None for _ in loader] and None

    def ours(*, in_memory: bool, num_workers: int) -> Callable[[], None]:
        split = visionlab_split(root, in_memory=in_memory, num_workers=num_workers)
        epochs = iter(range(sys.maxsize))

        def run() -> None:
            for _ in split.batches(batch_size=BATCH_SIZE, epoch=next(epochs), first_batch=0):
                pass

        return run

    sides = {
        "torchvision v2, in memory": theirs(in_memory=True, num_workers=0),
        "torchvision v2, in memory, 2 workers": theirs(in_memory=True, num_workers=2),
        "visionlab, in memory": ours(in_memory=True, num_workers=0),
        "torchvision v2, from files": theirs(in_memory=False, num_workers=0),
        "torchvision v2, from files, 2 workers": theirs(in_memory=False, num_workers=2),
        "visionlab, from files": ours(in_memory=False, num_workers=0),
        "visionlab, from files, 2 workers": ours(in_memory=False, num_workers=2),
    }
    title = (
        f"{len(images[True])} faces to {SIZE_PX}x{SIZE_PX}: affine, brightness, contrast, points"
    )
    report(title, alternate(sides, rounds=rounds), num_images=len(images[True]))


def measure_table(num_images: int, num_points: int) -> None:
    """Print how long the contest's table takes at the first and at a later start."""
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "landmarks.csv"
        names = [f"Point_{point}_{axis}" for point in range(num_points) for axis in "XY"]
        with path.open("w") as file:
            file.write("\t".join(["file_name", *names]) + "\n")
            for row in range(num_images):
                values = generator.integers(0, 400, 2 * num_points).tolist()
                file.write(f"{row:06d}.jpg\t" + "\t".join(map(str, values)) + "\n")
        print(
            f"\nTable of {num_images:,} images, {num_points} points, {path.stat().st_size:,} bytes"
        )
        for start in ("first start", "second start", "third start"):
            started = time.perf_counter()
            read = subprocess.run(
                [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True
            )
            whole = time.perf_counter() - started
            print(f"- {start}: {float(read.stdout):.2f} s ({whole:.2f} s with Python's start)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(describe(arguments.threads))
    measure_input(arguments.root, arguments.rounds)
    measure_table(50_000, 971)


if __name__ == "__main__":
    main()
