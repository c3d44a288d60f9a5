import re
from pathlib import Path
from typing import Any

import pytest
from box_files import SIZE, common, read, rows, write, write_image

from visionlab.images.paths import path_key
from visionlab.tasks.detection.datasets.boxes_csv import (
    BoxesCsv,
    images_of_rows,
    read_classes,
)
from visionlab.tasks.detection.datasets.csv_rows import read_rows
from visionlab.tasks.detection.datasets.raw_boxes import RawImage


def make(root: Path, *, splits: tuple[str, ...] = ("train",), **changes: Any) -> BoxesCsv:
    settings = {
        "annotations": {split: f"{split}.csv" for split in splits},
        "classes": "classes.csv",
        "images": ".",
        "columns": {},
        "box": "xyxy",
    }
    return BoxesCsv(**common(root, val=0.0) | settings | changes)


def read_boxes_csv(root: Path, path: Path) -> list[RawImage]:
    return images_of_rows(read_rows(path, columns={}, box="xyxy"), path, root, root)


def write_split(root: Path, text: str, *, split: str = "train") -> Path:
    for name in ("a", "b", "c"):
        write_image(root / "images" / f"{name}.png")
    write(root / "classes.csv", "dog,1\ncat,0\n")
    return write(root / f"{split}.csv", text)


def test_an_image_has_the_boxes_of_all_its_lines(tmp_path: Path) -> None:
    lines = ["images/b.png,1,2,3,4,dog", "images/a.png,,,,,", "", "images/b.png,0.5,0,20,10,cat"]
    write_split(tmp_path, "\n".join(lines))
    found = read(make(tmp_path))
    assert (found.class_names, found.class_ids) == (["cat", "dog"], [0, 1])
    first, second = found.parts["train"]
    assert (first.image, second.image) == tuple(tmp_path / "images" / f"{x}.png" for x in "ba")
    assert rows(first) == [(1, [1, 2, 3, 4]), (0, [0.5, 0, 20, 10])]
    assert rows(second) == []
    assert (first.width_px, first.height_px) == SIZE
    assert first.key == path_key(Path("images/b.png"))


def test_paths_may_be_absolute_and_keys_stay_the_same(tmp_path: Path) -> None:
    elsewhere = write_image(tmp_path / "elsewhere" / "d.png")
    root = tmp_path / "root"
    path = write_split(root, f"{root}/images/a.png,1,2,3,4,dog\n{elsewhere},,,,,\n")
    inside, outside = read_boxes_csv(root, path)
    assert (inside.key, outside.key) == (path_key(Path("images/a.png")), path_key(elsewhere))


def test_files_of_other_programs_are_read(tmp_path: Path) -> None:
    path = write_split(tmp_path, '\ufeff"images/a.png", 1, 2, 3, 4, "dog, big"\r\n')
    path.write_bytes('\ufeff"images/a.png", 1, 2, 3, 4,"dog, big"\r\n'.encode())
    (image,) = read_boxes_csv(tmp_path, path)
    assert [(box.number, box.category) for box in image.boxes or ()] == [(1, "dog, big")]


def test_labels_are_the_ranks_of_the_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "classes.csv", "dog,7\ncat,3\n\nemu,5\n")
    assert list(read_classes(path).items()) == [("cat", 3), ("emu", 5), ("dog", 7)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dog,1\ncat\n", ": line 2 must be class_name,id, got 'cat'"),
        ("dog,one\n", ": line 1 must be class_name,id, got 'dog,one'"),
        ("dog,-1\n", ": line 1 must be class_name,id, got 'dog,-1'"),
        (",1\n", ": line 1 must be class_name,id, got ',1'"),
        ("dog,1\ndog,2\n", ": line 2 must have a name and an id of its own, got dog,2"),
        ("dog,1\ncat,1\n", ": line 2 must have a name and an id of its own, got cat,1"),
        ("", " must name classes, got none"),
    ],
)
def test_what_is_wrong_in_the_classes_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "classes.csv", text)
    with pytest.raises(ValueError, match=f"^{path}{re.escape(message)}$"):
        read_classes(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("images/b.png,1,2,3,dog", " must be path,x1,y1,x2,y2,class_name, got 'images/b.png,1,2,3"),
        (",1,2,3,4,dog", " must name an image, got ',1,2,3,4,dog'"),
        ("images/b.png,1,2,3,4,", " must have a class_name, got none"),
        ("images/b.png,1,,3,4,dog", " must have numbers x1,y1,x2,y2, got '1,,3,4'"),
        ("path,x1,y1,x2,y2,class_name", " must be path,x1,y1,x2,y2,class_name, got"),
        ("images/b.png,1,2,3,4,emu", " must be of a class of "),
        (
            "images/b.png,1,2,1,4,dog",
            " must have a width and a height above 0, got x1, y1, x2, y2 = 1, 2, 1, 4 in 20x10 px; "
            "dataset.drop_invalid=true drops them",
        ),
        ("images/b.png,1,x,2,4,dog", " must have numbers x1,y1,x2,y2, got '1,x,2,4'"),
        ("images/b.png|1|2|3|4|dog", " must be path,x1,y1,x2,y2,class_name, got 'images/b.png|1"),
        ("images/b.png,1,nan,2,4,dog", " must be finite, got x1, y1, x2, y2 = 1, nan, 2, 4"),
        ('images/b.png,1,2,3,4,"dog', " must be CSV, got unexpected end of data"),
    ],
)
def test_what_is_wrong_in_a_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write_split(tmp_path, f"images/a.png,1,2,3,4,dog\n\n{line}\n")
    with pytest.raises(ValueError, match=f"^{path}: line 3{re.escape(message)}") as caught:
        read(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = write_split(tmp_path, "")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=f"^{path} must be text in UTF-8, got "):
        read(make(tmp_path))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = write_split(tmp_path, "")
    with pytest.raises(ValueError, match=f"^{path} must list images, got none$"):
        read(make(tmp_path))


def test_missing_images_are_named(tmp_path: Path) -> None:
    path = write_split(tmp_path, "images/a.png,1,2,3,4,dog\nimages/x.png,,,,,\nimages/y.png,,,,,\n")
    missing = tmp_path / "images" / "x.png"
    message = f"^{path} names files that must exist, looked for {missing}, and 1 more invalid "
    with pytest.raises(FileNotFoundError, match=message):
        read(make(tmp_path))


def test_what_is_configured_must_exist(tmp_path: Path) -> None:
    write_split(tmp_path, "images/a.png,1,2,3,4,dog\n")
    message = r"^dataset.annotations.test must exist, looked for .*/test.csv; null leaves it out$"
    with pytest.raises(FileNotFoundError, match=message):
        read(make(tmp_path, splits=("train", "test")))
    message = f"^dataset.classes must exist, looked for {tmp_path}/nowhere.csv; null takes "
    with pytest.raises(FileNotFoundError, match=message):
        read(make(tmp_path, classes="nowhere.csv"))
    with pytest.raises(ValueError, match=r"^dataset.annotations.train must be given, got null$"):
        make(tmp_path, splits=("val",))


IN_IMAGES = {"images": "images"}
SEVERAL = [(0, [1.0, 2.0, 3.0, 4.0]), (1, [5.0, 5.0, 9.0, 8.0])]


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("images/a.png,1,2,3,4,cat,5,5,9,8,dog\n", {}),
        (
            "filename,class,xmin,ymin,xmax,ymax\nimages/a.png,cat,1,2,3,4\nimages/a.png,dog,5,5,9,8\n",
            {},
        ),
        ("label;image;x;y;w;h\ncat;a.png;1;2;2;2\ndog;a.png;5;5;4;3\n", IN_IMAGES),
        (
            "X1\tY1\tX2\tY2\tName\tImage ID\n1\t2\t3\t4\tcat\ta\n5\t5\t9\t8\tdog\ta\n",
            {"images": "images"},
        ),
        (
            "photo,von,was,hin,x2,y2\nimages\\a.png,1,cat,2,3,4\nimages/a.png,5,dog,5,9,8\n",
            {"columns": {"path": "photo", "x1": "von", "y1": "hin", "class": "was"}},
        ),
        ("images/a.png,1,2,2,2,cat\nimages/a.png,5,5,4,3,dog\n", {"box": "xywh"}),
        (
            'image_id,width,height,bbox,label\na,20,10,"[1, 2, 2.0, 2]",cat\n'
            'a,20,10,"[5, 5, 4, 3]",dog\n',
            {"box": "xywh", **IN_IMAGES},
        ),
    ],
)
def test_rows_of_any_form(tmp_path: Path, text: str, changes: dict[str, Any]) -> None:
    write_split(tmp_path, text)
    found = read(make(tmp_path, classes=None, **changes))
    assert (found.class_names, found.class_ids) == (["cat", "dog"], [0, 1])
    (sample,) = found.parts["train"]
    assert rows(sample) == SEVERAL
    assert sample.name == "images/a.png"


def test_a_cell_may_hold_several_boxes_and_the_class_be_missing(tmp_path: Path) -> None:
    text = "image_name,BoxesString\nimages/a.png,1 2 3 4;5 5 9 8\nimages/b.png,no_box\n"
    write_split(tmp_path, text)
    found = read(make(tmp_path, classes=None))
    assert found.class_names == ["object"]
    first, second = found.parts["train"]
    assert [box for _, box in rows(first)] == [box for _, box in SEVERAL]
    assert rows(second) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,xmin,ymin,xmax,label\n", "line 1 must name the column of width, got image, xmin"),
        ("image,xmin,ymin,xmax,ymax\nimages/a.png,1,2\n", "line 2 must have 5 columns, got 3"),
        ("image,bbox\nimages/a.png,1 2 3\n", "line 2 must have four numbers for each box"),
        ("image,bbox\nimages/a.png,ab\n", "line 2 must have four numbers for each box, got 'ab'"),
        (
            "image,width,height,bbox\nimages/a.png,8,8,1 2 3 4\n",
            "a.png must be 8x8 px ",
        ),
        (
            "image,width,height,bbox\nimages/a.png,20,10,1 2 3 4\nimages/a.png,2,1,1 2 3 4\n",
            "line 3 must have one size an image",
        ),
        (
            "image,x,y,w,h,width,height,label\n",
            r"line 1 must name each .*, got w, width for width; dataset.columns=\{width: NAME\}",
        ),
        ("id,file,x1,y1,x2,y2,class,class_id\n", "once a box, got class, class_id for class; data"),
        ("image_id,filename,x1,y1,x2,y2\n", "line 1 .*, got image_id, filename for path; data"),
        ("photo,von_x,von_y,bis_x,bis_y,was\n", "line 1 must be path,.* dataset.columns names its"),
        ("foo,bar,baz\n", "line 1 must be path,x1,.*dataset.columns names its columns"),
    ],
)
def test_what_is_wrong_with_columns_is_named(tmp_path: Path, text: str, message: str) -> None:
    write_split(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        read(make(tmp_path, classes=None))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sides", ["0,0", "nan,10", "inf,10", ","])
def test_sides_of_0_or_without_a_number_are_unknown(tmp_path: Path, sides: str) -> None:
    header = "image,width,height,x1,y1,x2,y2,class\n"
    write_split(tmp_path, f"{header}images/a.png,{sides},1,2,3,4,cat\n")
    (sample,) = read(make(tmp_path, classes=None)).parts["train"]
    assert (sample.width_px, sample.height_px) == SIZE


@pytest.mark.parametrize("header", ["", "path,x1,y1,x2,y2,class\n"])
def test_a_row_with_a_path_alone_has_no_boxes(tmp_path: Path, header: str) -> None:
    write_split(tmp_path, f"{header}images\\b.png\nimages/a.png,1,2,3,4,cat\n")
    first, second = read(make(tmp_path, classes=None)).parts["train"]
    assert (first.name, rows(first), second.name) == ("images/b.png", [], "images/a.png")


def test_dataset_columns_chooses_one_of_several(tmp_path: Path) -> None:
    write_split(tmp_path, "image,x,y,w,h,width,height,label\nimages/a.png,1,2,2,2,20,10,cat\n")
    found = read(make(tmp_path, classes=None, columns={"width": "w", "height": "h"}))
    assert rows(found.parts["train"][0]) == [(0, [1, 2, 3, 4])]


def test_columns_must_have_known_meanings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^dataset.columns must be of path, x1, .*, got xmin$"):
        make(tmp_path, columns={"xmin": "a"})
    write_split(tmp_path, "image,x1,y1,x2,y2\n")
    with pytest.raises(ValueError, match=r"line 1 must name photo of dataset.columns, got"):
        read(make(tmp_path, classes=None, columns={"path": "photo"}))
