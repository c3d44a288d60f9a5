from functools import cache
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from sklearn.datasets import load_digits
from torch import Tensor
from torchvision.ops import box_iou

from visionlab.core import seeding
from visionlab.images.resize import Resize
from visionlab.task import Data
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.datasets import digit_scenes
from visionlab.tasks.detection.datasets.digit_scenes import (
    DigitScenes,
    enlarge,
    make_scenes,
    source_rows,
)
from visionlab.tasks.detection.records import Annotated

CONF = Path(__file__).parents[4] / "conf" / "dataset" / "digit_scenes.yaml"


def draw(count: int, *, first_key: int = 0, seed: int = 0, split: str = "train") -> list[Annotated]:
    source = load_digits()
    rows = source_rows()[split]
    digits, labels = torch.from_numpy(source.images), torch.from_numpy(source.target)
    return make_scenes(
        count, first_key=first_key, digits=digits[rows], labels=labels[rows], seed=seed
    )


@cache
def scenes() -> list[Annotated]:
    return draw(300)


def recipe(
    *, num_train: int = 3, num_val: int = 2, num_test: int = 4, seed: int = 0
) -> DigitScenes:
    return DigitScenes(
        num_train=num_train,
        num_val=num_val,
        num_test=num_test,
        seed=seed,
        mean=[0.5] * 3,
        std=[0.2] * 3,
        resize=Resize(short_px=128, long_px=160),
    )


def data(dataset: DigitScenes) -> Data:
    augmentation = BoxAugment(
        flip_prob=0.0,
        vertical_flip_prob=0.0,
        scale=[1.0, 1.0],
        rotation_degrees=0.0,
        min_visible=0.0,
        colours=None,
    )
    return dataset(augmentation=augmentation, seed=7, device=torch.device("cpu"))


def of_split(made: Data, split: str) -> list[Annotated]:
    batches = made.splits[split].batches(batch_size=2, epoch=0, first_batch=0)
    found = [sample for batch in batches for sample in batch.targets.annotated]
    return sorted(found, key=lambda sample: sample.key)


def are_equal(ours: list[Annotated], others: list[Annotated]) -> bool:
    """Return whether scenes are the same to the last bit."""
    return len(ours) == len(others) and all(
        one.key == other.key
        and torch.equal(one.image, other.image)
        and torch.equal(one.boxes, other.boxes)
        and torch.equal(one.labels, other.labels)
        for one, other in zip(ours, others, strict=True)
    )


@cache
def without_digits() -> list[Annotated]:
    """Return the same scenes with everything but their digits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digit_scenes, "EMPTY_PROB", 2.0)
        return draw(len(scenes()))


def is_alone(boxes: Tensor) -> Tensor:
    """Return which boxes touch no other, (K,) bool."""
    return (box_iou(boxes, boxes) > 0).sum(dim=1) == 1


def test_a_seed_gives_the_same_scenes_and_another_seed_others() -> None:
    assert are_equal(draw(20), scenes()[:20])
    for one, other in zip(draw(20, seed=1), scenes()[:20], strict=True):
        same_size = one.image.shape == other.image.shape
        assert not same_size or not torch.equal(one.image, other.image)


def test_a_scene_does_not_depend_on_how_many_are_made() -> None:
    assert are_equal(draw(3), scenes()[:3])
    assert are_equal(draw(5, first_key=17), scenes()[17:22])


def test_scenes_of_one_seed_differ() -> None:
    assert len({bytes(scene.image.numpy().tobytes()) for scene in scenes()}) == len(scenes())


def test_no_global_generator_is_drawn_from() -> None:
    before = torch.get_rng_state()
    draw(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_records_have_the_types_and_shapes_of_the_contract() -> None:
    for number, scene in enumerate(scenes()):
        count = len(scene.boxes)
        assert scene.key == number
        assert scene.image.dtype == torch.uint8
        assert scene.image.device.type == "cpu"
        assert scene.image.shape == (3, scene.height_px, scene.width_px)
        assert (scene.boxes.dtype, scene.boxes.shape) == (torch.float64, (count, 4))
        assert (scene.labels.dtype, scene.labels.shape) == (torch.int64, (count,))
        assert (scene.crowd.dtype, scene.crowd.tolist()) == (torch.bool, [False] * count)
        assert scene.areas.dtype == torch.float64
        expected = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in scene.boxes.tolist()]
        assert scene.areas.tolist() == expected


def test_pictures_have_three_sizes() -> None:
    sizes = {(scene.width_px, scene.height_px) for scene in scenes()}
    assert sizes == {(128, 128), (160, 128), (128, 160)}


def test_boxes_lie_inside_the_picture_and_use_all_of_it() -> None:
    for scene in scenes():
        assert (scene.boxes >= 0).all()
        assert (scene.boxes[:, [0, 2]] <= scene.width_px).all()
        assert (scene.boxes[:, [1, 3]] <= scene.height_px).all()
    boxes = torch.cat([scene.boxes for scene in scenes()])
    assert boxes[:, :2].amin() < 4
    assert boxes[:, 2:].amax() > 156


def test_digits_are_18_to_56_pixels_high() -> None:
    boxes = torch.cat([scene.boxes for scene in scenes()])
    heights = boxes[:, 3] - boxes[:, 1]
    assert 16 <= heights.min() <= 20
    assert 52 <= heights.max() <= 58
    assert 28 <= heights.median() <= 36


def test_scenes_have_up_to_six_digits_and_a_few_none() -> None:
    counts = torch.tensor([len(scene.boxes) for scene in scenes()]).bincount()
    assert len(counts) == 7
    assert 1 <= counts[0] <= 0.07 * len(scenes())
    assert (counts[1:] > 0.08 * len(scenes())).all()


def test_all_classes_are_about_equally_frequent() -> None:
    counts = torch.cat([scene.labels for scene in scenes()]).bincount(minlength=10)
    assert len(counts) == 10
    assert counts.min() > 0.6 * counts.double().mean()


def test_boxes_overlap_but_not_much() -> None:
    overlaps = [box_iou(scene.boxes, scene.boxes).triu(1).flatten() for scene in scenes()]
    assert torch.cat(overlaps).max() <= 0.3
    assert torch.cat(overlaps).max() > 0.1


def test_no_box_hides_in_another() -> None:
    for scene in scenes():
        low = torch.maximum(scene.boxes[:, None, :2], scene.boxes[None, :, :2])
        high = torch.minimum(scene.boxes[:, None, 2:], scene.boxes[None, :, 2:])
        shared = (high - low).clamp(min=0).prod(dim=2)
        smaller = torch.minimum(scene.areas[:, None], scene.areas[None])
        assert ((shared / smaller).triu(1) <= 0.4).all()


def test_boxes_are_tight_around_what_the_digits_change() -> None:
    gaps = []
    for scene, bare in zip(scenes(), without_digits(), strict=True):
        changed = (scene.image != bare.image).any(dim=0)
        outside = changed.clone()
        for x1, y1, x2, y2 in scene.boxes.int().tolist():
            outside[y1:y2, x1:x2] = False
        assert not outside.any()
        for x1, y1, x2, y2 in scene.boxes[is_alone(scene.boxes)].int().tolist():
            y, x = changed[y1:y2, x1:x2].nonzero().unbind(1)
            gaps += [int(x.min()), int(y.min()), x2 - x1 - 1 - int(x.max())]
            gaps += [y2 - y1 - 1 - int(y.max())]
    assert len(gaps) > 1000
    assert max(gaps) <= 1
    assert sum(gaps) < 0.02 * len(gaps)


def test_ink_stands_out_from_what_is_under_it() -> None:
    grey = torch.tensor([0.299, 0.587, 0.114])
    are_dark = []
    for scene, bare in zip(scenes(), without_digits(), strict=True):
        change = torch.einsum("c,chw->hw", grey, scene.image.float() - bare.image.float()) / 255
        for x1, y1, x2, y2 in scene.boxes[is_alone(scene.boxes)].int().tolist():
            part = change[y1:y2, x1:x2].flatten()
            extreme = part[part.abs().argmax()]
            assert extreme.abs() > 0.2
            are_dark.append(extreme < 0)
    assert 0.2 < sum(are_dark) / len(are_dark) < 0.8


def test_the_ground_is_cluttered() -> None:
    bare = without_digits()
    assert all(len(scene.boxes) == 0 for scene in bare)
    spreads = torch.stack([scene.image.float().std() for scene in bare])
    assert spreads.min() > 10
    assert spreads.median() > 30


@pytest.mark.parametrize(("size", "high"), [(0.0, 18), (1.0, 56)])
def test_a_full_block_is_enlarged_by_its_8_cells_and_what_of_the_rim_is_inked(
    size: float, high: int
) -> None:
    # ten cells of 2.2 or 6.6 pixels; ink is above 0.3 from 0.8 cells on, at the pixels' centres
    alpha = enlarge(torch.full((8, 8), 16.0), size=size, aspect=0.5)
    assert alpha.shape == (high, high)
    assert alpha[high // 2, high // 2] == 1.0
    assert alpha.min() >= 0.0


def test_the_aspect_makes_a_digit_narrow_or_wide() -> None:
    widths = [enlarge(torch.ones(8, 8), size=1.0, aspect=a).shape[1] for a in (0.0, 0.5, 1.0)]
    assert widths == [48, 56, 64]


def test_empty_rows_and_columns_of_a_digit_are_not_in_its_box() -> None:
    digit = torch.zeros(8, 8)
    digit[2:6, 3:5] = 9.0
    alpha = enlarge(digit, size=1.0, aspect=0.5)
    assert alpha.shape == (30, 16)  # 4.4 and 2.4 cells, centres of pixels counted
    assert alpha.any(dim=0).all()
    assert alpha.any(dim=1).all()


def test_no_source_digit_is_in_two_splits() -> None:
    rows = source_rows()
    assert [len(rows[split]) for split in ("train", "val", "test")] == [1222, 215, 360]
    assert torch.cat(list(rows.values())).sort().values.tolist() == list(range(1797))
    assert torch.equal(rows["test"], seeding.permutation(1797, seed=0)[:360])


@pytest.mark.parametrize(
    ("split", "source", "count", "first_key"),
    [
        ("train", "train", 3, 0),
        ("train_plain", "train", 3, 0),
        ("val", "val", 2, 10**9),
        ("test", "test", 4, 2 * 10**9),
    ],
)
def test_a_split_has_scenes_of_its_own_digits(
    split: str, source: str, count: int, first_key: int
) -> None:
    expected = draw(count, first_key=first_key, split=source)
    assert are_equal(of_split(data(recipe()), split), expected)


def test_the_test_scenes_do_not_depend_on_the_number_of_others() -> None:
    few = of_split(data(recipe()), "test")
    many = of_split(data(recipe(num_train=9, num_val=5, num_test=6)), "test")
    assert are_equal(many[:4], few)


def test_the_recipes_seed_and_not_the_runs_decides_on_the_scenes() -> None:
    assert are_equal(
        of_split(data(recipe(seed=3)), "val"), draw(2, first_key=10**9, seed=3, split="val")
    )


def test_labels_are_the_digits() -> None:
    made = data(recipe())
    assert made.sizes == {"num_classes": 10}
    assert list(made.class_names) == list("0123456789")


@pytest.mark.parametrize("name", ["num_train", "num_val", "num_test"])
@pytest.mark.parametrize("count", [0, -3])
def test_too_few_scenes_are_refused(name: str, count: int) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be >= 1, got {count}$"):
        recipe(**{name: count})


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^seed must be >= 0, got -1$"):
        recipe(seed=-1)


@pytest.mark.integration  # paints every training scene
def test_mean_and_std_in_the_settings_are_those_of_the_training_scenes() -> None:
    settings = OmegaConf.load(CONF).dataset
    made = draw(settings.num_train, seed=settings.seed)
    pixels = torch.cat([scene.image.flatten(1) for scene in made], dim=1).double() / 255
    assert list(settings.mean) == pytest.approx(pixels.mean(dim=1).tolist(), abs=1e-3)
    assert list(settings.std) == pytest.approx(pixels.std(dim=1).tolist(), abs=1e-3)
