import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from visionlab.files.problems import Report
from visionlab.images.pixels import MAX_PIXELS
from visionlab.tasks.keypoints.check_submission import check, main

NAMES = ("c.jpg", "a.jpg", "b.jpg")
HEADER = "file_name,Point_M0_X,Point_M0_Y,Point_M1_X,Point_M1_Y"
ROWS = ("c.jpg,1,2,3,4", "a.jpg,-1,0,20,5", "b.jpg,0,0,7,8")
RULE = "the header must be file_name,Point_M0_X,Point_M0_Y,...,Point_M1_Y"


def write(folder: Path, rows: Sequence[str], *, header: str = HEADER) -> Path:
    path = folder / "submission.csv"
    path.write_text("".join(f"{line}\n" for line in (header, *rows)))
    return path


def checked(folder: Path, rows: Sequence[str], *, header: str = HEADER) -> Report:
    return check(write(folder, rows, header=header), NAMES, num_requested=2, images=None)


def test_a_good_file_is_valid(tmp_path: Path) -> None:
    report = checked(tmp_path, ROWS)
    assert report.is_valid
    assert list(report.lines()) == ["3 rows for 3 images, 2 points each", "VALID"]


@pytest.mark.parametrize(
    ("header", "example"),
    [
        (HEADER.replace("M1_X", "M2_X"), "column 4: 'Point_M2_X', must be Point_M1_X"),
        (HEADER.replace("file_name", "name"), "column 1: 'name', must be file_name"),
        (HEADER.removesuffix(",Point_M1_Y"), "4 columns, must be 5"),
        (HEADER + ",Point_M2_X,Point_M2_Y", "7 columns, must be 5"),
        ("\ufeff" + HEADER, "column 1: '\\ufefffile_name', must be file_name"),
        (HEADER.replace(",", "\t"), "1 columns, must be 5"),
        ("", "0 columns, must be 5"),
    ],
)
def test_the_header_is_exact(tmp_path: Path, header: str, example: str) -> None:
    report = checked(tmp_path, ROWS, header=header)
    assert list(report.problems) == [RULE]
    assert report.problems[RULE][0] == example
    assert list(report.lines())[-1] == "NOT VALID"


def test_a_missing_header_loses_no_row_silently(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    path.write_text("\n".join(ROWS))
    report = check(path, NAMES, num_requested=2, images=None)
    assert report.counts == {RULE: 5, "each image of the list must have a row": 1}
    path.write_text("")
    report = check(path, NAMES, num_requested=2, images=None)
    assert report.problems[RULE] == ["0 columns, must be 5"]


@pytest.mark.parametrize(
    ("rows", "rule", "examples"),
    [
        (ROWS[:2], "each image of the list must have a row", ["'b.jpg' has none"]),
        (
            [*ROWS, "d.jpg,1,2,3,4"],
            "each row must be for an image of the list",
            ["line 5: 'd.jpg'"],
        ),
        (
            [ROWS[0], "a.JPG,1,2,3,4", *ROWS[1:]],
            "each row must be for an image of the list",
            ["line 3: 'a.JPG'"],
        ),
        (
            [ROWS[0], ROWS[1], ROWS[0], ROWS[2]],
            "each image must have one row only",
            ["line 4: 'c.jpg', as in line 2"],
        ),
        (
            [ROWS[1], ROWS[0], ROWS[2]],
            "rows must be in the order of the list",
            ["line 3: 'c.jpg' comes after 'a.jpg'"],
        ),
        (
            [ROWS[2], ROWS[0], ROWS[1]],
            "rows must be in the order of the list",
            ["line 3: 'c.jpg' comes after 'b.jpg'"],
        ),
        ([ROWS[0], "a.jpg,1,2,3", ROWS[2]], "a row must have 5 columns", ["line 3: 4"]),
        ([ROWS[0], "a.jpg,1,2,3,4,", ROWS[2]], "a row must have 5 columns", ["line 3: 6"]),
        *(
            (
                [ROWS[0], f"a.jpg,1,2,{cell},4", ROWS[2]],
                "a coordinate must be a whole number",
                [f"line 3, column 4: {cell!r}"],
            )
            for cell in (
                *("", " 1", "1.0", "1e2", "nan", "inf", "-inf", "x", "--1", "+1", "1_0", "٣"),
                "9" * 19,
            )
        ),
        (
            [ROWS[0], "a.jpg,1,x,3,y", ROWS[2]],
            "a coordinate must be a whole number",
            ["line 3, column 3: 'x'", "line 3, column 5: 'y'"],
        ),
    ],
)
def test_every_rule_can_be_broken(
    tmp_path: Path, rows: Sequence[str], rule: str, examples: list[str]
) -> None:
    report = checked(tmp_path, rows)
    assert report.problems == {rule: examples}
    assert report.counts == {rule: len(examples)}
    assert not report.is_valid


def test_an_empty_line_breaks_rules(tmp_path: Path) -> None:
    report = checked(tmp_path, [ROWS[0], "", *ROWS[1:]])
    assert report.problems == {
        "each row must be for an image of the list": ["line 3: ''"],
        "a row must have 5 columns": ["line 3: 0"],
    }


def test_ten_examples_are_enough(tmp_path: Path) -> None:
    rows = [f"{name},1.5,1.5,1.5,1.5" for name in NAMES]
    report = checked(tmp_path, rows)
    rule = "a coordinate must be a whole number"
    assert (len(report.problems[rule]), report.counts[rule]) == (10, 12)
    assert list(report.lines()) == [
        "3 rows for 3 images, 2 points each",
        f"WRONG in 12 places: {rule}",
        *(f"  {example}" for example in report.problems[rule]),
        "  and 2 more",
        "NOT VALID",
    ]


@given(order=st.lists(st.sampled_from([*NAMES, "x.jpg"]), max_size=6))
def test_only_the_list_itself_is_valid(
    tmp_path_factory: pytest.TempPathFactory, order: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("submission")
    report = checked(folder, [f"{name},1,2,3,4" for name in order])
    assert report.is_valid == (order == list(NAMES))
    missing = set(NAMES) - set(order)
    assert report.counts.get("each image of the list must have a row", 0) == len(missing)
    assert report.counts.get("each row must be for an image of the list", 0) == order.count("x.jpg")
    known = [name for name in order if name in NAMES]
    assert report.counts.get("each image must have one row only", 0) == len(known) - len(set(known))
    first = sorted(set(known), key=order.index)
    in_order = sorted(first, key=NAMES.index)
    assert ("rows must be in the order of the list" in report.problems) == (first != in_order)


def write_image(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def test_an_image_beyond_the_limit_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, images = write(tmp_path, ROWS[:1]), tmp_path / "images"
    write_image(images / NAMES[0], (5, 2))
    monkeypatch.setenv(MAX_PIXELS, "9")
    with pytest.raises(ValueError, match=f"{NAMES[0]} must have at most 9 pixels"):
        check(path, NAMES, num_requested=2, images=images)


def test_points_outside_their_images_are_a_note(tmp_path: Path) -> None:
    path, images = write(tmp_path, ROWS), tmp_path / "images"
    for name, size in zip(NAMES, [(3, 4), (20, 5), (8, 7)], strict=True):
        write_image(images / name, size)
    report = check(path, NAMES, num_requested=2, images=images)
    assert report.is_valid
    assert report.notes == ["note: 2 of 6 points lie outside their image"]  # one is left, one below
    assert list(report.lines())[1] == "note: 2 of 6 points lie outside their image"


def test_rows_that_are_wrong_and_images_that_cannot_be_read_are_not_counted(
    tmp_path: Path,
) -> None:
    rows = [ROWS[0], "a.jpg,99,99,99,x", ROWS[2], "../c.jpg,1,2,3,4", "a.jpg,1,2,3"]
    path, images = write(tmp_path, rows), tmp_path / "images"
    write_image(images / "c.jpg", (2, 2))
    write_image(images / "a.jpg", (2, 2))
    (images / "b.jpg").write_text("no image")
    report = check(path, NAMES, num_requested=2, images=images)
    assert report.notes == [
        "note: 1 of 2 points lie outside their image",
        f"note: 1 images cannot be read in {images}; their points are not counted",
    ]


def files(folder: Path, *, rows: Sequence[str] = ROWS, largest: object = 4) -> list[str]:
    requested = folder / "test_points.csv"
    lines = [f"{name}\t[0, {largest}]" for name in NAMES]
    requested.write_text("\n".join(["file_name\tpoints", *lines]))
    return [str(write(folder, rows)), str(requested)]


def test_the_exit_code_says_whether_a_file_is_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = files(tmp_path)
    assert main([*paths, "--num-points", "5"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        paths[0],
        "3 rows for 3 images, 2 points each",
        "VALID",
    ]
    assert main(files(tmp_path, rows=ROWS[1:])) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "NOT VALID"
    assert not captured.err


def test_images_may_be_looked_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in NAMES:
        write_image(tmp_path / "images" / name, (30, 30))
    assert main([*files(tmp_path), "--images", str(tmp_path / "images")]) == 0
    assert "note: 1 of 6 points lie outside their image" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-points", "4"], "test_points.csv: line 2, column 2 must hold whole numbers in [0"),
        (["--images", "nowhere"], "nowhere must be a folder of images, found no such folder"),
    ],
)
def test_what_does_not_fit_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([*files(tmp_path), *arguments]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f'{HEADER}\n"c.jpg,1,2,3,4\n'.encode(), ": line 2 must be CSV, got unexpected end of "),
        (f"{HEADER}\n".encode() + b"c\xff.jpg,1,2,3,4\n", " must be UTF-8, got other bytes"),
        (None, " must be a submission, found no such file"),
    ],
)
def test_a_submission_that_cannot_be_read_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    paths = files(tmp_path)
    Path(paths[0]).unlink()
    if content is not None:
        Path(paths[0]).write_bytes(content)
    assert main(paths) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"{paths[0]}{message}")
    assert captured.err.count("\n") == 1


def test_a_missing_list_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([files(tmp_path)[0], str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err == (
        f"{tmp_path}/nowhere must be a list of points, found no such file\n"
    )


@pytest.mark.parametrize(
    "arguments", [[], ["a", "b", "--num-points", "0"], ["a", "b", "--num-points", "x"]]
)
def test_wrong_arguments_are_another_exit_code(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@pytest.mark.integration
def test_the_module_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "visionlab.tasks.keypoints.check_submission"]
    done = subprocess.run([*command, *files(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "VALID"
