from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from viewing import view

from visionlab.images.batching import plain_batches
from visionlab.images.splits import ImageSplit
from visionlab.images.views import View
from visionlab.task import Batch


def split_of(log: list[list[int]], *, show: Any = None) -> ImageSplit[Tensor]:
    """Return a split of 10 samples whose batches say from which epoch or view they are."""

    def read(rows: Iterable[Tensor]) -> Iterator[Tensor]:
        for batch in rows:
            log.append(batch.tolist())
            yield batch

    def order(*, batch_size: int, epoch: int) -> Any:
        return plain_batches(10, seed=3, batch_size=batch_size, epoch=epoch)

    def assemble(rows: Tensor, epoch: int) -> Batch:
        return Batch(epoch, None, rows)

    return ImageSplit(samples=range(10), order=order, read=read, assemble=assemble, show=show)


def keys(split: ImageSplit[Tensor], **settings: Any) -> list[list[int]]:
    settings = {"batch_size": 4, "epoch": 0, "first_batch": 0} | settings
    return [batch.keys.tolist() for batch in split.batches(**settings)]


def test_counts() -> None:
    split = split_of([])
    assert len(split) == 10
    assert [split.num_batches(size) for size in (1, 4, 5, 10, 11)] == [10, 3, 2, 1, 1]


def test_an_epoch_can_start_at_any_batch_and_reads_only_the_rest() -> None:
    whole = keys(split_of([]), epoch=1)
    assert sorted(row for rows in whole for row in rows) == list(range(10))
    assert whole != keys(split_of([]), epoch=0)
    for first_batch in range(4):
        log: list[list[int]] = []
        assert keys(split_of(log), epoch=1, first_batch=first_batch) == whole[first_batch:]
        assert log == whole[first_batch:]


def test_a_process_reads_only_its_share_of_every_batch() -> None:
    log: list[list[int]] = []
    whole = keys(split_of([]))
    found = keys(split_of(log), shard=lambda batches: (rows[1::2] for rows in batches))
    assert found == log == [rows[1::2] for rows in whole]


def test_batches_are_read_and_assembled_one_at_a_time() -> None:
    log: list[list[int]] = []
    batches = split_of(log).batches(batch_size=4, epoch=7, first_batch=0)
    assert log == []
    assert next(batches).inputs == 7
    assert len(log) == 1


def test_every_view_is_of_the_same_read() -> None:
    def show(rows: Tensor, view: View) -> Batch:
        return Batch(view, None, rows)

    log: list[list[int]] = []
    views = [view(), view(mirror=True)]
    found = list(split_of(log, show=show).view_batches(batch_size=4, views=views))
    assert [[batch.inputs for batch in each] for each in found] == [views] * 3
    for each, rows in zip(found, log, strict=True):
        assert all(batch.keys.tolist() == rows for batch in each)
    assert sorted(row for rows in log for row in rows) == list(range(10))


def test_views_of_a_task_without_views_are_refused() -> None:
    with pytest.raises(ValueError, match="views must be null for this task, got 1"):
        next(split_of([]).view_batches(batch_size=4, views=[view()]))


def test_a_sample_may_be_anything_that_has_a_length() -> None:
    def order(*, batch_size: int, epoch: int) -> Any:
        return torch.arange(3).split(batch_size)

    split = ImageSplit[Tensor](
        samples=torch.tensor([5, 6, 7]),
        order=order,
        read=iter,
        assemble=lambda rows, epoch: Batch(rows, None, rows),
        show=None,
    )
    assert len(split) == 3
    assert keys(split, batch_size=2) == [[0, 1], [2]]
