import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from visionlab.files.problems import Report
from visionlab.tasks.detection.check_submission import check, main

ANNOTATIONS = {
    "images": [{"id": 1, "width": 20, "height": 10}, {"id": 2, "width": 8, "height": 8}],
    "categories": [{"id": 4, "name": "cat"}, {"id": 9, "name": "dog"}],
}


def entry(**changes: Any) -> dict[str, Any]:
    return {"image_id": 1, "category_id": 4, "bbox": [1, 2, 3.5, 4], "score": 0.5} | changes


def checked(*results: Any, tolerance_px: float = 1.0, annotations: Any = ANNOTATIONS) -> Report:
    return check(list(results), annotations, tolerance_px)


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in entry().items() if name != key}


def test_a_good_file_is_valid_and_counted() -> None:
    report = checked(
        entry(extra="is fine"), entry(image_id=2, score=1), entry(bbox=[-1, -1, 22, 12])
    )
    assert report.is_valid
    assert list(report.lines()) == ["3 entries for 2 images", "  cat: 3", "  dog: 0", "VALID"]


@pytest.mark.parametrize(
    ("wrong", "rule", "example"),
    [
        (7, "an entry must be an object", "7"),
        (without("bbox"), "an entry must have image_id, category_id, bbox, score", "no bbox"),
        (without("score"), "an entry must have image_id, category_id, bbox, score", "no score"),
        (entry(image_id=3), "image_id must be one of the annotations", "3"),
        (entry(image_id="1"), "image_id must be an integer", "'1'"),
        (entry(image_id=True), "image_id must be an integer", "True"),
        (entry(image_id=[1]), "image_id must be an integer", "[1]"),
        (entry(category_id=5), "category_id must be one of the annotations", "5"),
        (entry(category_id=None), "category_id must be an integer", "None"),
        (entry(bbox=[1, 2, 3]), "bbox must be 4 finite numbers", "[1, 2, 3]"),
        (entry(bbox=[1, 2, 3, True]), "bbox must be 4 finite numbers", "[1, 2, 3, True]"),
        (entry(bbox=[1, 2, 3, "4"]), "bbox must be 4 finite numbers", "[1, 2, 3, '4']"),
        (entry(bbox=[1, 2, 3, float("nan")]), "bbox must be 4 finite numbers", "[1, 2, 3, nan]"),
        (entry(bbox="1234"), "bbox must be 4 finite numbers", "'1234'"),
        (
            entry(bbox=[1, 2, 0, 4]),
            "bbox must have a width and a height above 0",
            "[1, 2, 0, 4]",
        ),
        (
            entry(bbox=[1, 2, 3, -4]),
            "bbox must have a width and a height above 0",
            "[1, 2, 3, -4]",
        ),
        (entry(score=1.01), "score must be a number in [0, 1]", "1.01"),
        (entry(score=-0.1), "score must be a number in [0, 1]", "-0.1"),
        (entry(score=float("nan")), "score must be a number in [0, 1]", "nan"),
        (entry(score="0.5"), "score must be a number in [0, 1]", "'0.5'"),
        (entry(score=True), "score must be a number in [0, 1]", "True"),
        *(
            (entry(bbox=bbox), "bbox must lie in its image, up to 1 px", f"{bbox} in 20x10 px")
            for bbox in ([-1.5, 2, 3, 4], [1, -1.5, 3, 4], [18, 2, 3.5, 4], [1, 8, 3, 3.5])
        ),
        (entry(bbox=[0, 0, 2, 2], score=0.9), "each entry must differ", "the same box as entry 0"),
    ],
)
def test_every_rule_can_be_broken(wrong: Any, rule: str, example: str) -> None:
    report = checked(entry(bbox=[0, 0, 2, 2]), wrong)
    assert report.problems == {rule: [f"entry 1: {example}"]}
    assert report.counts == {rule: 1}
    assert not report.is_valid
    assert list(report.lines())[-1] == "NOT VALID"


def test_an_entry_can_break_several_rules() -> None:
    report = checked(entry(image_id=3, category_id=5, score=2))
    assert len(report.problems) == 3


def test_another_category_or_image_is_no_duplicate() -> None:
    assert checked(entry(), entry(category_id=9), entry(image_id=2, bbox=[1, 2, 3.5, 4])).is_valid


@pytest.mark.parametrize(
    "bbox", [[-0.5, 0, 3, 3], [0, -0.5, 3, 3], [18, 0, 2.5, 3], [0, 8, 3, 2.5]]
)
def test_the_tolerance_is_what_is_asked_for(bbox: list[float]) -> None:
    outside = entry(bbox=bbox)
    assert checked(outside).is_valid
    assert list(checked(outside, tolerance_px=0.25).problems) == [
        "bbox must lie in its image, up to 0.25 px"
    ]


def test_ten_examples_are_enough() -> None:
    report = checked(*(entry(score=2 + number) for number in range(13)), entry(score=0.5))
    rule = "score must be a number in [0, 1]"
    assert (len(report.problems[rule]), report.counts[rule]) == (10, 13)
    lines = list(report.lines())
    assert f"WRONG in 13 of 14 entries: {rule}" in lines
    assert lines[lines.index("  entry 9: 11") + 1] == "  and 3 more"


def test_images_without_entries_are_a_warning() -> None:
    report = checked()
    assert report.is_valid
    assert "warning, no failure: 2 images have no entry" in list(report.lines())


def test_more_than_a_hundred_entries_of_an_image_are_a_note() -> None:
    full = [entry(score=number / 200, bbox=[1, 1, 1 + number / 200, 1]) for number in range(101)]
    assert not any("more than 100" in note for note in checked(*full[:100]).notes)
    report = checked(*full)
    assert report.is_valid
    assert "note: 1 images have more than 100 entries; evaluation counts only the best 100" in list(
        report.lines()
    )


def test_bounds_of_images_without_sizes_are_not_checked() -> None:
    annotations = ANNOTATIONS | {"images": [{"id": 1}]}
    report = checked(entry(bbox=[-99, 0, 3, 3]), annotations=annotations)
    assert report.is_valid
    assert "note: 1 images have no size; their bounds are not checked" in list(report.lines())


def test_categories_of_one_name_are_counted_apart() -> None:
    categories = [{"id": 4, "name": "cat"}, {"id": 9, "name": "cat"}]
    report = checked(entry(category_id=9), annotations=ANNOTATIONS | {"categories": categories})
    assert report.summary[1:] == ["  cat (4): 0", "  cat (9): 1"]


@pytest.mark.parametrize(
    ("results", "annotations", "message"),
    [
        ({}, ANNOTATIONS, "^results must be a list, got dict$"),
        ([], [], "^annotations must have a list of images, got none$"),
        ([], {"images": []}, "^annotations must have a list of categories, got none$"),
        ([], {"images": [{"id": "a"}]}, r"^images\[0\] must have an integer id, got {'id': 'a'}$"),
    ],
)
def test_files_of_another_kind_are_refused(results: Any, annotations: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(results, annotations, 1.0)


def files(tmp_path: Path, results: str) -> list[str]:
    paths = tmp_path / "results.json", tmp_path / "annotations.json"
    paths[0].write_text(results)
    paths[1].write_text(json.dumps(ANNOTATIONS))
    return [str(path) for path in paths]


def test_the_exit_code_says_whether_a_file_is_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = files(tmp_path, json.dumps([entry(bbox=[-0.5, 0, 3, 3])]))
    assert main(paths) == 0
    assert capsys.readouterr().out.splitlines() == [
        paths[0],
        "1 entries for 2 images",
        "  cat: 1",
        "  dog: 0",
        "warning, no failure: 1 images have no entry",
        "VALID",
    ]
    assert main([*paths, "--tolerance-px", "0"]) == 1
    assert "NOT VALID" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"), [("[", "must be JSON, got"), ("{}", "must be a list")]
)
def test_a_bad_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    assert main(files(tmp_path, text)) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere"), str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["a", "b", "--tolerance-px", "-1"]])
def test_wrong_arguments_are_another_exit_code(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@pytest.mark.integration
def test_the_module_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "visionlab.tasks.detection.check_submission"]
    done = subprocess.run(
        [*command, *files(tmp_path, "[]")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "VALID"
