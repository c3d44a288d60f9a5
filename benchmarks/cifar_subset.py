"""A folder in the form of CIFAR-10 with the first images of each file, for studies that must end.

    python benchmarks/cifar_subset.py --root DIR --out SUBSET --images 400

writes SUBSET/cifar-10-batches-py; train on it with dataset=cifar10 dataset.root=SUBSET
dataset.verify=false.
"""

import argparse
import pickle
import shutil
from pathlib import Path

FOLDER = "cifar-10-batches-py"


def write_subset(root: Path, out: Path, num_images: int) -> None:
    """Write the first `num_images` of each of the six files of `root` to `out`."""
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    for path in sorted((root / FOLDER).glob("*_batch*")):
        content = pickle.loads(path.read_bytes(), encoding="latin1")
        few = {key: content[key][:num_images] for key in ("data", "labels")}
        (out / FOLDER / path.name).write_bytes(pickle.dumps(few, protocol=2))
    shutil.copy(root / FOLDER / "batches.meta", out / FOLDER)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, required=True)
    arguments = parser.parse_args()
    write_subset(arguments.root, arguments.out, arguments.images)


if __name__ == "__main__":
    main()
