"""Prediction of any images by what a run saved, for `predict.py`."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import PurePosixPath
from typing import Any

import torch

from visionlab.core.interrupt import Signals
from visionlab.core.processes import num_processes
from visionlab.engine.image_progress import ImageProgress
from visionlab.files.atomic import output_folder
from visionlab.images.canvas import Canvas
from visionlab.images.decoding import Images, Source, Stack
from visionlab.images.image_sources import ImageSources, find_sources
from visionlab.runs.prediction_files import Predicted, check_format, prediction_file
from visionlab.runs.prediction_options import PredictionOptions, prediction_options
from visionlab.runs.predictor import Predictor, build_predictor

_log = logging.getLogger(__name__)
_MAX_NAMED = 3


def predict(config: Mapping[str, Any]) -> None:
    """Predict the images that a configuration of `predict.py` names; write the results.

    Raises:
        FileNotFoundError: a run, checkpoint or image does not exist.
        ValueError: an option is out of range or does not fit, or an image cannot be read; those
            that can are predicted first.
    """
    predict_images(prediction_options(config))


def predict_images(options: PredictionOptions) -> None:
    """Predict images and write the results, see `predict`."""
    if num_processes() > 1:
        raise ValueError(f"num_processes must be 1 for predictions, got {num_processes()}")
    images = find_sources(options.source)
    predictor = build_predictor(options)
    check_format(options.out, predictor.results, task=predictor.task)
    if options.draw and predictor.results.draw is None:
        raise ValueError(f"draw must be false for task {predictor.task}, got true")
    with output_folder(options.out.parent), Signals() as signals:
        unreadable = _write(images, predictor, options, signals.check)
    _log.info("wrote %s", options.out)
    if options.draw:
        _log.info("wrote %s", options.pictures)
    if unreadable:
        raise ValueError(
            _describe(unreadable, len(images.names), f"the others are in {options.out}")
        )


def _write(
    images: ImageSources,
    predictor: Predictor,
    options: PredictionOptions,
    check: Callable[[], None],
) -> dict[str, str]:
    """Write predictions and pictures; return the names of unreadable images with the reasons."""
    unreadable: dict[str, str] = {}
    count, shared = len(images.names), _shared_folder(images.names)
    with ExitStack() as opened:
        progress = opened.enter_context(ImageProgress(count))
        write = opened.enter_context(
            prediction_file(options.out, predictor.results, about=predictor.about)
        )
        for stacks, failed in stacks_of(images.sources, predictor, num_workers=options.num_workers):
            check()
            for row, message in failed.items():
                _log.warning("skipped an image: %s", message)
                unreadable[images.names[row]] = message
            for place, predicted in enumerate(_predicted(images, predictor, stacks)):
                write(predicted)
                if options.draw:
                    canvas = Canvas(stacks[0].pixels[place], factor=int(stacks[0].factors[place]))
                    _draw(canvas, predictor, predicted, options, shared)
            progress.advance(len(stacks[0].rows) + len(failed))
        if len(unreadable) == count:
            raise ValueError(_describe(unreadable, count, "nothing is written"))
    return unreadable


def stacks_of(
    sources: Sequence[Source], predictor: Predictor, *, num_workers: int
) -> Iterator[tuple[list[Stack], Mapping[int, str]]]:
    """Yield batches of images, decoded for each way to show them, and why others cannot be read."""
    count, size = len(sources), predictor.batch_size
    rows = torch.split(torch.arange(count), size)
    readers = [
        Images(
            sources,
            factor=plain.factor,
            num_workers=min(num_workers, len(rows) - 1),
        ).readable_batches(rows)
        for plain in predictor.images
    ]
    for found in zip(*readers, strict=True):
        yield [stack for stack, _ in found], found[0][1]


def _predicted(
    images: ImageSources, predictor: Predictor, stacks: list[Stack]
) -> Iterator[Predicted]:
    rows, sizes = stacks[0].rows.tolist(), stacks[0].sizes.tolist()
    records = predictor.records(stacks) if rows else []
    for row, (width, height), record in zip(rows, sizes, records, strict=True):
        yield Predicted(images.names[row], width, height, record)


def _shared_folder(names: Sequence[str]) -> str:
    """Return the folder that all images have in common, which names of pictures leave out."""
    return os.path.commonpath([os.path.dirname(name) for name in names])  # noqa: PTH120


def _draw(
    canvas: Canvas,
    predictor: Predictor,
    predicted: Predicted,
    options: PredictionOptions,
    shared: str,
) -> None:
    """Write the picture of an image under its name below a folder that all have in common."""
    assert predictor.results.draw is not None
    predictor.results.draw(canvas, predicted.record, options.min_score)
    name = PurePosixPath(predicted.name).relative_to(shared)
    path = options.pictures.joinpath(*(part for part in name.parts if part not in ("/", "..")))
    is_jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    canvas.save(path if is_jpeg else path.with_name(f"{path.name}.jpg"))


def _describe(unreadable: Mapping[str, str], count: int, rest: str) -> str:
    named = ", ".join(list(unreadable)[:_MAX_NAMED])
    more = ", ..." if len(unreadable) > _MAX_NAMED else ""
    return (
        f"source must hold readable images, got {len(unreadable)} of {count} that cannot be read "
        f"({named}{more}); {rest}"
    )
