import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionlab.tasks.keypoints.datasets.requested_points import read_requested, submission_header

HEADER = "file_name\tpoints\n"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "test_points.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_list_by_eye(tmp_path: Path) -> None:
    path = write(tmp_path, f"{HEADER}b.jpg\t[3, 17]\n\nsome/a, c.jpg\t[17,0]\n")
    for num_points in (18, None):
        names, requested = read_requested(path, num_points=num_points)
        assert names == ["b.jpg", "some/a, c.jpg"]
        assert requested == [[3, 17], [17, 0]]


def test_lists_of_other_programs_are_read(tmp_path: Path) -> None:
    lines = ["\ufeffname\tindices", '"say ""b"".jpg"\t"[3, 3]"', '5" a.jpg \t [1, 0] ']
    names, requested = read_requested(write(tmp_path, "\r\n".join(lines)), num_points=4)
    assert names == ['say "b".jpg', '5" a.jpg']
    assert requested == [[3, 3], [1, 0]]


@given(
    num_images=st.integers(1, 5),
    num_requested=st.integers(1, 4),
    end=st.sampled_from(["\n", "\r\n"]),
    data=st.data(),
)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    num_images: int,
    num_requested: int,
    end: str,
    data: st.DataObject,
) -> None:
    row = st.lists(st.integers(0, 970), min_size=num_requested, max_size=num_requested)
    wanted = data.draw(st.lists(row, min_size=num_images, max_size=num_images))
    lines = [HEADER.strip(), *(f"{number}.jpg\t{row}" for number, row in enumerate(wanted))]
    path = write(tmp_path_factory.mktemp("list"), end.join(lines))
    names, requested = read_requested(path, num_points=971)
    assert names == [f"{number}.jpg" for number in range(num_images)]
    assert requested == wanted


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b.jpg", " must have 2 columns separated by TAB, a file name and a list of points, got 1"),
        ("b.jpg\t[1]\t", " must have 2 columns separated by TAB, a file name and a list of "),
        ("b.jpg,[1, 2]", " must have 2 columns separated by TAB, a file name and a list of "),
        ("\t[1, 2]", ", column 1 must have a file name, got none"),
        (" \t", ", column 1 must have a file name, got none"),
        (
            "a.jpg\t[1, 2]",
            ", column 1 must have a file name of its own, got 'a.jpg' as in line 2",
        ),
        *(
            (f"{name}\t[1, 2]", f", column 1 must name a file among the images, got {name!r}")
            for name in ("/b.jpg", "../b.jpg", "a/../../b.jpg", "..\\b.jpg", "b\0.jpg")
        ),
        *(
            (f"b.jpg\t{cell}", f", column 2 must be a list such as [3, 17], got {cell!r}")
            for cell in ("", "7", "1, 2", "[1, 2", "[1 2]", "[1, x]", "(1, 2)", '{"1": 2}', "None")
        ),
        ("b.jpg\t" + "[" * 100_000, ", column 2 must be a list such as [3, 17], got '[[[[[["),
        ("b.jpg\t[1, " + "9" * 5000 + "]", ", column 2 must be a list such as [3, 17], got "),
        ("b.jpg\t[]", ", column 2 must request points, got none"),
        *(
            (f"b.jpg\t[1, {got}]", f", column 2 must hold whole numbers in [0, 5), got {shown}")
            for got, shown in [
                ("5", "5"),
                ("-1", "-1"),
                ("2.0", "2.0"),
                ('"2"', "'2'"),
                ("true", "True"),
                ("NaN", "nan"),
                ("null", "None"),
                ("[2]", "[2]"),
            ]
        ),
        ("b.jpg\t[1]", ", column 2 must request 2 points as line 2 does, got 1"),
        ("b.jpg\t[1, 2, 3]", ", column 2 must request 2 points as line 2 does, got 3"),
        ('"b.jpg\t[1, 2]', " must be CSV, got unexpected end of data"),
    ],
)
def test_what_is_wrong_in_a_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path, f"{HEADER}a.jpg\t[0, 4]\n\n{line}\nc.jpg\t[0, 1]\n")
    with pytest.raises(ValueError, match=f"^{path}: line 4{re.escape(message)}") as caught:
        read_requested(path, num_points=5)
    assert "\n" not in str(caught.value)


def test_without_a_number_of_points_only_the_upper_end_is_open(tmp_path: Path) -> None:
    path = write(tmp_path, f"{HEADER}a.jpg\t[{10**9}, -1]\n")
    with pytest.raises(ValueError, match=r"column 2 must hold whole numbers in \[0, inf\), got -1"):
        read_requested(path, num_points=None)


def test_text_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER.encode() + b"b\xff.jpg\t[1]\n")
    with pytest.raises(ValueError, match=f"^{path}: line 2 must be UTF-8, got b'b.xff"):
        read_requested(path, num_points=5)


def test_a_missing_header_costs_no_image(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jpg\t[1]\nb.jpg\t[2]\n")
    with pytest.raises(ValueError, match=rf"^{path}: line 1 must be a header, got '\[1\]'$"):
        read_requested(path, num_points=5)


@pytest.mark.parametrize("text", [HEADER, HEADER.strip(), HEADER + "\n \n", ""])
def test_a_list_without_images_is_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=f"^{path} must have a line an image below its header, "):
        read_requested(path, num_points=5)


def test_a_list_with_another_header_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "file_name,points\na.jpg\t[1]\n")
    with pytest.raises(ValueError, match=f"^{path}: line 1 must have 2 columns separated by TAB"):
        read_requested(path, num_points=5)


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.csv", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"^{path} must be a list of points, found no"):
            read_requested(path, num_points=5)


def test_nothing_in_a_list_is_run(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.touch()
    code = f"[__import__('os').unlink({json.dumps(str(victim))})]"
    with pytest.raises(ValueError, match="must be a list such as"):
        read_requested(write(tmp_path, f"{HEADER}a.jpg\t{code}\n"), num_points=5)
    assert victim.exists()


def test_the_header_of_a_submission_is_the_contests() -> None:
    assert ",".join(submission_header(2)) == (
        "file_name,Point_M0_X,Point_M0_Y,Point_M1_X,Point_M1_Y"
    )
    assert len(submission_header(30)) == 61
    assert submission_header(30)[-1] == "Point_M29_Y"
