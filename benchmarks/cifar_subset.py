"""A small folder in the form of CIFAR-10, for studies that must end.

    python benchmarks/cifar_subset.py --root DIR --out SUBSET --images 400

writes the first images of each file of DIR to SUBSET/cifar-10-batches-py; train on it with
dataset=cifar10 dataset.root=SUBSET dataset.verify=false. Without --root the images are noise.
"""

import argparse
import pickle
import shutil
from pathlib import Path

import numpy as np

FOLDER = "cifar-10-batches-py"
FILES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")


def write_subset(root: Path, out: Path, num_images: int) -> None:
    """Write the first `num_images` of each of the six files of `root` to `out`."""
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    for name in FILES:
        content = pickle.loads((root / FOLDER / name).read_bytes(), encoding="latin1")
        few = {key: content[key][:num_images] for key in ("data", "labels")}
        (out / FOLDER / name).write_bytes(pickle.dumps(few, protocol=2))
    shutil.copy(root / FOLDER / "batches.meta", out / FOLDER)


def write_noise(out: Path, num_images: int) -> None:
    """Write six files of `num_images` images of noise to `out`."""
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for name in FILES:
        images = generator.integers(0, 256, (num_images, 3072), dtype=np.uint8)
        labels = (np.arange(num_images) % 10).tolist()
        content = {"data": images, "labels": labels}
        (out / FOLDER / name).write_bytes(pickle.dumps(content, protocol=2))
    names = {"label_names": [str(label) for label in range(10)]}
    (out / FOLDER / "batches.meta").write_bytes(pickle.dumps(names, protocol=2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="holds cifar-10-batches-py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, required=True, help="of each file")
    arguments = parser.parse_args()
    if arguments.root:
        write_subset(arguments.root, arguments.out, arguments.images)
    else:
        write_noise(arguments.out, arguments.images)
    print("| file | bytes |\n|---|---|")
    for path in sorted((arguments.out / FOLDER).iterdir()):
        print(f"| {path.name} | {path.stat().st_size:,} |")


if __name__ == "__main__":
    main()
