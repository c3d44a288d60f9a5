"""Runs as plain rows."""

import json
from pathlib import Path

import pytest
from run_folders import write_grid, write_run

from visionlab.analysis import load_epochs, load_runs


def test_each_model_of_each_run_is_a_row(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", decay=[0.9, 0.99], seed=7, lr=0.5)
    rows = load_runs(tmp_path)
    assert [row["model"] for row in rows] == ["model", "ema_0.9", "ema_0.99"]
    results = json.loads((folder / "run.json").read_text())["results"]["test"]
    for row, decay in zip(rows, ["none", 0.9, 0.99], strict=True):
        assert row["averaged.decay"] == decay
        assert row["test/top1"] == results[row["model"]]["top1"]
        best = "best" if decay == "none" else f"{row['model']}_best"
        assert row["test/top1/best"] == results[best]["top1"]
        assert (row["scheduler"], row["optimizer.lr"], row["seed"]) == ("cosine", 0.5, 7)
        assert (row["folder"], row["state"], row["epoch"]) == (str(folder), "finished", 3)
        assert row["model_choice"] == "resnet20"
        json.dumps(row)  # plain values


def test_all_runs_below_a_folder_are_there(tmp_path: Path) -> None:
    rows = load_runs(str(write_grid(tmp_path / "grid")))
    assert len(rows) == 12 * 2
    assert {row["scheduler"] for row in rows} == {"cosine", "constant"}


def test_each_epoch_of_each_model_is_a_row(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", decay=0.9, epochs=4)
    rows = load_epochs(tmp_path)
    assert [(row["model"], row["epoch"]) for row in rows] == [
        (model, epoch) for model in ("model", "ema_0.9") for epoch in (1, 2, 3, 4)
    ]
    told = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        epoch = told[int(row["epoch"]) - 1]
        name = row["model"]
        assert row["val/top1"] == epoch[f"val/{name}/top1"]
        assert row["norm"] == epoch[f"norm/{name}"]
        assert row["best"] == epoch[f"best/{name}"]
        assert row["train/loss"] == epoch["train/loss"]
        assert not [key for key in row if "ema_" in key]
    averages = [row for row in rows if row["model"] == "ema_0.9"]
    assert averages[0]["norm/model_minus_average"] == told[0]["norm/model_minus_ema_0.9"]


def test_no_runs_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^runs must be folders with runs"):
        load_runs(tmp_path)
