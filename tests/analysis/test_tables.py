"""Tables against a naive computation from the files."""

import csv
import io
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from run_folders import write_grid, write_run
from scipy.stats import ttest_ind, ttest_rel
from test_options import TABLE

from visionlab.analysis.comparisons import add_differences, add_gain
from visionlab.analysis.metrics import higher_is_better, main_metric, metric_names
from visionlab.analysis.models import DECAY, ModelRecord, model_records, varying_settings
from visionlab.analysis.options import TableOptions
from visionlab.analysis.records import read_runs
from visionlab.analysis.table_formats import to_csv, to_latex, to_markdown
from visionlab.analysis.table_layout import build_tables, columns_over
from visionlab.analysis.tables import Column, NumberFormat, Table, make_table


def models(*paths: Path) -> list[ModelRecord]:
    return model_records(read_runs(list(paths)).runs)


def table(*paths: Path, value: str = "test/top1", **changes: Any) -> Table:
    found = models(*paths)
    given: dict[str, Any] = {
        "name": "table",
        "rows": ["scheduler"],
        "columns": columns_over(found, "averaged.decay", metric=value),
        "weights": "last",
        "published": {},
        "source": None,
        "number_format": NumberFormat(scale=1, decimals=4),
    }
    return make_table(found, **{**given, **changes})


def naive(grid: Path, scheduler: str, decay: float | str) -> dict[int, float]:
    """Return accuracy by seed, from the files with nothing of ours."""
    found: dict[int, set[float]] = {}
    for path in grid.glob("scheduler*/run.json"):
        config = yaml.safe_load((path.parent / "config.yaml").read_text())
        record = json.loads(path.read_text())
        if record["choices"]["scheduler"] != scheduler:
            continue
        if decay == "none":
            found.setdefault(config["global_seed"], set()).add(
                record["results"]["test"]["model"]["top1"]
            )
        elif config["averaged"]["decay"] == decay:
            found[config["global_seed"]] = {record["results"]["test"][f"ema_{decay:g}"]["top1"]}
    assert all(len(values) == 1 for values in found.values())
    return {seed: values.pop() for seed, values in found.items()}


def test_a_table_is_what_the_files_say(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", seeds=(3, 1, 2))
    made = table(grid)
    assert made.rows == ["constant", "cosine"]
    assert [column.label for column in made.columns] == ["none", "0.9", "0.99"]
    for row in made.rows:
        for label, decay in (("none", "none"), ("0.9", 0.9), ("0.99", 0.99)):
            expected = naive(grid, row, decay)
            cell = made.cells[row, label]
            assert cell.by_seed == expected
            assert list(cell.by_seed) == [1, 2, 3]
            assert cell.mean == pytest.approx(np.mean(list(expected.values())))
            assert cell.std == pytest.approx(np.std(list(expected.values()), ddof=1))


def write_data_set(folder: Path, *, choice: str, root: str | None) -> None:
    """Change the data set of a run."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["dataset"]["root"] = root
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    record = json.loads((folder / "run.json").read_text())
    record["choices"]["dataset"] = choice
    (folder / "run.json").write_text(json.dumps(record))


def write_metrics(folder: Path, metric: str, **by_scheduler: list[float]) -> None:
    """Write a run for each value, the first of seed 1, with it as a test metric of the model."""
    for scheduler, values in by_scheduler.items():
        for seed, value in enumerate(values, start=1):
            path = write_run(folder / f"{scheduler}{seed}", scheduler=scheduler, seed=seed)
            record = json.loads((path / "run.json").read_text())
            record["results"]["test"]["model"][metric] = value
            (path / "run.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("cosine", "linear"),
    [
        ([0.90, 0.88, 0.89], [0.80, 0.75, 0.78]),
        ([0.90, 0.70, 0.80], [0.89, 0.69, 0.79]),  # the same lead with each seed, by chance
        ([0.90, 0.91], [0.50, 0.80]),
        ([0.9, 0.9], [0.8, 0.8]),
        ([0.9, 0.8], [0.9, 0.8]),
    ],
)
@pytest.mark.parametrize("metric", ["top1", "loss"])
def test_the_best_of_a_column_is_bold_only_beyond_noise(
    cosine: list[float], linear: list[float], metric: str, tmp_path: Path
) -> None:
    write_metrics(tmp_path, metric, cosine=cosine, linear=linear)
    made = table(tmp_path, value=f"test/{metric}")
    best = "cosine" if metric == "top1" else "linear"
    is_constant = len({*cosine}) == 1 < len(cosine)  # of which scipy warns
    is_beyond = is_constant or ttest_ind(cosine, linear, equal_var=False).pvalue < 0.05
    shown = [row for row in made.rows if made.cells[row, "none"].is_best]
    assert shown == ([best] if is_beyond else [])
    assert ("Bold: best of its column" in to_markdown(made)) == any(
        cell.is_best for cell in made.cells.values()
    )


def test_of_one_seed_nothing_is_bold(tmp_path: Path) -> None:
    write_metrics(tmp_path, "top1", cosine=[0.9], linear=[0.1])
    text = to_markdown(table(tmp_path))
    assert "**" not in text
    assert "Nothing is bold" in text


def test_a_uniform_average_has_no_decay() -> None:
    assert Column(label="uniform", metric="test/top1", having={DECAY: "uniform"}).heading == (
        "uniform average"
    )


def test_columns_say_what_they_are(tmp_path: Path) -> None:
    made = table(write_grid(tmp_path / "grid"))
    headings = ["EMA decay: none", "EMA decay: 0.9", "EMA decay: 0.99"]
    assert made.header == ["scheduler", *headings]
    for text in (to_markdown(made), to_latex(made), to_csv(made)):
        assert all(heading in text for heading in headings)
    columns = columns_over(models(tmp_path), "optimizer.lr", metric="test/top1", kind="model")
    assert table(tmp_path, columns=columns).header == ["scheduler", "learning rate: 0.1"]


def test_of_several_metrics_the_caption_says_which_is_where(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    columns = [
        Column(label="train", metric="train_augmented/top1", models="model"),
        Column(label="test", metric="test/top1", models="model"),
    ]
    text = to_markdown(table(tmp_path, columns=columns))
    assert "train: train_augmented/top1, test: test/top1;" in text


def test_neither_order_nor_unrelated_folders_change_a_table(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid")
    expected = to_csv(table(grid))
    for number, folder in enumerate(sorted(grid.glob("scheduler*"), reverse=True)):
        shutil.copytree(folder, tmp_path / "shuffled" / f"{number:02d}")
    (tmp_path / "shuffled" / "notes").mkdir()
    (tmp_path / "shuffled" / "notes" / "run.json").write_text("{}")
    assert to_csv(table(tmp_path / "shuffled")) == expected
    several = sorted(grid.glob("scheduler*"))
    assert to_csv(table(*several[::2], *several[1::2])) == expected


def test_one_run_with_several_averages_is_several_columns(tmp_path: Path) -> None:
    write_run(tmp_path / "run", decay=[0.9, 0.99])
    made = table(tmp_path)
    assert [column.label for column in made.columns] == ["none", "0.9", "0.99"]
    assert all(len(cell.by_seed) == 1 and cell.std is None for cell in made.cells.values())


def test_the_best_weights_have_their_own_numbers(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    results = json.loads((run / "run.json").read_text())["results"]["test"]
    made = table(tmp_path, weights="best")
    assert made.cells["cosine", "none"].mean == results["best"]["top1"]
    assert made.cells["cosine", "0.9"].mean == results["ema_0.9_best"]["top1"]


def test_repeats_of_a_seed_count_as_one_trial(tmp_path: Path) -> None:
    first, again = (write_run(tmp_path / name, seed=1) for name in ("first", "again"))
    record = json.loads((again / "run.json").read_text())
    record["results"]["test"]["model"]["top1"] = 0.25
    (again / "run.json").write_text(json.dumps(record))
    one = json.loads((first / "run.json").read_text())["results"]["test"]["model"]["top1"]
    assert table(tmp_path).cells["cosine", "none"].by_seed == {1: pytest.approx((one + 0.25) / 2)}


def test_accuracy_is_top1(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid")
    assert table(grid, value="test/accuracy").cells == table(grid).cells


def test_differences_are_paired_by_seed(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", seeds=(1, 2, 3, 4))
    made = table(grid)
    for found in add_differences(made, columns=["none", "0.99"]).differences:
        one, other = (made.cells[found.row, label].by_seed for label in ("none", "0.99"))
        expected = ttest_rel(list(other.values()), list(one.values()))
        interval = expected.confidence_interval(0.95)
        assert found.interval == pytest.approx((interval.low, interval.high))
        assert found.mean == pytest.approx(np.mean([other[seed] - one[seed] for seed in one]))
        assert found.num_seeds == 4


def test_of_one_seed_there_is_no_interval(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    (found,) = add_differences(table(tmp_path), columns=["none", "0.9"]).differences
    assert (found.interval, found.num_seeds) == (None, 1)


def test_a_gain_is_a_share(tmp_path: Path) -> None:
    made = add_gain(table(write_grid(tmp_path)), columns=["none", "0.9"], published={})
    for row in made.rows:
        less, more = (made.cells[row, label].by_seed for label in ("none", "0.9"))
        assert made.cells[row, "gain"].mean == pytest.approx(
            statistics.fmean(more[seed] / less[seed] - 1 for seed in less)
        )


def test_unfinished_runs_are_left_out_and_counted(tmp_path: Path) -> None:
    write_grid(tmp_path / "grid")
    write_run(tmp_path / "more", scheduler="linear", status="interrupted")
    made = table(tmp_path)
    assert made.rows == ["constant", "cosine"]
    assert made.num_left_out == 1
    assert "1 unfinished run is left out" in to_markdown(made)


def test_columns_by_name_and_published_numbers(tmp_path: Path) -> None:
    write_grid(tmp_path, decays=(0.9,))
    columns = [
        Column(label="test", metric="test/top1", models="model"),
        Column(label="EMA test", metric="test/top1", models="average"),
    ]
    made = table(
        tmp_path,
        columns=columns,
        published={"cosine": {"test": 50.0}},
        number_format=NumberFormat(scale=100, decimals=1),
    )
    rows = list(csv.DictReader(io.StringIO(to_csv(made))))
    row = next(row for row in rows if (row["scheduler"], row["column"]) == ("cosine", "test"))
    mean = 100 * statistics.fmean(naive(tmp_path, "cosine", "none").values())
    assert float(row["mean"]) == pytest.approx(mean)
    assert float(row["difference"]) == pytest.approx(mean - 50)
    assert f"[50.0, {mean - 50:+.1f}]" in to_markdown(made)
    assert len(rows) == 4


def test_the_forms_say_the_same(tmp_path: Path) -> None:
    form = NumberFormat(scale=100, decimals=2)
    made = table(write_grid(tmp_path), number_format=form)
    markdown, latex = to_markdown(made), to_latex(made)
    for cell in made.cells.values():
        assert cell.std is not None
        text = f"{100 * cell.mean:.2f} ± {100 * cell.std:.2f}"
        assert (f"**{text}**" if cell.is_best else f" {text} ") in markdown
        text = text.replace("±", r"$\pm$")
        assert (rf"\textbf{{{text}}}" if cell.is_best else text) in latex
    assert markdown.count("\n| ") == 3
    assert latex.count(r"\\") == 3


def test_a_group_stands_for_what_is_in_it(tmp_path: Path) -> None:
    write_grid(tmp_path / "grid")
    assert varying_settings(models(tmp_path)) == ["averaged.decay", "scheduler"]
    write_run(tmp_path / "other", lr=0.2)
    assert varying_settings(models(tmp_path)) == ["averaged.decay", "optimizer.lr", "scheduler"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": "test/top2"}, r"table.value must be .*, got test/top2; did you mean test/top1"),
        (
            {"value": "val/acc"},
            r"table.value must be .*, got val/acc; known are val/loss, val/top1$",
        ),
        ({"value": "xyz"}, r"table.value must be .*, got xyz; known are test/loss, test/top1"),
    ],
)
def test_what_no_run_has_is_one_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_grid(tmp_path)
    with pytest.raises(ValueError, match=f"^{message}"):
        table(tmp_path, **changes)


def test_rows_that_no_run_has_are_refused(tmp_path: Path) -> None:
    write_grid(tmp_path)
    given = TableOptions(**{**TABLE, "rows": ["schedular"]})
    message = r"^table.rows must be .*, got schedular; did you mean scheduler\?"
    with pytest.raises(ValueError, match=message):
        build_tables(models(tmp_path), given, weights="last")


def test_what_else_differs_is_refused(tmp_path: Path) -> None:
    write_grid(tmp_path / "grid")
    write_run(tmp_path / "other", lr=0.2, seed=9)
    message = r"^table.rows and table.columns must .*, got optimizer.lr in row cosine, column none"
    with pytest.raises(ValueError, match=message):
        table(tmp_path)


def test_a_number_that_some_runs_lack_names_them(tmp_path: Path) -> None:
    grid = write_grid(tmp_path)
    victim = next(grid.glob("*cosine*0.99*seed=2"))
    record = json.loads((victim / "run.json").read_text())
    del record["results"]["test"]["ema_0.99"]["top1"]
    (victim / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"^table.value must .* missing in .*seed=2$"):
        table(grid)


def test_each_task_and_data_set_has_its_own_table(tmp_path: Path) -> None:
    write_run(tmp_path / "one")
    write_data_set(write_run(tmp_path / "two"), choice="imagefolder", root="/data/flowers")
    write_data_set(write_run(tmp_path / "three"), choice="imagefolder", root="/data/birds")
    write_data_set(write_run(tmp_path / "moved"), choice="cifar10", root="/else/where")
    write_run(
        tmp_path / "four", changes={"task": {"name": "keypoints", "monitor": "loss", "mode": "min"}}
    )
    tables = build_tables(models(tmp_path), TableOptions(**TABLE), weights="last")
    assert [each.name for each in tables] == [
        "table_classification_cifar10",
        "table_classification_imagefolder_birds",
        "table_classification_imagefolder_flowers",
        "table_keypoints_cifar10",
    ]


def write_images(folder: Path, *, root: str, samples: Any = None, **changes: Any) -> None:
    """Write a run on images in a folder, with a record of its samples."""
    write_run(folder, seed=len(list(folder.parent.glob("*"))), **changes)
    write_data_set(folder, choice="imagefolder", root=root)
    if samples is not None:
        record = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**record, "samples": samples}))


def names_of(folder: Path) -> list[str]:
    tables = build_tables(models(folder), TableOptions(**TABLE), weights="last")
    return [each.name for each in tables]


def test_folders_of_one_name_are_told_apart_by_those_above(tmp_path: Path) -> None:
    for name in ("birds", "flowers"):
        write_images(tmp_path / name, root=f"/x/{name}/images")
        assert names_of(tmp_path / name) == ["table"]
    assert names_of(tmp_path) == [
        "table_imagefolder_birds_images",
        "table_imagefolder_flowers_images",
    ]


def test_a_data_set_that_was_moved_is_known_by_its_held_out_samples(tmp_path: Path) -> None:
    samples: dict[str, Any] = {"train": [90, "a"], "val": [10, "b"]}
    write_images(tmp_path / "one", root="/x/birds", samples=samples)
    write_images(tmp_path / "two", root="/y/birds", samples=samples)
    write_images(tmp_path / "three", root="/z/birds", samples={**samples, "train": [9, "c"]})
    other = {"train": [80, "d"], "val": [20, "e"]}  # another share is held out
    write_images(tmp_path / "four", root="/y/birds", samples=other)
    write_images(tmp_path / "five", root="/w/birds", samples=other)
    write_images(tmp_path / "failed", root="/x/birds", status="failed")
    assert names_of(tmp_path) == ["table"]
    write_images(tmp_path / "other", root="/v/birds", samples={**other, "val": [20, "f"]})
    assert names_of(tmp_path) == [f"table_imagefolder_{each}_birds" for each in "vw"]
    write_images(tmp_path / "none", root="/u/birds", samples={})
    assert names_of(tmp_path) == [f"table_imagefolder_{each}_birds" for each in "uvw"]


def test_settings_that_only_some_options_have_are_none_in_the_others(tmp_path: Path) -> None:
    step = {"_target_": "visionlab.optim.Step"}
    write_run(tmp_path / "cosine")
    for gamma in (0.5, 0.9):
        path = write_run(tmp_path / f"{gamma}", changes={"scheduler": {**step, "gamma": gamma}})
        record = json.loads((path / "run.json").read_text())
        record["choices"]["scheduler"] = "step"
        (path / "run.json").write_text(json.dumps(record))
    (made,) = build_tables(models(tmp_path), TableOptions(**TABLE), weights="last")
    assert made.row_keys == ["scheduler", "scheduler.gamma"]
    assert made.rows == ["cosine, none", "step, 0.5", "step, 0.9"]
    given = TableOptions(**{**TABLE, "rows": "scheduler.gamma"})
    with pytest.raises(
        ValueError, match=r"^table.rows must .* got scheduler.gamma.*cosine has none"
    ):
        build_tables(models(tmp_path), given, weights="last")


@pytest.mark.parametrize("mode", ["max", "min"])
def test_of_a_metric_of_ones_own_the_mode_says_which_is_best(mode: str, tmp_path: Path) -> None:
    write_metrics(tmp_path, "f1", cosine=[0.90, 0.91, 0.92], linear=[0.50, 0.51, 0.52])
    for path in tmp_path.glob("*/config.yaml"):
        config = yaml.safe_load(path.read_text())
        config["task"] |= {"monitor": "f1", "mode": mode}
        path.write_text(yaml.safe_dump(config))
    found = models(tmp_path)
    assert main_metric(found) == "test/f1"
    columns = [Column(label="f1", metric="test/f1", models="model")]
    made = table(tmp_path, columns=columns)
    assert [row for (row, _), cell in made.cells.items() if cell.is_best] == [
        "cosine" if mode == "max" else "linear"
    ]
    assert higher_is_better("val/f1", found) is (mode == "max")
    assert higher_is_better("test/top1", found)
    assert not higher_is_better("test/f2", found)


def test_the_default_metric_is_on_a_split_that_all_finished_runs_have(tmp_path: Path) -> None:
    write_run(tmp_path / "tested", lr=0.2)
    path = write_run(tmp_path / "not") / "run.json"
    record = json.loads(path.read_text())
    del record["results"]["test"]
    path.write_text(json.dumps(record))
    (made,) = build_tables(models(tmp_path), TableOptions(**TABLE), weights="last")
    assert {column.metric for column in made.columns} == {"val/top1"}
    given = TableOptions(**{**TABLE, "value": "test/top1"})
    with pytest.raises(ValueError, match=r"^table.value must be .* missing in .*not"):
        build_tables(models(tmp_path), given, weights="last")


def test_parts_and_observers_are_no_settings_of_a_table(tmp_path: Path) -> None:
    observers = {"mine": {"_target_": "mine.Observer"}}
    for seed in (1, 2):
        changes = {"parts": ["mine"] * (seed - 1), "observers": observers if seed == 2 else {}}
        write_run(tmp_path / str(seed), seed=seed, changes=changes)
    assert varying_settings(models(tmp_path)) == ["averaged.decay"]


def test_a_metric_may_begin_like_a_model(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", decay=[0.9, 0.99]) / "metrics.jsonl"
    path.write_text(path.read_text().replace("top1", "uniformity"))
    names = metric_names(models(tmp_path))
    assert [name for name in names if name.startswith("val/")] == ["val/loss", "val/uniformity"]


def test_rows_of_drawn_values_have_3_digits(tmp_path: Path) -> None:
    for number, lr in enumerate((0.0302852515, 0.4073657656)):
        write_run(tmp_path / str(number), lr=lr)
    assert table(tmp_path, rows=["optimizer.lr"]).rows == ["0.0303", "0.407"]
    write_run(tmp_path / "near", lr=0.0302961049)
    assert table(tmp_path, rows=["optimizer.lr"]).rows == ["0.0302853", "0.0302961", "0.407366"]


def test_data_sets_can_be_columns(tmp_path: Path) -> None:
    for choice in ("cifar10", "digits"):
        for scheduler in ("cosine", "linear"):
            run = write_run(tmp_path / f"{choice}_{scheduler}", scheduler=scheduler)
            write_data_set(run, choice=choice, root=None)
    given = TableOptions(**{**TABLE, "columns": "dataset", "rows": "scheduler"})
    (made,) = build_tables(models(tmp_path), given, weights="last")
    assert made.header == ["scheduler", "dataset: cifar10", "dataset: digits"]
    assert [made.rows, len(made.cells)] == [["cosine", "linear"], 4]


def test_mixed_tasks_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "one")
    other = {"task": {"name": "keypoints", "monitor": "nme", "mode": "min"}}
    write_run(tmp_path / "two", changes=other)
    with pytest.raises(ValueError, match=r"one task, got classification, keypoints$"):
        table(tmp_path)


def test_nothing_finished_is_one_line(tmp_path: Path) -> None:
    write_run(tmp_path / "run", status="failed")
    with pytest.raises(ValueError, match=r"^runs of a table must be finished, got none of 2"):
        table(tmp_path)


def test_reports_say_what_they_are(tmp_path: Path) -> None:
    text = to_markdown(table(write_grid(tmp_path)))
    assert "test/top1; mean ± standard deviation over 3 seeds" in text
