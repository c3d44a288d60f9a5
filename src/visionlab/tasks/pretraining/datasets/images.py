"""Images in a folder or a tar, with or without classes."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch

from visionlab.core.checks import check_px
from visionlab.files.documents import parse_json, read_text
from visionlab.images.decoding import find_readable
from visionlab.images.parts import named_parts
from visionlab.images.paths import forward_slashes, path_key
from visionlab.images.plain import PlainImages
from visionlab.images.sources import StoredImage, list_images
from visionlab.task import Data
from visionlab.tasks.pretraining.augment import ViewAugment
from visionlab.tasks.pretraining.object_boxes import read_boxes, rows_by_name, whole_images
from visionlab.tasks.pretraining.plain import plain_images
from visionlab.tasks.pretraining.records import NO_LABEL, ImageFiles
from visionlab.tasks.pretraining.splits import PretrainingDataset, in_files

_log = logging.getLogger(__name__)


class Image(NamedTuple):
    """An image of a data set.

    Attributes:
        name: its path below the root or within the tar.
        place: its path below the folder of its part.
        source: the file.
    """

    name: PurePosixPath
    place: PurePosixPath
    source: StoredImage


@dataclass(frozen=True, kw_only=True)
class Images(PretrainingDataset):
    """All images below a folder, or in an uncompressed tar.

    If every image lies in a folder of its class, `root/<class>/...`, with at least two classes, the
    classes are the labels of k-NN. With `root/train` only the images below it are trained on, and
    `root/val` and `root/test` are used for evaluation if there are classes.

    With a file of boxes, both views of a training image are crops of one random box of it, another
    one in each epoch; an image without boxes is cropped as without the file.

    Attributes:
        root: the folder or the tar.
        folder: the folder of the images below `root`, null for the root itself.
        listed_in: a file below `root` that names the images to take, COCO's JSON or a text with a
            name in each line, null for all; a name is the path below `folder`, or the file name
            without suffix if no other image has it.
        size_px: side of the square inputs; without augmentation they show the centre of an image.
        num_workers: decoding processes for each part.
        boxes: a file with boxes of objects, see `object_boxes`, null for none.
        skip_unreadable: read every file once at the start, and leave out and list those that cannot
            be decoded; otherwise the first such file ends the run.
    """

    root: str
    folder: str | None
    listed_in: str | None
    size_px: int
    num_workers: int
    boxes: str | None
    skip_unreadable: bool

    def __post_init__(self) -> None:
        check_px(self, 1, "size_px")

    def find_parts(self) -> dict[str, list[Image]]:
        """Return the images of each part: `train`, and `val` and `test` if they have folders.

        Without a folder `train`, all images are its.

        Raises:
            FileNotFoundError: there are no images.
            ValueError: a tar cannot be read in place, two folders may be a part, or the list is
                damaged or names images that are not there.
        """
        root = Path(self.root, self.folder or "").expanduser()
        images = [
            Image(PurePosixPath(name), PurePosixPath(name), source)
            for name, source in list_images(root)
        ]
        if not images:
            raise FileNotFoundError(f"dataset.root must hold images, found none in {root}")
        if self.listed_in is not None:
            images = keep_listed(images, Path(self.root, self.listed_in).expanduser())
        images = _without_common_folder(images)
        folders = sorted({image.place.parts[0] for image in images if len(image.place.parts) > 1})
        names = named_parts(folders, origin=root)
        if "train" not in names:
            return {"train": images}
        return {
            part: _without_common_folder(
                [
                    image._replace(place=image.place.relative_to(folder))
                    for image in images
                    if image.place.parts[0] == folder
                ]
            )
            for part, folder in names.items()
        }

    def __call__(self, *, augmentation: ViewAugment, seed: int, device: torch.device) -> Data:
        """Return the splits; a key is a hash of the path below `root`, so new files change none.

        Raises:
            FileNotFoundError: there are no images, or no such file of boxes.
            ValueError: a tar cannot be read in place, fewer than two images are readable, or the
                file of boxes is damaged.
        """
        found = self.find_parts()
        parts, class_names = _labelled(found)
        if class_names:
            _log.info("labels for k-NN: folders of %d classes", len(class_names))
        else:
            _log.info("no val split and no k-NN: the images are not in folders of classes")
            parts = {"train": parts["train"]}
        if self.boxes is not None:
            names = [image.name for each in found.values() for image in each]
            boxes = read_boxes(Path(self.boxes).expanduser(), names)
            parts["train"] = replace(parts["train"], boxes=boxes.take(range(len(found["train"]))))
        if class_names and "val" not in parts:
            train = parts["train"]
            kept, held_out = (rows.sort().values.tolist() for rows in self.val.rows(len(train)))
            parts |= {"train": train.take(kept), "val": train.take(held_out)}
        unreadable = []
        for name, part in parts.items() if self.skip_unreadable else ():
            rows, dropped = find_readable(part.sources, num_workers=self.num_workers)
            parts[name] = part.take(rows)
            unreadable += dropped
        return in_files(
            {name: part for name, part in parts.items() if len(part) or name == "train"},
            class_names=class_names,
            size_px=self.size_px,
            num_workers=self.num_workers,
            unreadable=unreadable,
            read_counts={self.boxes: parts["train"].boxes.describe()} if self.boxes else {},
            dataset=self,
            augmentation=augmentation,
            seed=seed,
            device=device,
        )

    def plain_images(
        self, *, class_names: Sequence[str], class_ids: Sequence[int], device: torch.device
    ) -> PlainImages:
        """Return how any images are shown to a model that was trained on this data set."""
        return plain_images(self, size_px=self.size_px, device=device)


def keep_listed(images: Sequence[Image], path: Path) -> list[Image]:
    """Return the images that a file names, in the order of `images`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, empty, or names other images.
    """
    if not path.is_file():
        raise FileNotFoundError(f"dataset.listed_in must be a file, looked for {path}")
    rows, names = rows_by_name([image.name for image in images]), _listed(path)
    unknown = [name for name in names if name not in rows]
    if unknown or not names:
        got = f"{unknown[0]!r} ({len(unknown)} unknown names)" if unknown else "none"
        raise ValueError(f"{path} must name images of dataset.root, got {got}")
    return [images[row] for row in sorted({rows[name] for name in names})]


def _listed(path: Path) -> list[str]:
    text = read_text(path)
    if path.suffix.lower() != ".json":
        return [line.strip() for line in text.split("\n") if line.strip()]
    try:
        return [
            forward_slashes(image["file_name"]) for image in parse_json(text, origin=path)["images"]
        ]
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path} must have images with a file_name, as COCO's, got {error!r}"
        ) from error


def _without_common_folder(images: Sequence[Image]) -> list[Image]:
    """Return images with places below the innermost folder that holds all of them."""
    common = images[0].place.parent
    for image in images:
        while not image.place.is_relative_to(common):
            common = common.parent
    return [image._replace(place=image.place.relative_to(common)) for image in images]


def _labelled(parts: Mapping[str, Sequence[Image]]) -> tuple[dict[str, ImageFiles], list[str]]:
    """Return the files of each part and the names of the classes; none if there are no classes."""
    places = [image.place.parts for image in parts["train"]]
    class_names = sorted({place[0] for place in places})
    if min(map(len, places)) < 2 or len(class_names) < 2:
        class_names = []
    number = {name: label for label, name in enumerate(class_names)}
    files = {}
    for part, images in parts.items():
        labels = [number.get(image.place.parts[0], NO_LABEL) for image in images]
        files[part] = ImageFiles(
            sources=[image.source for image in images],
            labels=torch.tensor(labels),
            keys=torch.tensor([path_key(image.name) for image in images]),
            boxes=whole_images(len(images)),
        )
    return files, class_names
