"""Tables that compare the members of an ensemble, written by `eval.py`."""

import csv
from pathlib import Path

import pytest
from processes import script

pytestmark = pytest.mark.integration

COMMON = ("model.depth=8", "hparams.batch_size=200", "device=cpu", "threads=1", "averaged=none")
COMMON += ("tensorboard=false", "evaluation.test=false", "hparams.epochs=2")
SNAPSHOTS = ("checkpoint.snapshots=every:1", "checkpoint.snapshots_last_epochs=2")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    done = script("train.py", *COMMON, *SNAPSHOTS, "hydra.run.dir=run", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_the_tables_of_an_ensemble_have_its_members(run: Path, tmp_path: Path) -> None:
    done = script("eval.py", f"run={run}", "ensemble=snapshots", "threads=1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    tables = {
        path.name: list(csv.reader(path.read_text().splitlines()))
        for path in (run / "ensemble_test").rglob("*.csv")
    }
    assert sorted(tables) == ["class_wise_top1.csv", "overlap_matrix.csv", "overview_metrics.csv"]
    names = ["snapshot_01", "snapshot_02"]
    assert tables["overlap_matrix.csv"][0] == ["model", *names]
    assert tables["overview_metrics.csv"][0] == ["class", *names, "ensemble"]
    assert len(tables["class_wise_top1.csv"]) == 11


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["compare=labels"], "compare must be null without ensemble, got some"),
        (
            ["ensemble=snapshots", "compare=boxes"],
            "compare must be one for task classification, got DetectionComparison",
        ),
        (
            ["ensemble=snapshots", "compare=boxes", "compare.iou_thresholds=[0.6]"],
            "compare.iou_thresholds must have 0.5, got [0.6]",
        ),
        (
            ["ensemble=snapshots", "compare=boxes", "compare.matching=old"],
            "compare.matching must be one of coco, dota, legacy, got 'old'",
        ),
    ],
)
def test_a_comparison_that_does_not_fit_is_refused_in_a_line(
    settings: list[str], message: str, run: Path, tmp_path: Path
) -> None:
    done = script("eval.py", f"run={run}", "threads=1", *settings, folder=tmp_path)
    assert done.returncode != 0
    assert message in done.stderr.strip().splitlines()[-1]
