"""Files of boxes, and the box of an image and epoch."""

from pathlib import Path, PurePosixPath

import pytest
import torch

from visionlab.tasks.pretraining.object_boxes import ObjectBoxes, read_boxes, write_boxes

NAMES = [PurePosixPath(name) for name in ("b/1.png", "a b/0.1,2.png", "c/1.png", "d/7.JPG")]


def read(folder: Path, text: str) -> ObjectBoxes:
    (folder / "boxes.txt").write_text(text)
    return read_boxes(folder / "boxes.txt", NAMES)


def of_row(boxes: ObjectBoxes, row: int) -> list[list[float]]:
    first, count = int(boxes.first[row]), int(boxes.counts[row])
    return boxes.values[first : first + count].tolist()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "boxes.txt"
    boxes = {
        "a b/0.1,2.png": [(0.0, 0.25, 0.5, 1.0), (0.125, 0.125, 0.75, 0.5)],
        "b/1.png": [],
        "c/1.png": [(0.5, 0.5, 1.0, 1.0)],
    }
    write_boxes(path, boxes)
    assert path.read_text().splitlines()[1:] == [
        "b/1.png",
        "c/1.png 0.500000,0.500000,1.000000,1.000000",
    ]
    found = read_boxes(path, NAMES)
    for row, name in enumerate(NAMES[:3]):
        assert of_row(found, row) == [list(box) for box in boxes[str(name)] or [(0, 0, 1, 1)]]
    assert of_row(found, 3) == [[0.0, 0.0, 1.0, 1.0]]
    assert list(found.describe().values()) == [2, 2]
    assert found.smallest_side() == 0.375
    assert of_row(found.take([3, 2]), 1) == [[0.5, 0.5, 1.0, 1.0]]


def test_an_image_goes_by_its_stem_where_no_other_has_it(tmp_path: Path) -> None:
    assert of_row(read(tmp_path, "7 0,0,0.5,0.25\r\n\n"), 3) == [[0.0, 0.0, 0.5, 0.25]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("e/2.png 0,0,1,1", "line 1 must begin with an image of dataset.root, got 'e/2.png'"),
        ("7\n1 0,0,1,1", "line 2 must begin with an image of dataset.root, got '1'"),
        ("7 0,0,1", "line 1 must have boxes .*, got '0,0,1'"),
        ("7 0,0,1,one", "line 1 must have boxes .*, got '0,0,1,one'"),
        ("7 0,0,1,nan", "line 1 must have boxes .*, got '0,0,1,nan'"),
        ("7 0,0,1,1 0.2,0,1.01,1", r"line 1 must have boxes .*\[0, 1\].*, got '0.2,0,1.01,1'"),
        ("7 -0.1,0,1,1", "line 1 must have boxes .*, got '-0.1,0,1,1'"),
        ("7 0.5,0,0.5,1", "line 1 must have boxes .* x1 < x2 .*, got '0.5,0,0.5,1'"),
        ("7 0,0,1,1\n\nd/7.JPG", "line 3 must be of another image than line 1, got d/7.JPG"),
        ("7\n", "must hold boxes, got none"),
        ("", "must hold boxes, got none"),
    ],
)
def test_a_damaged_file_is_refused_by_line_and_value(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ValueError, match=rf"^{tmp_path}/boxes.txt:? {message}$"):
        read(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"^dataset.boxes must .*{tmp_path}/no.txt"):
        read_boxes(tmp_path / "no.txt", NAMES)


def test_a_box_depends_on_seed_epoch_and_key_alone(tmp_path: Path) -> None:
    values = torch.rand(4, 4)
    first, counts = torch.tensor([1]).expand(3000), torch.tensor([3]).expand(3000)
    boxes = ObjectBoxes(values, first, counts)
    rows = torch.arange(3000)
    drawn = boxes.draw(rows, rows + 7, seed=1, epoch=2)
    assert torch.equal(boxes.draw(rows[5:9], rows[5:9] + 7, seed=1, epoch=2), drawn[5:9])
    for key, seed, epoch in ((8, 1, 2), (7, 2, 2), (7, 1, 3)):
        assert not torch.equal(boxes.draw(rows, rows + key, seed=seed, epoch=epoch), drawn)
    shares = [(drawn == value).all(dim=1).double().mean() for value in values]
    torch.testing.assert_close(
        torch.stack(shares), torch.tensor([0, 1, 1, 1]) / 3.0, atol=0.03, rtol=0, check_dtype=False
    )
