"""Strict check of a file of COCO results before it is submitted.

    python -m visionlab.tasks.detection.check_submission results.json annotations.json

The exit code is 0 if the file is valid and 1 otherwise.
"""

import argparse
import math
import reprlib
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from visionlab.core.class_names import distinct_names
from visionlab.files.documents import parse_json
from visionlab.files.problems import Problem, Report, print_report, report_problems
from visionlab.tasks.detection.datasets import coco_json

MAX_PER_IMAGE = 100  # limit of COCO's evaluation
_KEYS = ("image_id", "category_id", "bbox", "score")
_Sides = tuple[float, float] | None


def check(results: Any, annotations: Any, tolerance_px: float) -> Report:
    """Check the content of a results file against the annotations of the same images.

    A box may extend beyond its image by `tolerance_px`.

    Raises:
        ValueError: the results are not a list, or the annotations lack images or categories.
    """
    if not isinstance(results, list):
        raise ValueError(f"results must be a list, got {type(results).__name__}")
    sizes = {each["id"]: _size(each) for each in _section(annotations, "images")}
    names = {each["id"]: str(each.get("name")) for each in _section(annotations, "categories")}
    per_image, per_category = (_count(results, key) for key in ("image_id", "category_id"))
    return report_problems(
        _problems(results, sizes, names, tolerance_px),
        summary=[
            f"{len(results)} entries for {len(sizes)} images",
            *(
                f"  {name}: {per_category[number]}"
                for number, name in distinct_names(names).items()
            ),
        ],
        unit=f"of {len(results)} entries",
        notes=list(_notes(per_image, sizes)),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Check the files named on the command line, print the report and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m visionlab.tasks.detection.check_submission",
        description="Check a file of COCO results before it is submitted.",
    )
    parser.add_argument("results", type=Path, help="a JSON list of detections")
    parser.add_argument("annotations", type=Path, help="the JSON file of the same images")
    tolerance = "how far a box may extend beyond its image (1.0)"
    parser.add_argument("--tolerance-px", type=float, default=1.0, help=tolerance)
    options = parser.parse_args(argv)
    if not options.tolerance_px >= 0:
        parser.error(f"argument --tolerance-px: must be >= 0, got {options.tolerance_px:g}")

    def checked() -> Report:
        paths = (options.results, options.annotations)
        results, annotations = (parse_json(path.read_bytes(), origin=path) for path in paths)
        return check(results, annotations, options.tolerance_px)

    return print_report(options.results, checked)


def _notes(per_image: Counter[int], sizes: Mapping[int, _Sides]) -> Iterator[str]:
    if count := sum(per_image[image] == 0 for image in sizes):
        yield f"warning, no failure: {count} images have no entry"
    if count := sum(per_image[image] > MAX_PER_IMAGE for image in sizes):
        yield (
            f"note: {count} images have more than {MAX_PER_IMAGE} entries; "
            f"evaluation counts only the best {MAX_PER_IMAGE}"
        )
    if count := sum(size is None for size in sizes.values()):
        yield f"note: {count} images have no size; their bounds are not checked"


def _section(annotations: Any, name: str) -> list[Mapping[str, Any]]:
    entries = annotations.get(name) if isinstance(annotations, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f"annotations must have a list of {name}, got none")
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict) or type(entry.get("id")) is not int:
            raise ValueError(f"{name}[{place}] must have an integer id, got {reprlib.repr(entry)}")
    return entries


def _size(image: Mapping[str, Any]) -> _Sides:
    width, height = (image.get(side, math.nan) for side in ("width", "height"))
    return (width, height) if _is_number(width) and _is_number(height) else None


def _problems(
    results: Sequence[Any],
    sizes: Mapping[int, _Sides],
    names: Mapping[int, str],
    tolerance_px: float,
) -> Iterator[Problem]:
    """Yield violations; a malformed entry violates one rule only."""
    first: dict[tuple[Any, ...], int] = {}
    for index, entry in enumerate(results):
        where = f"entry {index}"
        malformed = _malformed(entry)
        if malformed:
            yield malformed[0], f"{where}: {malformed[1]}"
            continue
        for rule, got in _broken(entry, sizes, names, tolerance_px):
            yield rule, f"{where}: {got}"
        identity = (entry["image_id"], entry["category_id"], *entry["bbox"])
        if first.setdefault(identity, index) != index:
            yield "each entry must differ", f"{where}: the same box as entry {first[identity]}"


def _malformed(entry: Any) -> Problem | None:
    if not isinstance(entry, dict):
        return "an entry must be an object", reprlib.repr(entry)
    missing = [key for key in _KEYS if key not in entry]
    if missing:
        return f"an entry must have {', '.join(_KEYS)}", f"no {', '.join(missing)}"
    for key in ("image_id", "category_id"):
        if type(entry[key]) is not int:
            return f"{key} must be an integer", reprlib.repr(entry[key])
    bbox = entry["bbox"]
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(_is_number, bbox)):
        return "bbox must be 4 finite numbers", reprlib.repr(bbox)
    return None


def _broken(
    entry: Mapping[str, Any],
    sizes: Mapping[int, _Sides],
    names: Mapping[int, str],
    tolerance_px: float,
) -> Iterator[Problem]:
    image, (x, y, width, height), score = entry["image_id"], entry["bbox"], entry["score"]
    if image not in sizes:
        yield "image_id must be one of the annotations", str(image)
    if entry["category_id"] not in names:
        yield "category_id must be one of the annotations", str(entry["category_id"])
    if not _is_number(score) or not 0.0 <= score <= 1.0:
        yield "score must be a number in [0, 1]", reprlib.repr(score)
    if width <= 0 or height <= 0:
        yield "bbox must have a width and a height above 0", str(entry["bbox"])
        return
    sides = sizes.get(image)
    if sides and (
        min(x, y) < -tolerance_px
        or x + width > sides[0] + tolerance_px
        or y + height > sides[1] + tolerance_px
    ):
        rule = f"bbox must lie in its image, up to {tolerance_px:g} px"
        yield rule, f"{entry['bbox']} in {sides[0]}x{sides[1]} px"


def _is_number(value: Any) -> bool:
    return coco_json.is_number(value) and math.isfinite(value)


def _count(results: Sequence[Any], key: str) -> Counter[int]:
    values = (entry.get(key) for entry in results if isinstance(entry, dict))
    return Counter(value for value in values if type(value) is int)


if __name__ == "__main__":
    sys.exit(main())
