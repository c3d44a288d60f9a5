"""`predict.py` as a user runs it: the numbers of `eval.py`, formats, pictures, and bad input."""

import csv
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from processes import script
from sklearn.datasets import load_digits

from visionlab.core import seeding
from visionlab.images.digits import NUM_TEST, TEST_SEED
from visionlab.tasks.classification.datasets.digits import digit_images
from visionlab.tasks.detection.datasets.digit_scenes import make_scenes, source_rows
from visionlab.tasks.keypoints.datasets.drawn_faces import draw_faces

pytestmark = pytest.mark.integration

COMMON = ("device=cpu", "threads=1", "tensorboard=false", "save_predictions=false")
SHORT = (*COMMON, "hydra.run.dir=run", "checkpoint.snapshots=every:1")
TINY = ("model.backbone.name=test_resnet", "model.backbone.norm=trained")


def trained(folder: Path, *arguments: str) -> Path:
    done = script("train.py", *SHORT, *arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def predict(folder: Path, *arguments: str) -> str:
    done = script("predict.py", "device=cpu", "num_workers=0", *arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def refusal(folder: Path, *arguments: str) -> str:
    done = script("predict.py", "device=cpu", "num_workers=0", *arguments, folder=folder)
    assert done.returncode != 0, done.stdout
    return done.stderr.strip()


def save(images: Sequence[torch.Tensor], folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number:03d}.png")
    return folder


def rows_of(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


def pixels_of(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.asarray(image)


def images_of(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["images"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier `run`, and the test digits in `digits`."""
    folder = tmp_path_factory.mktemp("lab")
    small = ("model.depth=8", "hparams.epochs=3", "hparams.batch_size=64", "averaged.decay=0.5")
    trained(folder, *small, "scheduler=constant")
    data = load_digits()
    order = seeding.permutation(len(data.target), seed=TEST_SEED)[:NUM_TEST]
    images = save(digit_images(torch.from_numpy(data.images))[order].unbind(0), folder / "digits")
    assert len(list(images.iterdir())) == 360
    (folder / "labels.json").write_text(json.dumps(data.target[order].tolist()))
    return folder


def accuracy(lab: Path, images: Sequence[dict[str, Any]]) -> float:
    labels = np.array(json.loads((lab / "labels.json").read_text()))
    hits = [int(each["class"]) == label for each, label in zip(images, labels, strict=True)]
    return float(np.mean(hits))


def test_digits_have_the_accuracy_of_eval(lab: Path) -> None:
    done = script("eval.py", "run=run", "threads=1", folder=lab)
    assert done.returncode == 0, done.stderr
    expected = json.loads((lab / "run" / "evaluation_test.json").read_text())
    assert len({each["top1"] for each in expected.values()}) > 1
    for model in ("model", "ema_0.5"):
        predict(lab, "run=run", "source=digits", f"model={model}", f"out={model}.json")
        found = images_of(lab / f"{model}.json")
        assert [each["image"] for each in found] == [f"{row:03d}.png" for row in range(360)]
        assert accuracy(lab, found) == pytest.approx(expected[model]["top1"])
        assert all(sum(each["probabilities"]) == pytest.approx(1, abs=1e-5) for each in found)
        assert all(each["score"] == max(each["probabilities"]) for each in found)
    alone = f"checkpoint={lab}/run/checkpoints/ema_0.5.pt"
    predict(lab, alone, "source=digits", "out=alone.json")
    assert images_of(lab / "alone.json") == images_of(lab / "ema_0.5.json")


def test_ensembles_and_views_of_digits_have_the_accuracy_of_eval(lab: Path) -> None:
    settings = ("ensemble=snapshots", "ensemble.weights=[1,0,2]", "views=mirrored", "fuse=vote")
    done = script("eval.py", "run=run", *settings, "threads=1", folder=lab)
    assert done.returncode == 0, done.stderr
    expected = json.loads((lab / "run" / "ensemble_test.json").read_text())
    predict(lab, "run=run", "source=digits", *settings, "out=fused.json")
    content = json.loads((lab / "fused.json").read_text())
    assert accuracy(lab, content["images"]) == pytest.approx(
        expected["metrics"]["ensemble"]["top1"]
    )
    assert content["models"] == ["snapshot_01", "snapshot_02", "snapshot_03"]
    assert content["views"] == ["plain", "mirrored"]


def test_without_settings_a_new_file_and_the_best_model(lab: Path) -> None:
    for number in ("", "_2"):
        out = predict(lab, "run=run", "source=digits/00?.png".replace("?", "*"))
        assert f"wrote predictions/00{number}.json" in out
        assert "the best on validation" in out
    first, second = (images_of(lab / "predictions" / f"00{end}.json") for end in ("", "_2"))
    assert first == second
    assert [each["image"] for each in first] == [f"digits/00{number}.png" for number in range(10)]


def test_tars_arrays_and_folders_are_alike(lab: Path, tmp_path: Path) -> None:
    paths = sorted((lab / "digits").iterdir())[:5]
    with tarfile.open(tmp_path / "some.tar", "w") as tar:
        for path in paths:
            tar.add(path, f"in/{path.name}")
    pixels = np.stack([pixels_of(path) for path in paths])
    np.save(tmp_path / "some.npy", pixels)
    np.savez(tmp_path / "some.npz", a=pixels[:2], b=pixels[2], c=pixels[3:].transpose(0, 3, 1, 2))
    found = {}
    for name in ("some.tar", "some.npy", "some.npz", f"[{','.join(map(str, paths))}]"):
        out = f"out{len(found)}.csv"
        predict(tmp_path, f"run={lab}/run", f"source={name}", f"out={out}")
        header, *rows = rows_of(tmp_path / out)
        assert header == ["path", "class", "score"]
        found[name] = [row[0] for row in rows]
        assert [row[1:] for row in rows] == [row[1:] for row in rows_of(tmp_path / "out0.csv")[1:]]
    assert found["some.tar"][0] == "in/000.png"
    assert found["some.npy"][4] == "some.npy[4]"
    assert found["some.npz"][1:3] == ["some.npz:a[1]", "some.npz:b"]


def test_all_kinds_of_images_are_read_as_data_sets_read_them(lab: Path, tmp_path: Path) -> None:
    upright = pixels_of(lab / "digits" / "000.png")
    folder = tmp_path / "kinds"
    folder.mkdir()
    Image.fromarray(upright).save(folder / "0.png")
    Image.fromarray(upright[:, :, 0]).save(folder / "1_grey.png")
    Image.fromarray(upright[:, :, 0].astype(np.uint16) * 257).save(folder / "2_sixteen_bits.png")
    alpha = np.full((32, 32, 1), 255, np.uint8)
    Image.fromarray(np.concatenate([upright, alpha], axis=2)).save(folder / "3_alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(folder / "4_exif.png", exif=exif)
    Image.fromarray(upright).convert("L").convert("P").save(folder / "5_palette.png")
    predict(tmp_path, f"run={lab}/run", "source=kinds", "out=kinds.json")
    first, *others = images_of(tmp_path / "kinds.json")
    for each in others:
        assert each["probabilities"] == pytest.approx(first["probabilities"], abs=1e-6), each


def test_the_rest_is_written_if_some_images_cannot_be_read(lab: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    whole = (lab / "digits" / "000.png").read_bytes()
    (folder / "a.png").write_bytes(whole)
    (folder / "b.png").write_bytes(whole[:-200])
    (folder / "c.jpg").write_bytes(b"")
    (folder / "d.png").write_bytes(whole)
    (folder / "notes.txt").write_text("no image")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(folder / "e.tif")
    line = refusal(tmp_path, f"run={lab}/run", "source=photos", "out=p.csv", "batch_size=2")
    last = line.splitlines()[-1]
    assert "3 of 5 that cannot be read (b.png, c.jpg, e.tif); the others are in p.csv" in last
    rows = rows_of(tmp_path / "p.csv")[1:]
    assert [row[0] for row in rows] == ["a.png", "d.png"]
    assert rows[0][1:] == rows[1][1:]
    for name in ("a.png", "d.png"):
        (folder / name).unlink()
    line = refusal(tmp_path, f"run={lab}/run", "source=photos", "out=q.csv")
    assert "nothing is written" in line
    assert not (tmp_path / "q.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["source=gone"], "source must be a file, folder, tar or array of images, looked for gone"),
        (["source=empty"], "source must hold images (.jpg, "),
        (["source=words.txt"], "got 1 of 1 that cannot be read (words.txt); nothing is written"),
        (["source=words.tar"], "words.tar must be a whole tar"),
        (["source=words.npy"], "source must hold arrays of images, got words.npy"),
        (["source=shares.npy"], "source must hold uint8 or uint16 arrays, got float64"),
        ([], "source must be given"),
        (["source=IMAGE", "run=gone"], "run must be the folder of a run, got gone"),
        (["source=IMAGE", "run=empty"], "run must be the folder of a run, got empty"),
        (["source=IMAGE", "model=gone"], "must be of model, ema_0.5, best"),
        (["source=IMAGE", "model=ema*"], "model must name one model, got ema* for ema_0.5, "),
        (["source=IMAGE", "out=a.txt"], "out must end in .coco.json, .json, .csv, got a.txt"),
        (["source=IMAGE", "out=a.coco.json"], "out must end in .json or .csv for task classifi"),
        (["source=IMAGE", "out=there.json"], "out must be new unless overwrite=true is given"),
        (["source=IMAGE", "out=words.txt/a.json"], "out must be a writable folder, got words.txt"),
        (["source=IMAGE", "out=there.json", "draw=true"], "there.json exists"),
        (["source=IMAGE", "num_workers=-1"], "num_workers must be in [0, 1024], got -1"),
        (["source=IMAGE", "min_score=2"], "min_score must be in [0, 1], got 2"),
        (["source=IMAGE", "batch_size=0"], "batch_size must be >= 1 or null, got 0"),
        (["source=IMAGE", "fuse=vote"], "fuse must be null without views or ensemble, got some"),
        (["source=IMAGE", "views=mirrored", "fuse=wbf"], "fuse must be one for task classificati"),
        (["source=IMAGE", "ensemble=snapshots", "model=best"], "ensemble must be null with che"),
        (["source=IMAGE", "run=null"], "run must be a run folder, got none below outputs/"),
        (["source=IMAGE", "run=null", "checkpoint=words.txt"], "words.txt"),
        (["source=IMAGE", "checkpoint=words.txt"], "give either run= or checkpoint="),
        (["source=IMAGE", "models=[best]"], "models=[best]"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, lab: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("words.txt", "words.tar", "words.npy"):
        (tmp_path / name).write_text("some words")
    np.save(tmp_path / "shares.npy", np.zeros((4, 4, 3)))
    (tmp_path / "there.json").write_text("mine")
    before = sorted(path.name for path in tmp_path.iterdir())
    given = [each.replace("IMAGE", f"{lab}/digits/000.png") for each in arguments]
    if not any(each.startswith("run=") for each in given):
        given.append(f"run={lab}/run")
    lines = refusal(tmp_path, *given).splitlines()
    assert message in lines[-1], lines
    assert len([line for line in lines if "skipped an image" not in line]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "there.json").read_text() == "mine"


def test_an_old_file_is_replaced_only_on_request(lab: Path, tmp_path: Path) -> None:
    arguments = (f"run={lab}/run", f"source={lab}/digits/000.png", "out=new/a.json", "draw=true")
    predict(tmp_path, *arguments)
    (tmp_path / "new" / "a.json").write_text("old")
    assert "overwrite=true" in refusal(tmp_path, *arguments)
    assert (tmp_path / "new" / "a.json").read_text() == "old"
    predict(tmp_path, *arguments, "overwrite=true")
    assert len(images_of(tmp_path / "new" / "a.json")) == 1
    (picture,) = (tmp_path / "new" / "a_pictures").rglob("*.jpg")
    assert picture.name == "000.png.jpg"
    assert pixels_of(picture).shape == (502, 480, 3)
    assert not list(tmp_path.rglob("*.tmp"))


def test_points_are_those_of_the_submission_and_a_table_that_can_be_read(tmp_path: Path) -> None:
    trained(
        *(tmp_path, "task=keypoints", *TINY[:1], "model.stride=32", "model.grid=2"),
        *("dataset.size_px=64", "dataset.num_train=24", "dataset.num_val=6", "dataset.num_test=5"),
        *("hparams.epochs=2", "hparams.batch_size=8", "averaged=none"),
    )
    done = script("eval.py", "run=run", "views=mirrored", "models=[model]", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "run" / "predictions").glob("model_views/*_submission.csv")
    expected = [row[1:] for row in rows_of(path)][1:]
    save(draw_faces(range(2_000_000, 2_000_005), seed=0)[0], tmp_path / "faces")
    settings = ("run=run", "source=faces", "views=mirrored", "model=model")
    predict(tmp_path, *settings, "out=faces.csv", "draw=true")
    header, *rows = rows_of(tmp_path / "faces.csv")
    assert header[:3] == ["path", "0_x", "0_y"]
    found = np.array([row[1:] for row in rows], dtype=float)
    assert np.abs(found - np.array(expected, dtype=float)).max() <= 0.501
    assert len(list((tmp_path / "faces_pictures").iterdir())) == 5
    again = ("task=keypoints", "dataset=points_csv", "dataset.tables.train=faces.csv")
    again += ("dataset.tables.val=null", "dataset.root=.", "dataset.images.train=faces")
    done = script(
        *("train.py", *COMMON, *again, *TINY[:1], "model.stride=32", "model.grid=2"),
        *("dataset.size_px=64", "dataset.val.split=0.4", "hparams.epochs=1", "averaged=none"),
        *("hydra.run.dir=again", "hparams.batch_size=2", "augment=points_none"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_boxes_are_those_of_eval_and_a_file_that_can_be_trained_on(tmp_path: Path) -> None:
    scenes = ("dataset.num_train=24", "dataset.num_val=4", "dataset.num_test=6")
    low = "task.predict.score_threshold=0.01"
    trained(
        *(tmp_path, "task=detection", *TINY, *scenes, low, "hparams.epochs=1"),
        *("hparams.batch_size=8", "averaged=none"),
    )
    done = script("eval.py", "run=run", "models=[model]", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "run" / "predictions" / "model" / "test_bbox_results.json"
    expected = json.loads(path.read_text())
    rows = source_rows()["test"]
    data, labels = map(torch.from_numpy, load_digits(return_X_y=True))
    digits = data[rows].view(-1, 8, 8)
    images = make_scenes(6, first_key=2 * 10**9, digits=digits, labels=labels[rows], seed=0)
    save([each.image for each in images if isinstance(each.image, torch.Tensor)], tmp_path / "s")
    settings = ("run=run", "source=s", "model=model")
    predict(tmp_path, *settings, "out=s.coco.json", "draw=true", "min_score=0.0")
    found = json.loads((tmp_path / "s.coco.json").read_text())
    assert len(found) == len(expected) > 20
    for number in range(6):
        ours = [each for each in found if each["image_id"] == number + 1]
        theirs = [each for each in expected if each["image_id"] == 2 * 10**9 + number]
        assert [each["category_id"] for each in ours] == [each["category_id"] for each in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert one["bbox"] == pytest.approx(other["bbox"], abs=1e-3)
            assert one["score"] == pytest.approx(other["score"], abs=1e-5)
    listed = json.loads((tmp_path / "s.images.json").read_text())
    assert [each["file_name"] for each in listed["images"]] == [f"00{n}.png" for n in range(6)]
    predict(tmp_path, *settings, "out=s.csv")
    done = script(
        *("train.py", *COMMON, "task=detection", *TINY, "dataset=boxes_csv", "dataset.root=."),
        *("dataset.annotations.train=s.csv", "dataset.annotations.val=null", "dataset.images=s"),
        *("hydra.run.dir=again", "hparams.epochs=1", "averaged=none", "dataset.val.split=0.4"),
        *("dataset.resize.short_px=128", "dataset.resize.long_px=160", "dataset.num_workers=0"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_features_of_pretraining_have_length_1_and_no_pictures(lab: Path, tmp_path: Path) -> None:
    small = ("dataset.num_train=64", "dataset.num_test=8", "model.queue_length=16")
    trained(tmp_path, "task=pretraining", *small, "hparams.epochs=1", "hparams.batch_size=16")
    source = f"source={lab}/digits"
    predict(tmp_path, "run=run", source, "out=features.json")
    found = np.array([each["features"] for each in images_of(tmp_path / "features.json")])
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    assert len({tuple(row) for row in found.tolist()}) > 300
    for settings, message in (
        ("draw=true", "draw must be false for task pretraining, got true"),
        ("views=mirrored", "views must be null for task pretraining, whose predictions cannot"),
    ):
        assert message in refusal(tmp_path, "run=run", source, "out=x.json", settings)
