import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visionlab.core.numbers import shortest
from visionlab.files.atomic import growing_file
from visionlab.images.canvas import Canvas
from visionlab.runs.prediction_files import Predicted, prediction_file
from visionlab.task import Results
from visionlab.tasks.classification.results import label_results
from visionlab.tasks.detection.records import Detections
from visionlab.tasks.detection.results import box_results
from visionlab.tasks.keypoints.results import point_results

BOXES = box_results({3: "cat", 7: "dog"})
UPRIGHT = Detections(
    boxes=torch.tensor([[1.0, 2.0, 4.0, 8.0], [0.1, 0.0, 2.0, 2.0]]),
    scores=torch.tensor([0.9, 0.5]),
    labels=torch.tensor([1, 0]),
)
NONE = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
TURNED = Detections(
    boxes=torch.tensor([[5.0, 5.0, 4.0, 2.0, 0.0]]),
    scores=torch.tensor([0.25]),
    labels=torch.tensor([0]),
)


def written(path: Path, results: Results, *predictions: object) -> str:
    with prediction_file(path, results, about={"task": "any"}) as write:
        for number, each in enumerate(predictions):
            (record,) = results.records(each)
            write(Predicted(f"{number}.png", 10, 20, record))
        assert not path.exists()
    assert [each.name for each in path.parent.iterdir() if each.name.startswith(".")] == []
    return path.read_text()


def test_boxes_in_all_formats_by_eye(tmp_path: Path) -> None:
    found = json.loads(written(tmp_path / "a.json", BOXES, [UPRIGHT], [NONE]))
    assert found["classes"] == ["cat", "dog"]
    assert found["images"][0] == {
        "image": "0.png",
        "width": 10,
        "height": 20,
        "box_format": "xyxy",
        "detections": [
            {"class": "dog", "label": 1, "score": 0.9, "box": [1.0, 2.0, 4.0, 8.0]},
            {"class": "cat", "label": 0, "score": 0.5, "box": [0.1, 0.0, 2.0, 2.0]},
        ],
    }
    assert found["images"][1]["detections"] == []
    assert written(tmp_path / "a.csv", BOXES, [UPRIGHT], [NONE]).splitlines() == [
        "path,x1,y1,x2,y2,class,score",
        "0.png,1.0,2.0,4.0,8.0,dog,0.9",
        "0.png,0.1,0.0,2.0,2.0,cat,0.5",
        "1.png,,,,,,",
    ]
    entries = json.loads(written(tmp_path / "a.coco.json", BOXES, [NONE], [UPRIGHT]))
    assert entries[0] == {
        "image_id": 2,
        "category_id": 7,
        "bbox": [1.0, 2.0, 3.0, 6.0],
        "score": 0.9,
    }
    listed = json.loads((tmp_path / "a.images.json").read_text())
    assert listed["categories"] == [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    assert [each["id"] for each in listed["images"]] == [1, 2]


def test_turned_boxes_have_corners(tmp_path: Path) -> None:
    text = written(tmp_path / "a.csv", BOXES, [TURNED])
    assert text.splitlines() == [
        "path,x1,y1,x2,y2,x3,y3,x4,y4,class,score",
        "0.png,3.0,4.0,7.0,4.0,7.0,6.0,3.0,6.0,cat,0.25",
    ]
    (entry,) = json.loads(written(tmp_path / "a.coco.json", BOXES, [TURNED]))
    assert entry["bbox"] == [3.0, 4.0, 4.0, 2.0]
    assert entry["segmentation"] == [[3.0, 4.0, 7.0, 4.0, 7.0, 6.0, 3.0, 6.0]]


def test_classes_and_points_by_eye(tmp_path: Path) -> None:
    results = label_results(["a", "=b"])
    text = written(tmp_path / "a.csv", results, torch.tensor([[0.25, 0.75]]))
    assert text == "path,class,score\n0.png,'=b,0.75\n"
    points = point_results(["nose", "chin"])
    found = torch.tensor([[[1.5, 2.0], [3.0, 0.1]]])
    text = written(tmp_path / "b.csv", points, found)
    assert text == "path,nose_x,nose_y,chin_x,chin_y\n0.png,1.5,2.0,3.0,0.1\n"
    (entry,) = json.loads(written(tmp_path / "b.coco.json", points, found))
    assert entry["keypoints"] == [1.5, 2.0, 2, 3.0, 0.1, 2]


def test_a_failure_leaves_an_old_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(KeyError), growing_file(path) as write:
        write({}["new"])
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.csv"]
    refused = pytest.raises(OSError, match=r"gone/a.csv cannot be written, No such file")
    with refused, growing_file(tmp_path / "gone" / "a.csv"):
        raise AssertionError


def test_an_error_of_others_is_not_one_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^of the images$"), growing_file(tmp_path / "a.csv"):
        raise OSError("of the images")


def test_numbers_are_the_shortest_of_their_float32() -> None:
    values = torch.tensor([[0.1, 1.0 / 3.0], [1e-7, 3.0]])
    assert shortest(values) == [[0.1, 0.33333334], [1e-07, 3.0]]
    again = torch.tensor(shortest(torch.rand(100)), dtype=torch.float32)
    assert torch.equal(torch.tensor(shortest(again)), again)
    assert shortest(torch.zeros(0, 4)) == []


def test_a_small_picture_is_enlarged_and_drawn_in_pixels_of_the_original(tmp_path: Path) -> None:
    # an image of 96x48 that was reduced by 2, and is enlarged by 10
    canvas = Canvas(torch.zeros(3, 24, 48, dtype=torch.uint8), factor=2)
    canvas.outline([(48, 24), (80, 24), (80, 40), (48, 40)], "cat 0.50", colour=0)
    canvas.dots([(10, 10)])
    canvas.save(tmp_path / "sub" / "a.jpg")
    with Image.open(tmp_path / "sub" / "a.jpg") as image:
        pixels = np.asarray(image).astype(int)
    assert pixels.shape == (240, 480, 3)
    assert pixels[200, 300].sum() > 300  # the lower border, y = 40 * 10 / 2
    assert pixels[160, 320].sum() < 60  # inside
    assert pixels[50, 50].sum() > 300  # the dot
    canvas.title("cat")
    canvas.save(tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.size == (480, 262)
