import logging
import math
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from visionlab.images.decoding import Source
from visionlab.task import Data
from visionlab.tasks.keypoints.augment import PointAugment
from visionlab.tasks.keypoints.datasets.landmarks_csv import LandmarksCsv
from visionlab.tasks.keypoints.datasets.name_holdout import NameHoldout
from visionlab.tasks.keypoints.datasets.points_csv import PointsCsv
from visionlab.tasks.keypoints.records import KeypointSamples
from visionlab.tasks.keypoints.splits import KeypointDataset, Reading, from_points

NAN = math.nan
CPU = torch.device("cpu")
OFF = PointAugment(
    choose="each",
    affine_prob=0.0,
    rotation_degrees=0.0,
    scale=[1.0, 1.0],
    stretch=[1.0, 1.0],
    shift=0.0,
    crop_prob=0.0,
    crop_min_scale=1.0,
    mirror_prob=0.0,
    bars_prob=0.0,
    bars_max=0.0,
    colour_prob=0.0,
    brightness=0.0,
    contrast=0.0,
    grey_prob=0.0,
    blur_prob=0.0,
    blur_px=[1],
)
NO_VAL = NameHoldout(split=0.0, seed=1, pattern=None, list=None)
COMMON: dict[str, Any] = {
    "size_px": 16,
    "mirror": None,
    "mean": [0.5] * 3,
    "std": [0.25] * 3,
    "num_workers": 0,
    "in_memory": False,
    "skip_unreadable": False,
}


def image(row: int, size: tuple[int, int] = (20, 16)) -> Tensor:
    return torch.full((3, size[1], size[0]), 10 * row, dtype=torch.uint8)


def part(
    points: Sequence[Any],
    *,
    sources: Sequence[Source] | None = None,
    requested: Sequence[Sequence[int]] | None = None,
) -> KeypointSamples:
    count = len(points)
    return KeypointSamples(
        sources=sources or [image(row) for row in range(count)],
        names=[f"{row}.png" for row in range(count)],
        keys=torch.arange(count),
        points=np.array(points, dtype=np.float32).reshape(count, -1, 2),
        requested=requested,
    )


TWO = [[[2, 4], [10, 8]], [[6, 4], [18, 12]]]


def data_of(parts: Mapping[str, KeypointSamples], **changes: Any) -> Data:
    """Return the data of parts; changes are settings of the data set, its reading or the rest."""
    settings = COMMON | {"eyes": None} | changes
    names = {kind: {each.name for each in fields(kind)} for kind in (KeypointDataset, Reading)}
    rest = {
        "point_names": ["left", "right"],
        "read_counts": {},
        "augmentation": OFF,
        "seed": 1,
        "device": CPU,
    }
    return from_points(
        parts,
        dataset=KeypointDataset(**{key: settings[key] for key in names[KeypointDataset]}),
        reading=Reading(**{key: settings[key] for key in names[Reading]}),
        **{key: settings.get(key, value) for key, value in rest.items()},
    )


def keys(data: Data, split: str) -> list[int]:
    found = data.splits[split].batches(batch_size=2, epoch=0, first_batch=0)
    return [key for batch in found for key in batch.keys.tolist()]


def points(data: Data, split: str) -> dict[int, Any]:
    """Return original points by key."""
    return {
        key: original
        for batch in data.splits[split].batches(batch_size=2, epoch=0, first_batch=0)
        for key, original in zip(batch.keys.tolist(), batch.targets.original.tolist(), strict=True)
    }


def test_splits_and_sizes() -> None:
    data = data_of({"train": part(TWO), "val": part(TWO[:1]), "test": part(TWO)})
    assert {name: len(split) for name, split in data.splits.items()} == {  # type: ignore[arg-type]
        "train": 2,
        "train_plain": 2,
        "val": 1,
        "test": 2,
    }
    assert data.class_names == ["left", "right"]
    assert list(data.class_ids) == [0, 1]
    assert data.unreadable == []
    assert data.sizes["num_points"] == 2
    assert data.sizes["size_px"] == 16
    assert set(data.sizes) == {"num_points", "size_px", "mean_points"}


def test_only_train_is_augmented_and_shuffled() -> None:
    moved = replace(OFF, affine_prob=1.0, rotation_degrees=90.0)
    many = [TWO[0]] * 12
    data = data_of({"train": part(many), "val": part(many)}, augmentation=moved)
    assert keys(data, "train") != sorted(keys(data, "train")) == list(range(12))
    for name in ("train_plain", "val"):
        assert keys(data, name) == list(range(12))
        for batch in data.splits[name].batches(batch_size=5, epoch=0, first_batch=0):
            assert not batch.matrices[:, 0, 1].any()
    (batch,) = data.splits["train"].batches(batch_size=12, epoch=0, first_batch=0)
    assert (batch.matrices[:, 0, 1] != 0).all()
    other = data_of({"train": part(many)}, augmentation=moved, seed=2)
    assert keys(other, "train") != keys(data, "train")


def test_mean_points_are_those_of_known_training_points_in_input_pixels() -> None:
    """Images of 20x16 and 32x64 px; what is known nowhere starts in the middle."""
    train = part(
        [[[4, 4], [NAN, NAN], [NAN, NAN]], [[16, 40], [8, 20], [NAN, NAN]]],
        sources=[image(0), image(1, (32, 64))],
    )
    other = part([[[90, 90], [90, 90], [90, 90]]])
    data = data_of({"train": train, "val": other}, point_names=["a", "b", "c"])
    first, second = (4 - 2, 4), (16 / 2, 40 / 2 - 8)  # 4 px and 16 px are cut off
    mean = [(first[axis] + second[axis]) / 2 for axis in (0, 1)]
    assert data.sizes["mean_points"] == [mean, [4.0, 2.0], [8.0, 8.0]]


def test_pixels_for_pictures_are_those_of_the_image() -> None:
    data = data_of({"train": part(TWO)})
    (batch,) = data.splits["train_plain"].batches(batch_size=2, epoch=0, first_batch=0)
    expected = torch.stack([image(row, (16, 16)) for row in range(2)]) / 255
    torch.testing.assert_close(data.to_pixels(batch.inputs), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size_px": 0}, "dataset.size_px must be >= 1, got 0"),
        ({"num_workers": -1}, "dataset.num_workers must be >= 0, got -1"),
        (
            {"augmentation": replace(OFF, mirror_prob=0.5)},
            "augment.mirror_prob must be 0 without dataset.mirror, got 0.5",
        ),
        ({"mirror": [0]}, "permutation of 2 points that is its own inverse, got [0]"),
        ({"mirror": [0, 0]}, "permutation of 2 points that is its own inverse, got [0, 0]"),
        ({"mirror": [1, 2]}, "permutation of 2 points that is its own inverse, got [1, 2]"),
        ({"mirror": []}, "permutation of 2 points that is its own inverse, got []"),
        ({"mean": [0.5, NAN, 0.5]}, "dataset.mean must be in [-255, 255], got [0.5, nan, 0.5]"),
        ({"std": [0.5, 1e-39, 0.5]}, "dataset.std must be in [1e-06, 255], got [0.5, 1e-39, 0.5]"),
        ({"mean": [0.5]}, "dataset.mean must have 3 values, got [0.5]"),
        ({"std": [1.0, 1.0, 0.0]}, "dataset.std must be in [1e-06, 255], got [1.0, 1.0, 0.0]"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        data_of({"train": part(TWO)}, **changes)


def test_a_permutation_that_is_not_its_own_inverse_is_refused() -> None:
    three = {"train": part([[[1, 2], [3, 4], [5, 6]]])}
    with pytest.raises(ValueError, match=r"dataset\.mirror must be a permutation of 3 points"):
        data_of(three, point_names=["a", "b", "c"], mirror=[1, 2, 0])
    data = data_of(
        three,
        point_names=["a", "b", "c"],
        mirror=[1, 0, 2],
        augmentation=replace(OFF, mirror_prob=1.0),
    )
    (batch,) = data.splits["train"].batches(batch_size=1, epoch=0, first_batch=0)
    assert batch.targets.mirror.tolist() == [1, 0, 2]
    assert batch.matrices[0, 0, 0] < 0


def test_an_empty_part_is_refused() -> None:
    nothing = part(TWO).take([])
    with pytest.raises(ValueError, match="dataset must have images in its part train, got none"):
        data_of({"train": nothing})
    with pytest.raises(ValueError, match="dataset must have images in its part val, got none"):
        data_of({"train": part(TWO), "val": nothing})


def test_a_training_part_without_known_points_is_refused() -> None:
    unknown = part([[[NAN, NAN]] * 2] * 2)
    with pytest.raises(ValueError, match="known points in its part train, got none in 2 images"):
        data_of({"train": unknown, "val": part(TWO)})
    data_of({"train": part(TWO), "val": unknown})


@pytest.mark.parametrize(
    ("points", "expected"),
    [([[900, 30], [4, 4]], ["1 of 4 points of 2 images"]), ([[0, 16], [20, 0]], [])],
)
def test_points_outside_of_their_images_are_warned_of(
    caplog: pytest.LogCaptureFixture, points: list[list[int]], expected: list[str]
) -> None:
    data_of({"train": part([points, TWO[0]])})
    found = [line for line in caplog.messages if "outside of their images" in line]
    assert [line.partition(" of train")[0] for line in found] == expected


def save(path: Path, row: int, size: tuple[int, int] = (20, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (10 * row,) * 3).save(path)


def pack(folder: Path) -> None:
    """Put a folder into a tar beside it, and remove it."""
    with tarfile.open(folder.with_suffix(".tar"), "w") as tar:
        tar.add(folder, folder.name)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


@pytest.fixture(params=["folder", "tar"])
def archive(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


NAMES = ["Ann_1.png", "Bob_1.png", "Ann_2.png", "Cyd_1.png", "Bob_2.png", "Dee_1.png"]


def write_csv(path: Path, names: Sequence[str], first: int = 0) -> None:
    """Write two points an image: (row, 1) and, but for row 1, (row, 2)."""
    lines = ["image,x0,y0,x1,y1"]
    for row, name in enumerate(names, start=first):
        lines.append(f"{name},{row},1,{'' if row == 1 else row},2")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def csv_root(tmp_path: Path, archive: str) -> Path:
    for row, name in enumerate(NAMES):
        save(tmp_path / "train" / name, row)
    write_csv(tmp_path / "train.csv", NAMES)
    for row, name in enumerate(NAMES[:2]):
        save(tmp_path / "held" / name, row)
    write_csv(tmp_path / "held.csv", NAMES[:2], first=10)
    if archive == "tar":
        pack(tmp_path / "train")
        pack(tmp_path / "held")
    return tmp_path


def suffix(archive: str) -> str:
    return ".tar" if archive == "tar" else ""


def points_csv(root: Path, archive: str, **changes: Any) -> PointsCsv:
    images = {"train": f"train{suffix(archive)}", "val": None, "test": None}
    tables = {"train": "train.csv", "val": None, "test": None}
    settings = {"tables": tables, "images": images, "val": NO_VAL, "eyes": None}
    return PointsCsv(**COMMON | {"root": str(root)} | settings | changes)


def built(recipe: PointsCsv | LandmarksCsv, **changes: Any) -> Data:
    return recipe(**{"augmentation": OFF, "seed": 1, "device": CPU} | changes)


def names(data: Data, split: str) -> list[str]:
    return list(data.splits[split].samples.names)  # type: ignore[attr-defined]


def test_a_table_of_points_and_its_images(csv_root: Path, archive: str) -> None:
    data = built(points_csv(csv_root, archive))
    assert sorted(data.splits) == ["train", "train_plain"]
    assert names(data, "train") == NAMES
    assert data.class_names == ["0", "1"]
    for batch in data.splits["train"].batches(batch_size=4, epoch=0, first_batch=0):
        # each image is that of its row: the points and the colour say which
        rows = batch.targets.original[:, 0, 0]
        colours = ((batch.inputs[:, 0, 8, 8] * 0.25 + 0.5) * 255).round()
        assert torch.equal(colours, 10 * rows)
        assert torch.equal(batch.targets.is_known[:, 1], rows != 1)
        assert batch.targets.is_known[:, 0].all()


def test_points_that_are_shares_of_their_image_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "train" / "a.png", 1)
    (tmp_path / "train.csv").write_text("image,x0,y0,x1,y1\na.png,0.25,0.5,,\n")
    message = r"train.csv must have points in pixels, got 1 points .* x, y = 0.25, 0.5"
    with pytest.raises(ValueError, match=message):
        built(points_csv(tmp_path, "folder"))
    (tmp_path / "train.csv").write_text("image,x0,y0,x1,y1\na.png,0.25,0.5,3,0\n")
    built(points_csv(tmp_path, "folder"))


def test_validation_is_held_out_by_a_pattern(csv_root: Path, archive: str) -> None:
    people = NameHoldout(split=0.5, seed=1, pattern="(.*)_", list=None)
    data = built(points_csv(csv_root, archive, val=people))
    kept, held_out = names(data, "train"), names(data, "val")
    assert sorted(kept + held_out) == sorted(NAMES)
    assert len({name[:3] for name in held_out}) == 2
    assert not {name[:3] for name in kept} & {name[:3] for name in held_out}
    assert names(data, "train_plain") == kept
    whole = points(built(points_csv(csv_root, archive)), "train_plain")
    for split in ("train", "val"):
        for key, found in points(data, split).items():
            assert str(found) == str(whole[key])


def test_parts_with_tables_of_their_own(csv_root: Path, archive: str) -> None:
    ending = suffix(archive)
    data = built(
        points_csv(
            csv_root,
            archive,
            tables={"train": "train.csv", "val": "held.csv", "test": "held.csv"},
            images={"train": f"train{ending}", "val": f"held{ending}", "test": f"held{ending}"},
            val=NameHoldout(split=0.5, seed=1, pattern=None, list=None),
        )
    )
    assert names(data, "train") == NAMES
    assert names(data, "val") == names(data, "test") == NAMES[:2]
    assert [found[0][0] for found in points(data, "val").values()] == [10, 11]
    # the same name in another part is another image
    assert len({key for name in ("train", "val", "test") for key in keys(data, name)}) == 10


def test_a_key_follows_from_the_name_alone(csv_root: Path, archive: str) -> None:
    before = points(built(points_csv(csv_root, archive)), "train")
    write_csv(csv_root / "train.csv", list(reversed(NAMES[:4])))
    after = points(built(points_csv(csv_root, archive)), "train")
    rows = {key: NAMES.index(NAMES[int(found[0][0])]) for key, found in before.items()}
    assert {key: rows[key] for key in after} == {
        key: 3 - int(found[0][0]) for key, found in after.items()
    }


@pytest.mark.parametrize("in_memory", [False, True])
def test_workers_and_memory_change_nothing(csv_root: Path, archive: str, in_memory: bool) -> None:
    plain = built(points_csv(csv_root, archive))
    other = built(points_csv(csv_root, archive, num_workers=1, in_memory=in_memory))
    assert other.sizes == plain.sizes
    for ours, theirs in zip(
        *(
            data.splits["train"].batches(batch_size=4, epoch=0, first_batch=0)
            for data in (plain, other)
        ),
        strict=True,
    ):
        assert torch.equal(ours.inputs, theirs.inputs)
        assert torch.equal(ours.keys, theirs.keys)


def test_a_missing_image_is_named_with_its_row(csv_root: Path, archive: str) -> None:
    write_csv(csv_root / "train.csv", [*NAMES[:3], "Eve_1.png", "Eve_2.png", *NAMES[3:]])
    source = csv_root / f"train{suffix(archive)}"
    message = (
        f"{csv_root / 'train.csv'} data row 4 names an image that must exist, "
        f"looked for {source / 'Eve_1.png'} and 1 more"
    )
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        built(points_csv(csv_root, archive))


def test_missing_and_damaged_images_are_left_out_on_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for row, name in enumerate(NAMES):
        save(tmp_path / "train" / name, row)
    (tmp_path / "train" / NAMES[1]).unlink()
    (tmp_path / "train" / NAMES[4]).write_text("no image")
    write_csv(tmp_path / "train.csv", NAMES)
    with pytest.raises(FileNotFoundError, match=re.escape("data row 2 names an image")):
        built(points_csv(tmp_path, "folder"))
    with caplog.at_level(logging.WARNING):
        data = built(points_csv(tmp_path, "folder", skip_unreadable=True))
    left_out = [str(tmp_path / "train" / NAMES[row]) for row in (1, 4)]
    assert data.unreadable == left_out
    assert all(path in caplog.text for path in left_out)
    assert names(data, "train") == [NAMES[row] for row in (0, 2, 3, 5)]
    found = points(data, "train_plain")
    assert sorted(each[0][0] for each in found.values()) == [0, 2, 3, 5]
    for batch in data.splits["train"].batches(batch_size=4, epoch=0, first_batch=0):
        colours = ((batch.inputs[:, 0, 8, 8] * 0.25 + 0.5) * 255).round()
        assert torch.equal(colours, 10 * batch.targets.original[:, 0, 0])


@pytest.mark.parametrize("pattern", [None, "(.*)_"])
def test_a_missing_image_moves_no_other_between_training_and_validation(
    tmp_path: Path, pattern: str | None
) -> None:
    many = [f"{row}_{row}.png" for row in range(20)]
    for row, name in enumerate(many):
        save(tmp_path / "train" / name, row)
    write_csv(tmp_path / "train.csv", many)
    val = NameHoldout(split=0.3, seed=1, pattern=pattern, list=None)
    settings = {"val": val, "skip_unreadable": True}
    whole = built(points_csv(tmp_path, "folder", **settings))
    gone = names(whole, "val")[0]
    (tmp_path / "train" / gone).unlink()
    fewer = built(points_csv(tmp_path, "folder", **settings))
    assert fewer.unreadable == [str(tmp_path / "train" / gone)]
    assert names(fewer, "val") == names(whole, "val")[1:]
    assert names(fewer, "train") == names(whole, "train")


def test_a_listed_validation_image_may_be_missing(tmp_path: Path) -> None:
    for row, name in enumerate(NAMES):
        save(tmp_path / "train" / name, row)
    (tmp_path / "train" / NAMES[1]).unlink()
    write_csv(tmp_path / "train.csv", NAMES)
    (tmp_path / "val.txt").write_text(f"{NAMES[1]}\n{NAMES[2]}\n")
    val = NameHoldout(split=0.0, seed=1, pattern=None, list=str(tmp_path / "val.txt"))
    data = built(points_csv(tmp_path, "folder", val=val, skip_unreadable=True))
    assert names(data, "val") == [NAMES[2]]
    assert data.unreadable == [str(tmp_path / "train" / NAMES[1])]


def test_a_blur_wider_than_the_picture_is_refused() -> None:
    message = r"augment.blur_px must be at most 31 for inputs of 16 px, got 33"
    for width in (31, 33):
        wide = replace(OFF, blur_prob=1.0, blur_px=[width])
        if width == 33:
            with pytest.raises(ValueError, match=message):
                data_of({"train": part(TWO)}, augmentation=wide)
        else:
            keys(data_of({"train": part(TWO)}, augmentation=wide), "train")


def test_a_damaged_image_ends_a_run_that_does_not_leave_it_out(tmp_path: Path) -> None:
    for row, name in enumerate(NAMES):
        save(tmp_path / "train" / name, row)
    (tmp_path / "train" / NAMES[4]).write_text("no image")
    write_csv(tmp_path / "train.csv", NAMES)
    message = f"{tmp_path / 'train' / NAMES[4]} must be an image"
    with pytest.raises(ValueError, match=re.escape(message)):
        built(points_csv(tmp_path, "folder"))


def test_without_any_readable_image_there_is_nothing_to_train_with(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    write_csv(tmp_path / "train.csv", NAMES)
    (tmp_path / "train" / NAMES[0]).write_text("no image")
    with pytest.raises(ValueError, match="dataset must have images in its part train, got none"):
        built(points_csv(tmp_path, "folder", skip_unreadable=True))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"tables": {"train": None, "val": None, "test": None}},
            ValueError,
            "dataset.tables.train must be given, got null",
        ),
        (
            {"tables": {"train": "none.csv", "val": None, "test": None}},
            FileNotFoundError,
            "dataset.tables.train must exist, looked for ",
        ),
        (
            {"images": {"train": None}},
            ValueError,
            "dataset.images.train must be given with its table, got null",
        ),
        (
            {"images": {"train": "none"}},
            FileNotFoundError,
            "dataset.images.train must exist, looked for ",
        ),
    ],
)
def test_wrong_paths_are_named(
    csv_root: Path,
    archive: str,
    changes: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        built(points_csv(csv_root, archive, **changes))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    for recipe in (points_csv(tmp_path / "no", "tar"), landmarks_csv(tmp_path / "no")):
        with pytest.raises(FileNotFoundError, match=r"dataset\.root must be a folder, looked for"):
            built(recipe)


def test_tables_have_the_same_points(csv_root: Path, archive: str) -> None:
    (csv_root / "other.csv").write_text(f"image,x0,y0\n{NAMES[0]},1,2\n")
    ending = suffix(archive)
    recipe = points_csv(
        csv_root,
        archive,
        tables={"train": "train.csv", "val": "other.csv"},
        images={"train": f"train{ending}", "val": f"held{ending}"},
    )
    message = "other.csv must have the points of the training table, 2 (0 to 1), got 1 (0 to 0)"
    with pytest.raises(ValueError, match=re.escape(message)):
        built(recipe)


@pytest.fixture
def contest(tmp_path: Path) -> Path:
    """Write the contest's files: six training images with 3 points, and two to be handed in."""
    header = [f"Point_{number}_{axis}" for number in range(3) for axis in "XY"]
    lines = ["\t".join(["file_name", *header])]
    for row, name in enumerate(NAMES):
        save(tmp_path / "train" / "images" / name, row)
        lines.append("\t".join([name, *(str(row + number) for number in range(6))]))
    (tmp_path / "train" / "landmarks.csv").write_text("\n".join(lines) + "\n")
    for row in range(2):
        save(tmp_path / "test" / "images" / f"t{row}.png", row)
    asked = "file_name\tpoint_index_list\nt1.png\t[2, 0]\nt0.png\t[1, 1]\n"
    (tmp_path / "test" / "test_points.csv").write_text(asked)
    return tmp_path


def landmarks_csv(root: Path, **changes: Any) -> LandmarksCsv:
    settings = {"root": str(root), "test": True, "val": NO_VAL, "eyes": None}
    return LandmarksCsv(**COMMON | settings | changes)


def test_the_contests_files(contest: Path) -> None:
    share = NameHoldout(split=0.34, seed=1, pattern=None, list=None)
    data = built(landmarks_csv(contest, val=share))
    assert {name: len(split) for name, split in data.splits.items()} == {  # type: ignore[arg-type]
        "train": 4,
        "train_plain": 4,
        "val": 2,
        "test": 2,
    }
    assert sorted(names(data, "train") + names(data, "val")) == sorted(NAMES)
    assert data.class_names == ["0", "1", "2"]
    for split in ("train_plain", "val"):
        found = dict(zip(keys(data, split), names(data, split), strict=True))
        for key, original in points(data, split).items():
            row = NAMES.index(found[key])
            assert original == [[row, row + 1], [row + 2, row + 3], [row + 4, row + 5]]
    test = data.splits["test"]
    assert names(data, "test") == ["t1.png", "t0.png"]  # in the order of the list
    assert test.samples.requested == [[2, 0], [1, 1]]  # type: ignore[attr-defined]
    (batch,) = test.batches(batch_size=2, epoch=0, first_batch=0)
    assert batch.targets.original.isnan().all()
    assert batch.targets.original.shape == (2, 3, 2)
    assert not batch.targets.is_known.any()
    colours = ((batch.inputs[:, 0, 8, 8] * 0.25 + 0.5) * 255).round()
    assert colours.tolist() == [10, 0]
    assert sorted(built(landmarks_csv(contest, test=False)).splits) == ["train", "train_plain"]


def test_what_is_handed_in_is_whole_or_nothing(contest: Path) -> None:
    """Training images may be left out, images of the test list never."""
    (contest / "train" / "images" / NAMES[0]).unlink()
    skipping = landmarks_csv(contest, skip_unreadable=True)
    data = built(skipping)
    assert data.unreadable == [str(contest / "train" / "images" / NAMES[0])]
    lost = contest / "test" / "images" / "t0.png"
    lost.write_text("no image")
    with pytest.raises(ValueError, match=re.escape(f"{lost} must be an image")):
        built(skipping)
    lost.unlink()
    message = (
        f"{contest / 'test' / 'test_points.csv'} data row 2 names an image that must exist, "
        f"looked for {lost}"
    )
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        built(skipping)


def spoil_landmarks(root: Path) -> None:
    path = root / "train" / "landmarks.csv"
    path.write_text(path.read_text().replace("\t5\t", "\tfive\t", 1))


def spoil_list(root: Path) -> None:
    path = root / "test" / "test_points.csv"
    path.write_text(path.read_text().replace("[1, 1]", "[1, 3]"))


def lose_list(root: Path) -> None:
    (root / "test" / "test_points.csv").unlink()


@pytest.mark.parametrize(
    ("spoil", "error", "parts"),
    [
        (spoil_landmarks, ValueError, ["landmarks.csv", "line 3, column 6", "'five'"]),
        (spoil_list, ValueError, ["test_points.csv", "line 3, column 2", "[0, 3), got 3"]),
        (lose_list, FileNotFoundError, ["test_points.csv"]),
    ],
)
def test_wrong_files_are_named(
    contest: Path, spoil: Callable[[Path], None], error: type[Exception], parts: Sequence[str]
) -> None:
    spoil(contest)
    with pytest.raises(error) as caught:
        built(landmarks_csv(contest))
    assert "\n" not in str(caught.value)
    for each in parts:
        assert each in str(caught.value)
