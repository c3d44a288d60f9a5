"""Speed of keypoint data on a CPU, measured side by side in one process.

    python benchmarks/keypoints.py [--root DIR] [--images 500] [--threads 2] [--rounds 5] [--smoke]

DIR holds training_frames_keypoints.csv and training.tar of udacity/P1_Facial_Keypoints; without it
there are images of noise. Run it on a quiet machine. The table of 50,000 images with 971
points is written to a temporary folder. `--smoke` only shows that everything runs: few images, a
small table, one round.
"""

import io
import itertools
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from composing import make_experiment
from PIL import Image
from results import options, publish
from sides import Claim, Result, Table, compare, speedup
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from visionlab.config.overrides import quoted
from visionlab.images.sources import find_images, read_bytes
from visionlab.runs.build import build_data
from visionlab.task import Split
from visionlab.tasks.keypoints.datasets.points_table import read_points

SIZE_PX, BATCH_SIZE = 96, 64
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TABLE, IMAGES = "training_frames_keypoints.csv", "training.tar"
NUM_POINTS = 68  # of P1_Facial_Keypoints
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
        self._sources = find_images(root / IMAGES, table.names)
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
    experiment = make_experiment(
        *("task=keypoints", "dataset=points_csv", f"dataset.root={quoted(str(root))}"),
        *(f"dataset.tables.train={TABLE}", f"dataset.images.train={IMAGES}"),
        *("dataset.val.split=0", f"dataset.size_px={SIZE_PX}", f"dataset.in_memory={in_memory}"),
        *(f"dataset.num_workers={num_workers}", "task.metric.eyes=null"),
        *("augment=points_none", "augment.affine_prob=1", "augment.rotation_degrees=15"),
        *("augment.scale=[0.9,1.1]", "augment.shift=0.05", "augment.colour_prob=1"),
        *("augment.brightness=0.3", "augment.contrast=0.3"),
    )
    return build_data(experiment, torch.device("cpu")).splits["train"]


def write_noise(root: Path, *, num_images: int) -> None:
    """Write images of noise and random points in the form of P1_Facial_Keypoints."""
    generator = np.random.default_rng(0)
    names = [f"{number:04d}.jpg" for number in range(num_images)]
    write_table(root / TABLE, names, num_points=NUM_POINTS, size_px=200, delimiter=",")
    with tarfile.open(root / IMAGES, "w") as tar:
        for name in names:
            pixels = generator.integers(0, 256, (25, 25, 3), dtype=np.uint8)
            file = io.BytesIO()
            Image.fromarray(pixels).resize((200, 200)).save(file, "JPEG")
            entry = tarfile.TarInfo(name)
            entry.size = file.tell()
            file.seek(0)
            tar.addfile(entry, file)


def write_table(
    path: Path, names: Sequence[str], *, num_points: int, size_px: int, delimiter: str
) -> None:
    """Write random points in square images."""
    generator = np.random.default_rng(0)
    points = [f"Point_{point}_{axis}" for point in range(num_points) for axis in "XY"]
    with path.open("w") as file:
        file.write(delimiter.join(["file_name", *points]) + "\n")
        for name in names:
            values = generator.integers(0, size_px, 2 * num_points).tolist()
            file.write(delimiter.join([name, *map(str, values)]) + "\n")


def measure_input(root: Path, rounds: int) -> Iterator[Result]:
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
    found = compare(title, sides, rounds=rounds, count=len(images[True]))
    ours_in_memory = "visionlab, in memory"
    yield found
    for text, other, at_least in (
        ("faces in memory against transforms v2", "torchvision v2, in memory", 5),
        ("the same with two workers", "torchvision v2, in memory, 2 workers", 3),
    ):
        yield speedup(found, ours_in_memory, other, text, at_least=at_least)


def measure_table(num_images: int, num_points: int) -> Iterator[Result]:
    """Measure how long the contest's table takes at the first and at later starts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "landmarks.csv"
        names = [f"{row:06d}.jpg" for row in range(num_images)]
        write_table(path, names, num_points=num_points, size_px=400, delimiter="\t")
        title = f"Table of {num_images:,} images, {num_points} points"
        seconds, rows = [], []
        for start in ("first", "second", "third"):
            started = time.perf_counter()
            read = subprocess.run(
                [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True
            )
            whole = time.perf_counter() - started
            seconds.append(float(read.stdout))
            rows.append((start, f"{seconds[-1]:.2f}", f"{whole:.2f}"))
    yield Table(title=title, columns=["start", "seconds", "with Python's start"], rows=rows)
    first, *later = seconds
    yield Claim(text=f"{title}: first read", values=[first], unit="s", at_most=60)
    yield Claim(text=f"{title}: later reads", values=later, unit="s", at_most=1)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--images", type=int, default=500, help="of noise")
    arguments = parser.parse_args()
    rounds, num_images, table = arguments.rounds, arguments.images, (50_000, 971)
    if arguments.smoke:
        rounds, num_images, table = 1, 6, (20, 5)
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        if not arguments.root:
            write_noise(Path(folder), num_images=num_images)
        results = itertools.chain(
            measure_input(arguments.root or Path(folder), rounds), measure_table(*table)
        )
        publish(results, threads=arguments.threads, json_file=arguments.json)


if __name__ == "__main__":
    main()
