"""Names in figures, and the order of groups."""

from pathlib import Path

import pytest
from figure_inputs import inputs
from run_folders import write_run

from visionlab.analysis.groups import group_by
from visionlab.analysis.labels import distinct_paths, metric_label, value_label
from visionlab.analysis.models import split_varying_settings


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("val/top1", "validation accuracy"),
        ("test/accuracy", "test accuracy"),
        ("train/loss", "training loss"),
        ("test/error_px", "test error (px)"),
        ("val/pck/0.05", "validation PCK 0.05"),
        ("test/AP/cat", "test AP cat"),
        ("val/AP50", "validation AP50"),
        ("train_augmented/top1", "train augmented accuracy"),
        ("lr", "learning rate"),
    ],
)
def test_numbers_have_names(value: str, label: str) -> None:
    assert metric_label(value) == label


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (0.0809638, "0.081"),
        (0.03287461, "0.0329"),
        (352.0, "352"),
        (0.99995, "0.99995"),
        (1e-5, "1e-05"),
        (7, "7"),
        (None, "none"),
    ],
)
def test_values_are_short(value: float | None, label: str) -> None:
    assert value_label(value) == label


def test_drawn_values_have_more_digits_only_where_needed(tmp_path: Path) -> None:
    for number, lr in enumerate((0.0302852515, 0.0302961049, 0.4073657656)):
        write_run(tmp_path / str(number), lr=lr, num_samples=1)
    labels = [label for label, _ in group_by(inputs(tmp_path)[0], ["optimizer.lr"])]
    assert labels == [
        "learning rate 0.0302853",
        "learning rate 0.0302961",
        "learning rate 0.407366",
    ]
    labels = [
        label for label, _ in group_by(inputs(tmp_path / "0", tmp_path / "2")[0], ["optimizer.lr"])
    ]
    assert labels == ["learning rate 0.0303", "learning rate 0.407"]


def test_groups_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for epochs in (10, 9, 100):
        write_run(tmp_path / str(epochs), epochs=epochs, num_samples=1)
    groups = group_by(inputs(tmp_path)[0], ["hparams.epochs"])
    assert [label for label, _ in groups] == ["epochs 9", "epochs 10", "epochs 100"]
    assert all(len(members) == 2 for _, members in groups)


def test_of_many_settings_the_telling_ones_are_said(tmp_path: Path) -> None:
    for number, lr in enumerate((0.1, 0.2)):
        changes = {
            "hparams": {"epochs": 3, "batch_size": 64 + number},
            "loss": {"label_smoothing": number / 10},
            "model": {"depth": 20 + number, "width": number},
        }
        write_run(tmp_path / str(number), lr=lr, changes=changes)
    models = inputs(tmp_path)[0]
    keys, of_averages = split_varying_settings(models)
    assert len(keys) == 5
    assert of_averages == ["averaged.decay"]
    labels = [label for label, _ in group_by(models, keys)]
    assert labels == ["learning rate 0.1 (+4 settings)", "learning rate 0.2 (+4 settings)"]
    record = (tmp_path / "1" / "run.json").read_text().replace("cifar10", "svhn")
    (tmp_path / "1" / "run.json").write_text(record)
    models = inputs(tmp_path)[0]
    labels = [label for label, _ in group_by(models, split_varying_settings(models)[0])]
    assert labels == ["cifar10 (+5 settings)", "svhn (+5 settings)"]


@pytest.mark.parametrize(
    ("folders", "labels"),
    [
        (["/a/ensemble"], ["ensemble"]),
        (["/a/one", "/b/two"], ["one", "two"]),
        (["/x/a/ensemble", "/x/b/ensemble"], ["a/ensemble", "b/ensemble"]),
        (["/a/x/ensemble", "/b/x/ensemble", "/c"], ["a/x/ensemble", "b/x/ensemble", "/c"]),
        ([], []),
    ],
)
def test_folders_are_told_apart_by_as_few_names_as_possible(
    folders: list[str], labels: list[str]
) -> None:
    assert distinct_paths([Path(folder) for folder in folders]) == labels


def test_relative_folders_have_the_names_above_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = distinct_paths([Path("ensemble"), Path("other/ensemble")])
    assert found == [f"{tmp_path.name}/ensemble", "other/ensemble"]
