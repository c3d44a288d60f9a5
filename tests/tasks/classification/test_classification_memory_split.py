from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from viewing import view

from visionlab.images.normalise import normalise
from visionlab.images.splits import ImageSplit, Training
from visionlab.task import Batch
from visionlab.tasks.classification.augment import Augment, pad
from visionlab.tasks.classification.records import LabelledImages
from visionlab.tasks.classification.splits import memory_split

NORMALISATION = torch.tensor([[0.5, 0.4, 0.3], [0.2, 0.3, 0.4]])
IMAGES = torch.randint(
    0, 256, (30, 3, 5, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
)
LABELS = torch.arange(30) % 7
ROWS = torch.tensor([29, 3, 14, 0, 7, 21, 5, 11, 2, 28, 17])
STRONG = Augment(pad_px=2, flip_prob=0.5, cutout_px=2)


TRAINING = Training(augmentation=STRONG, seed=4)


def split_of(
    *, padded: Tensor | None = None, training: Training[Augment] | None = TRAINING
) -> ImageSplit[Tensor]:
    return memory_split(
        LabelledImages(pad(IMAGES, 2) if padded is None else padded, LABELS),
        ROWS,
        pad_px=2,
        normalisation=NORMALISATION,
        training=training,
    )


def batches(
    split: ImageSplit[Tensor], batch_size: int, epoch: int = 0, first_batch: int = 0
) -> list[Batch]:
    return list(split.batches(batch_size=batch_size, epoch=epoch, first_batch=first_batch))


def inputs_by_key(split: ImageSplit[Tensor], batch_size: int, epoch: int = 0) -> dict[int, Tensor]:
    return {
        int(key): image
        for batch in batches(split, batch_size, epoch)
        for key, image in zip(batch.keys, batch.inputs, strict=True)
    }


def test_a_split_counts_its_rows_and_batches() -> None:
    assert len(split_of()) == 11
    assert [split_of().num_batches(size) for size in (1, 4, 11, 12)] == [11, 3, 1, 1]


def test_without_a_seed_rows_come_as_listed_and_as_they_are() -> None:
    plain = batches(split_of(training=None), batch_size=4)
    assert torch.cat([batch.keys for batch in plain]).tolist() == ROWS.tolist()
    inputs = torch.cat([batch.inputs for batch in plain])
    assert torch.equal(inputs, normalise(IMAGES[ROWS], NORMALISATION))


def test_an_epoch_has_every_row_once_with_its_target() -> None:
    for epoch in range(3):
        drawn = batches(split_of(), batch_size=4, epoch=epoch)
        keys = torch.cat([batch.keys for batch in drawn])
        assert sorted(keys.tolist()) == sorted(ROWS.tolist())
        assert torch.equal(torch.cat([batch.targets for batch in drawn]), LABELS[keys])


def test_the_order_changes_with_the_epoch_and_the_seed_only() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return batches(split_of(training=replace(TRAINING, seed=seed)), batch_size=11, epoch=epoch)[
            0
        ].keys.tolist()

    assert order(4, 0) == order(4, 0)
    assert order(4, 0) != order(4, 1)
    assert order(4, 0) != order(5, 0)


@given(batch_size=st.integers(1, 12), epoch=st.integers(0, 50), data=st.data())
def test_resuming_gives_the_tail_of_the_epoch_bit_for_bit(
    batch_size: int, epoch: int, data: st.DataObject
) -> None:
    first_batch = data.draw(st.integers(0, split_of().num_batches(batch_size)))
    tail = batches(split_of(), batch_size, epoch, first_batch)
    expected = batches(split_of(), batch_size, epoch)[first_batch:]
    assert [batch.keys.tolist() for batch in tail] == [batch.keys.tolist() for batch in expected]
    for ours, theirs in zip(tail, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours[:3], theirs[:3], strict=True))


@given(batch_size=st.integers(1, 12), epoch=st.integers(0, 50))
def test_an_augmented_image_does_not_depend_on_the_batch_size(batch_size: int, epoch: int) -> None:
    ours = inputs_by_key(split_of(), batch_size, epoch)
    theirs = inputs_by_key(split_of(), 11, epoch)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(image, theirs[key]) for key, image in ours.items())


def test_augmentation_changes_with_the_epoch() -> None:
    first, second = (inputs_by_key(split_of(), 4, epoch) for epoch in (0, 1))
    assert sum(not torch.equal(first[key], second[key]) for key in first) > 8


def test_batches_have_the_promised_types_and_no_geometry() -> None:
    batch = batches(split_of(), batch_size=4)[0]
    assert batch.inputs.shape == (4, 3, 5, 6)
    assert (batch.inputs.dtype, batch.targets.dtype, batch.keys.dtype) == (
        torch.float32,
        torch.int64,
        torch.int64,
    )
    assert batch.matrices is None


def test_views_show_images_without_augmentation() -> None:
    (plain,) = split_of().view_batches(batch_size=11, views=[view()])
    assert torch.equal(plain[0].inputs, normalise(IMAGES[plain[0].keys], NORMALISATION))
    ((_, mirrored),) = split_of().view_batches(batch_size=11, views=[view(), view(mirror=True)])
    torch.testing.assert_close(mirrored.inputs, plain[0].inputs.flip(3), atol=1e-4, rtol=0)
    assert torch.equal(mirrored.targets, LABELS[plain[0].keys])


def test_reading_batches_leaves_images_and_global_generator_alone() -> None:
    images, state = pad(IMAGES, 2), torch.get_rng_state()
    before = images.clone()
    batches(split_of(padded=images), batch_size=4)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)
