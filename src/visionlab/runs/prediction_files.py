"""Files of predictions, written image by image: JSON, CSV and COCO's results."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from visionlab.files.atomic import csv_text, growing_file, write_json
from visionlab.task import CocoResults, Record, Results

ENDINGS = (".coco.json", ".json", ".csv")  # the longest first


class Predicted(NamedTuple):
    """The prediction for an image; sizes are those of the original, in pixels."""

    name: str
    width_px: int
    height_px: int
    record: Record


Write = Callable[[Predicted], None]


def ending(path: Path) -> str:
    """Return the end of a file's name that says its format.

    Raises:
        ValueError: there is no such format.
    """
    for end in ENDINGS:
        if path.name.lower().endswith(end):
            return end
    raise ValueError(f"out must end in {', '.join(ENDINGS)}, got {path}")


def check_format(path: Path, results: Results, *, task: str) -> None:
    """Refuse a format that the predictions of a task do not have.

    Raises:
        ValueError: they do not.
    """
    if ending(path) == ".coco.json" and results.coco is None:
        raise ValueError(f"out must end in .json or .csv for task {task}, got {path}")


@contextmanager
def prediction_file(path: Path, results: Results, *, about: Mapping[str, Any]) -> Iterator[Write]:
    """Return a function that writes one prediction; the file is renamed to `path` at the end.

    `about` says what predicted; of the formats only JSON has a place for it.

    Raises:
        OSError: the file cannot be written; an old one is untouched.
    """
    end = ending(path)
    with growing_file(path) as write:
        if end == ".csv":
            yield _csv_writer(write, results)
        elif end == ".json":
            write(f"{json.dumps({**about, **results.about}, ensure_ascii=False)[:-1]}, ")
            yield from _in_list(write, '"images": [', "\n]}\n", _json_entries)
        else:
            assert results.coco is not None
            entries = _CocoEntries(results.coco)
            yield from _in_list(write, "[", "\n]\n", entries)
    if end == ".coco.json":
        write_json(companion(path), entries.annotations())


def companion(path: Path) -> Path:
    """Return the file beside COCO's results that has the names and sizes of the images."""
    return path.with_name(f"{path.name[: -len('.coco.json')]}.images.json")


def _in_list(
    write: Callable[[str], None],
    start: str,
    end: str,
    entries: Callable[[Predicted], list[Mapping[str, Any]]],
) -> Iterator[Write]:
    """Yield a function that writes the entries of a prediction into a JSON list, a line each."""
    separator = "\n"
    write(start)

    def add(predicted: Predicted) -> None:
        nonlocal separator
        for entry in entries(predicted):
            write(separator + json.dumps(entry, ensure_ascii=False))
            separator = ",\n"

    yield add
    write(end)


def _json_entries(predicted: Predicted) -> list[Mapping[str, Any]]:
    size = {"width": predicted.width_px, "height": predicted.height_px}
    return [{"image": predicted.name, **size, **predicted.record}]


def _csv_writer(write: Callable[[str], None], results: Results) -> Write:
    is_new = True

    def add(predicted: Predicted) -> None:
        nonlocal is_new
        header = [["path", *results.columns(predicted.record)]] if is_new else []
        is_new = False
        rows = [[predicted.name, *row] for row in results.rows(predicted.record)]
        write(csv_text(header + rows))

    return add


class _CocoEntries:
    """Entries of COCO's results; images are numbered from 1."""

    def __init__(self, coco: CocoResults) -> None:
        self._coco = coco
        self._images: list[dict[str, Any]] = []

    def __call__(self, predicted: Predicted) -> list[Mapping[str, Any]]:
        """Return the entries of an image."""
        number = len(self._images) + 1
        size = {"width": predicted.width_px, "height": predicted.height_px}
        self._images.append({"id": number, "file_name": predicted.name, **size})
        entries = self._coco.entries(predicted.record)
        return [{"image_id": number, **entry} for entry in entries]

    def annotations(self) -> dict[str, Any]:
        """Return images and categories in the form of COCO's annotations, for pycocotools."""
        named = [{"id": number, "name": name} for number, name in self._coco.categories.items()]
        return {"info": {}, "images": self._images, "annotations": [], "categories": named}
