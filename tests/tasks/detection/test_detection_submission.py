import contextlib
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from box_files import write_coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from visionlab.tasks.detection.check_submission import check
from visionlab.tasks.detection.records import Annotated
from visionlab.tasks.detection.submission import write_results

SPLIT: Any = SimpleNamespace(samples=[])


def samples(**changes: Any) -> dict[str, Tensor]:
    found = {
        "keys": torch.tensor([7, 3, 5]),
        "num_detections": torch.tensor([2, 0, 1]),
        "boxes": torch.tensor([[1.0, 2.0, 4.0, 6.0], [0.1, 0.2, 0.7, 9.3], [3.0, 3.0, 5.0, 4.5]]),
        "scores": torch.tensor([0.5, 0.1, 1.0]),
        "labels": torch.tensor([1, 0, 1]),
    }
    return found | changes


def written(path: Path, found: dict[str, Tensor], class_ids: list[int]) -> list[dict[str, Any]]:
    label = path.name.split("_")[0]
    categories = {number: f"class {number}" for number in class_ids}
    assert write_results(path.parent, label, found, SPLIT, categories=categories) == path
    content = json.loads(path.read_text())
    assert isinstance(content, list)
    return content


def test_entries_are_those_of_each_image_in_order(tmp_path: Path) -> None:
    entries = written(tmp_path / "test_bbox_results.json", samples(), [4, 9])
    assert [entry["image_id"] for entry in entries] == [7, 7, 5]
    assert [entry["category_id"] for entry in entries] == [9, 4, 9]
    assert [entry["bbox"] for entry in entries][::2] == [[1, 2, 3, 4], [3, 3, 2, 1.5]]
    assert [entry["score"] for entry in entries] == pytest.approx([0.5, 0.1, 1.0], abs=1e-7)


def test_oriented_boxes_are_polygons_with_their_upright_boxes(tmp_path: Path) -> None:
    boxes = torch.tensor([[10.0, 20.0, 8.0, 4.0, torch.pi / 2]]).repeat(3, 1)
    found = samples(boxes=boxes)
    first, *_ = written(tmp_path / "test_bbox_results.json", found, [4, 9])
    assert first["bbox"] == pytest.approx([8, 16, 4, 8], abs=1e-5)
    (outline,) = first["segmentation"]
    assert outline == pytest.approx([12, 16, 12, 24, 8, 24, 8, 16], abs=1e-5)


def test_numbers_are_read_back_to_the_same_float32(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    # x2 has more digits after the point than x1: a width in float32 would lose them
    boxes = torch.rand(500, 4, generator=generator) * torch.tensor([-300.0, -300.0, 1.0, 600.0])
    found = samples(
        keys=torch.tensor([1]),
        num_detections=torch.tensor([500]),
        boxes=boxes,
        scores=torch.rand(500, generator=generator),
        labels=torch.zeros(500, dtype=torch.int64),
    )
    entries = written(tmp_path / "test_bbox_results.json", found, [4])
    read = torch.tensor([entry["bbox"] for entry in entries], dtype=torch.float64)
    read[:, 2:] += read[:, :2]
    assert torch.equal(read.float(), boxes)
    assert torch.equal(torch.tensor([entry["score"] for entry in entries]), found["scores"])


def test_nothing_found_is_an_empty_list_and_no_stale_file(tmp_path: Path) -> None:
    path = tmp_path / "test_bbox_results.json"
    written(path, samples(), [4, 9])
    nothing = samples(
        num_detections=torch.zeros(3, dtype=torch.int64),
        boxes=torch.zeros(0, 4),
        scores=torch.zeros(0),
        labels=torch.zeros(0, dtype=torch.int64),
    )
    assert written(path, nothing, [4, 9]) == []
    names = sorted(each.name for each in tmp_path.iterdir())
    assert names == ["test_annotations.json", "test_bbox_results.json"]


def test_coco_tools_and_the_checker_read_what_was_written(tmp_path: Path) -> None:
    boxes = {7: [(9, [1, 2, 3, 4]), (4, [0, 0, 9, 9])], 3: [], 5: [(9, [3, 3, 2, 1.5])]}
    annotations = json.loads(
        write_coco(tmp_path / "a.json", boxes, names={4: "cat", 9: "dog"}).read_text()
    )
    for each in annotations["annotations"]:
        each |= {"iscrowd": 0, "area": each["bbox"][2] * each["bbox"][3]}
    (tmp_path / "a.json").write_text(json.dumps(annotations))
    perfect = samples(
        boxes=torch.tensor([[1.0, 2.0, 4.0, 6.0], [0.0, 0.0, 9.0, 9.0], [3.0, 3.0, 5.0, 4.5]])
    )
    entries = written(tmp_path / "test_bbox_results.json", perfect, [4, 9])
    assert check(entries, annotations, 0.0).is_valid
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "a.json"))
        evaluation = COCOeval(
            truth, truth.loadRes(str(tmp_path / "test_bbox_results.json")), "bbox"
        )
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"num_detections": torch.tensor([2, 1, 1])},
            "must get 4 detections as counted, got 3 boxes, 3 scores, 3 labels$",
        ),
        ({"scores": torch.zeros(2)}, "must get 3 detections as counted, got 3 boxes, 2 scores"),
        ({"labels": torch.tensor([0, 2, 1])}, r"^labels must be in \[0, 2\), got 2$"),
        ({"labels": torch.tensor([0, -1, 1])}, r"^labels must be in \[0, 2\), got -1$"),
        ({"scores": torch.tensor([0, torch.nan, 1])}, "must get finite boxes and scores"),
        ({"boxes": torch.full((3, 4), torch.inf)}, "must get finite boxes and scores"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, changes: dict[str, Tensor], message: str
) -> None:
    path = tmp_path / "test_bbox_results.json"
    with pytest.raises(ValueError, match=message):
        write_results(tmp_path, "test", samples(**changes), SPLIT, categories={4: "a", 9: "b"})
    assert not path.exists()


def test_the_images_of_the_results_are_named_in_a_file_for_pycocotools(tmp_path: Path) -> None:
    image = Annotated(
        key=2**53 - 1,
        name="deep/a.jpg",
        image=torch.zeros(3, 8, 16, dtype=torch.uint8),
        width_px=16,
        height_px=8,
        boxes=torch.tensor([[1.0, 2.0, 4.0, 6.0], [0.0, 0.0, 8.0, 8.0]], dtype=torch.float64),
        labels=torch.tensor([1, 0]),
        crowd=torch.tensor([False, True]),
        areas=torch.tensor([12.0, 64.0], dtype=torch.float64),
    )
    found = samples(
        keys=torch.tensor([image.key]),
        num_detections=torch.tensor([1]),
        boxes=torch.tensor([[1.0, 2.0, 4.0, 6.0]]),
        scores=torch.tensor([0.5]),
        labels=torch.tensor([1]),
    )
    split: Any = SimpleNamespace(samples=[image])
    results = write_results(tmp_path, "val", found, split, categories={4: "ant", 9: "bee"})
    content = json.loads((tmp_path / "val_annotations.json").read_text())
    assert content["images"] == [
        {"id": 2**53 - 1, "file_name": "deep/a.jpg", "width": 16, "height": 8}
    ]
    assert content["categories"] == [{"id": 4, "name": "ant"}, {"id": 9, "name": "bee"}]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(tmp_path / "val_annotations.json")
        evaluation = COCOeval(coco, coco.loadRes(str(results)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)
