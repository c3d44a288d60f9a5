"""What a report says, and that it is one well-formed file."""

import base64
import hashlib
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from PIL import Image
from run_folders import write_grid, write_run

from visionlab.analysis.comparisons import add_differences
from visionlab.analysis.figures import style
from visionlab.analysis.models import ModelRecord, model_records
from visionlab.analysis.records import read_runs
from visionlab.analysis.report import write_report
from visionlab.analysis.table_formats import describe, to_markdown
from visionlab.analysis.table_layout import columns_over
from visionlab.analysis.tables import NumberFormat, Table, make_table

VOID = {"meta", "link", "img", "input", "wbr"}
NUMBER_FORMAT = NumberFormat(scale=100, decimals=2)


class Page(HTMLParser):
    """The elements of a page, each with its attributes and text, in order.

    Attributes:
        elements: name, attributes, text within, text of its cells if it is a row.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text()
        self.elements: list[dict[str, Any]] = []
        self._open: list[dict[str, Any]] = []
        self.feed(self.text)
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len(dict(attributes)) == len(attributes)
        element = {"name": name, "text": "", "attributes": dict(attributes), "cells": []}
        self.elements.append(element)
        if name in ("td", "th"):
            self._open[-1]["cells"].append(element)
        if name not in VOID:
            self._open.append(element)

    def handle_endtag(self, name: str) -> None:
        assert self._open.pop()["name"] == name

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element["text"] += data

    def all(self, name: str, **attributes: str) -> list[dict[str, Any]]:
        """Return the elements of a name that have some attributes."""
        return [
            each
            for each in self.elements
            if each["name"] == name and attributes.items() <= each["attributes"].items()
        ]

    def only(self, name: str, **attributes: str) -> dict[str, Any]:
        (found,) = self.all(name, **attributes)
        return found

    def rows(self) -> list[list[str]]:
        return [[cell["text"] for cell in row["cells"]] for row in self.all("tr")]

    def facts(self) -> dict[str, str]:
        names, said = ([each["text"] for each in self.all(name)] for name in ("dt", "dd"))
        return dict(zip(names, said, strict=True))


def shown(models: list[ModelRecord]) -> Table:
    table = make_table(
        models,
        name="accuracy",
        rows=["scheduler"],
        columns=columns_over(models, "averaged.decay", metric="test/top1"),
        weights="last",
        published={"cosine": {"none": 91.4}},
        source=None,
        number_format=NUMBER_FORMAT,
    )
    return add_differences(table, columns=["none", "0.9"])


def report(
    *paths: Path, at: Path, with_table: bool = True, figures: dict[str, Path] | None = None
) -> Page:
    scan = read_runs(list(paths))
    models = model_records(scan.runs)
    write_report(
        at / "report.html",
        scan=scan,
        models=models,
        tables=[shown(models)] if with_table else [],
        figures=figures or {},
        command="python plots.py runs='a b'",
    )
    return Page(at / "report.html")


def draw(folder: Path, name: str = "curves", *, points: int = 3) -> list[Path]:
    with style.styled():
        figure = style.panel_grid(1)
        figure.axes[0].plot(range(points), [(each * 7919) % 1000 for each in range(points)], "o")
    return style.save(figure, folder, name)


def test_the_table_is_what_the_markdown_says(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid")
    page = report(grid, at=tmp_path)
    table = shown(model_records(read_runs([grid]).runs))
    rows = [each for each in page.rows() if each and each[0] in ("constant", "cosine")]
    lines = to_markdown(table).splitlines()[2 : 2 + len(table.rows)]
    said = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]
    assert rows == said
    bold = [each["text"] for each in page.all("strong")]
    assert bold == re.findall(r"\*\*(.+?)\*\*", "".join(lines))
    assert len(bold) == sum(cell.is_best for cell in table.cells.values())
    items = [each["text"] for each in page.all("li")]
    assert items == [describe(each, NUMBER_FORMAT) for each in table.differences]


def test_every_model_of_every_run_has_a_row_with_its_numbers(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", schedulers=["cosine"], decays=[0.9], seeds=[4, 5])
    write_run(tmp_path / "grid" / "torn", seed=6, status="interrupted")
    page = report(tmp_path / "grid", at=tmp_path, with_table=False)
    head, *rows = [
        row
        for row in page.rows()
        if "run folder" in row or "EMA" in row[0] + row[-1] or row[0] == "raw model"
    ]
    columns = {name: number for number, name in enumerate(head)}
    assert len(rows) == 6
    for row in rows:
        run = grid / row[columns["run folder"]]
        results = json.loads((run / "run.json").read_text()).get("results", {}).get("test", {})
        last = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][-1]
        model = {"raw model": "model", "EMA 0.9": "ema_0.9"}[row[columns["model"]]]
        assert row[columns["val/top1"]] == f"{last[f'val/{model}/top1']:.4f}"
        is_training = model == "model"
        assert row[columns["train/loss"]] == (f"{last['train/loss']:.4f}" if is_training else "-")
        if run.name == "torn":
            assert row[columns["test/top1"]] == "-"
            assert row[columns["state"]] == "interrupted, 2 of 3 epochs"
        else:
            assert row[columns["test/top1"]] == f"{results[model]['top1']:.4f}"
            assert row[columns["state"]] == "finished"
    assert "scheduler" not in columns  # the same in all


def test_it_says_what_ran(tmp_path: Path) -> None:
    write_grid(tmp_path / "grid")
    (tmp_path / "notes").mkdir()
    broken = write_run(tmp_path / "broken")
    (broken / "run.json").write_text("{")
    write_run(tmp_path / "more", scheduler="linear", seed=9, status="failed")
    page = report(tmp_path, at=tmp_path)
    facts = page.facts()
    assert page.only("title")["text"] == "classification on cifar10: 13 runs"
    assert page.only("h1")["text"] == "classification on cifar10: 13 runs"
    assert facts["Runs"] == "13: 12 finished, 1 failed"
    assert facts["Model"] == "resnet20"
    assert facts["Seeds"] == "1, 2, 3, 9"
    assert facts["Trainings"] == "13, 2 min 42 s in total"
    assert facts["Dates"] == "2026-11-21 12:00:00 to 2026-11-21 12:01:00"
    assert facts["Hardware"] == "a CPU, 1 thread"
    assert facts["Versions"] == "visionlab 0.1.0, torch 2.15.0"
    assert facts["Commit"] == "0" * 10
    assert (facts["Folders without runs"], facts["Unreadable folders"]) == ("1", "1")
    warning = page.only("div", role="note")["text"]
    assert re.search(r"broken cannot be read: .*run.json must be JSON, got Expecting", warning)
    assert "1 of 13 runs did not finish" in warning


def test_jobs_that_share_a_training_count_its_time_once(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", schedulers=["cosine"])
    for path in grid.glob("*/run.json"):
        seed = path.parent.name[-1]
        others = [f"/else/{each.name}" for each in grid.glob(f"*={seed}") if each != path.parent]
        path.write_text(
            json.dumps({**json.loads(path.read_text()), "shares_training_with": others})
        )
    assert report(grid, at=tmp_path).facts()["Trainings"] == "3, 37.5 s in total"


def test_a_model_that_runs_share_is_listed_once(tmp_path: Path) -> None:
    names = {"one": [0.5, 0.9], "two": [0.9, 0.99], "alone": [0.9]}
    for name, decays in names.items():
        path = write_run(tmp_path / name, decay=decays) / "run.json"
        others = [each for each in ("one", "two") if each != name]
        if name != "alone":
            record = {**json.loads(path.read_text()), "shares_training_with": others}
            path.write_text(json.dumps(record))
    rows = report(tmp_path, at=tmp_path, with_table=False).rows()
    listed = [row[0] for row in rows if row and row[0].startswith(("raw", "EMA"))]
    assert sorted(listed) == ["EMA 0.5", "EMA 0.9", "EMA 0.9", "EMA 0.99", "raw model", "raw model"]


def test_settings_that_differ_are_apart_from_those_in_common(tmp_path: Path) -> None:
    page = report(write_grid(tmp_path / "grid"), at=tmp_path)
    rows = {row[0]: row[1] for row in page.rows() if len(row) == 2}
    assert rows["scheduler"] == "constant (6), cosine (6)"
    assert rows["averaged.decay"] == "none (12), 0.9 (6), 0.99 (6)"
    assert rows["global_seed"] == "1 (4), 2 (4), 3 (4)"
    assert rows["optimizer.lr"] == "0.1"
    assert rows["hparams.epochs"] == "3"
    assert not [key for key in rows if key.endswith("_target_")]


def test_links_lead_to_the_runs_wherever_the_page_lies(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a run #1, 50%25=é?", scheduler="cosine")
    (tmp_path / "plots" / "new").mkdir(parents=True)
    page = report(tmp_path / "runs", at=tmp_path / "plots" / "new", with_table=False)
    targets = {each["attributes"]["href"] for each in page.all("a")}
    assert targets
    for each in targets:
        assert (tmp_path / "plots" / "new" / unquote(each) / "config.yaml").is_file()
    assert not [each for each in targets if set(each) & set("#?")]


def test_a_multirun_is_repeated_by_its_command(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid")
    task = ["scheduler=constant,cosine", "dataset.root=/my data", "averaged.decay=0.9,0.99"]
    hydra = ["hydra.mode=MULTIRUN", f"hydra.sweep.dir={grid}", "hydra.launcher.slots=2"]
    overrides = {"hydra": {"overrides": {"task": task, "hydra": hydra}}}
    (grid / "multirun.yaml").write_text(yaml.safe_dump(overrides))
    first, own = [each["text"] for each in report(grid, at=tmp_path).all("code")]
    assert shlex.split(first) == [
        *("python", "train.py", "--multirun"),
        *task,
        "hydra.launcher.slots=2",
    ]
    assert own == "python plots.py runs='a b'"


def test_other_runs_are_repeated_one_by_one(tmp_path: Path) -> None:
    write_grid(tmp_path / "grid", decays=[0.9], seeds=[1])
    silent = write_run(tmp_path / "silent", seed=5)
    record = json.loads((silent / "run.json").read_text())
    del record["overrides"]
    (silent / "run.json").write_text(json.dumps(record))
    page = report(tmp_path, at=tmp_path)
    *lines, _ = [each["text"] for each in page.all("code")]
    assert sorted(lines) == [
        "python train.py scheduler=constant",
        "python train.py scheduler=cosine",
    ]
    assert "1 run did not record the command" in page.text


def test_a_trial_is_repeated_by_train_with_the_users_own_files(tmp_path: Path) -> None:
    run = write_run(tmp_path / "tune")
    record = json.loads((run / "run.json").read_text())
    record["options"] = ["--config-dir=/mine"]
    record["overrides"] = ["n_trials=3", "~search", "pruner.n=1", "trial=0", "scheduler=cosine"]
    (run / "run.json").write_text(json.dumps(record))
    first, _ = [each["text"] for each in report(run, at=tmp_path).all("code")]
    assert first == "python train.py --config-dir=/mine scheduler=cosine"


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_a_figure_is_in_the_page_as_large_as_on_paper(suffix: str, tmp_path: Path) -> None:
    path = next(each for each in draw(tmp_path) if each.suffix == suffix)
    run = write_run(tmp_path / "run")
    page = report(run, at=tmp_path, figures={"curves": path})
    image = page.only("img")["attributes"]
    kind, content = image["src"].removeprefix("data:image/").split(";base64,")
    assert kind == {".svg": "svg+xml", ".png": "png"}[suffix]
    assert base64.b64decode(content) == path.read_bytes()
    assert (image["width"], image["height"]) == ("326", "250")  # 3.4 x 2.6 inches
    said = page.only("figcaption")["text"]
    assert said.startswith("curves: Metric over the course of training")
    assert image["alt"] == said


def test_of_a_large_svg_the_png_is_shown(tmp_path: Path) -> None:
    png, svg = draw(tmp_path, points=10_000)
    assert svg.stat().st_size > 300_000
    page = report(write_run(tmp_path / "run"), at=tmp_path, figures={"curves": svg})
    content = page.only("img")["attributes"]["src"].removeprefix("data:image/png;base64,")
    assert base64.b64decode(content) == png.read_bytes()
    with Image.open(png) as image:
        assert image.format == "PNG"


def test_figures_of_unknown_kinds_are_named(tmp_path: Path) -> None:
    svg = draw(tmp_path, "my_own_figure")[1]
    page = report(write_run(tmp_path / "run"), at=tmp_path, figures={"my_own_figure": svg})
    assert page.only("figcaption")["text"] == "my_own_figure: My own figure."


def test_what_comes_from_runs_is_text_and_nothing_else(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>&amp;\"'{{ 7 * 7 }}"
    folder = tmp_path / "runs" / "<b>run"
    write_run(folder, changes={"optimizer": {"_target_": "visionlab.Sgd", "lr": 0.1, "evil": evil}})
    record = json.loads((folder / "run.json").read_text())
    record["choices"] |= {"dataset": evil, "scheduler": evil}
    record["hardware"]["cpu"] = evil
    record["overrides"] = [evil]
    (folder / "run.json").write_text(json.dumps(record))
    broken = write_run(tmp_path / "runs" / "<i>broken")
    (broken / "run.json").write_text("{")
    page = report(tmp_path / "runs", at=tmp_path, figures={f"{evil} figure": draw(tmp_path)[1]})
    (image,) = page.all("img")
    assert image["attributes"]["alt"].startswith(f"{evil} figure: ")
    assert [each["text"] for each in page.all("b")] == [f"{evil} figure"]
    assert not page.all("i")
    assert evil in page.only("h1")["text"]
    assert evil in page.only("title")["text"]
    assert evil in page.facts()["Hardware"]
    assert evil in [row[0] for row in page.rows()]  # of the table
    assert "<b>run" in [each["text"] for each in page.all("a")]
    assert "<i>broken cannot be read" in page.only("div", role="note")["text"]
    assert shlex.split(page.all("code")[0]["text"])[-1] == evil
    assert dict(row for row in page.rows() if len(row) == 2)["optimizer.evil"] == evil


def test_nothing_is_fetched_and_only_the_own_script_may_run(tmp_path: Path) -> None:
    page = report(write_grid(tmp_path / "grid"), at=tmp_path, figures={"curves": draw(tmp_path)[1]})
    for element in page.elements:
        for name, value in element["attributes"].items():
            assert not name.startswith("on")
            assert name != "style"
            if name in ("src", "srcset", "data") or (element["name"] == "link" and name == "href"):
                assert value.startswith("data:")
    ids = [each["attributes"]["id"] for each in page.elements if "id" in each["attributes"]]
    assert len(set(ids)) == len(ids)
    policy = page.only("meta", **{"http-equiv": "Content-Security-Policy"})["attributes"]["content"]
    parts = dict(each.strip().split(" ", 1) for each in policy.split(";"))
    assert parts["default-src"] == "'none'"
    assert parts["img-src"] == "data:"
    for name in ("script", "style"):
        (text,) = re.findall(rf"<{name}>(.*?)</{name}>", page.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert parts[f"{name}-src"] == f"'sha256-{digest}'"
        assert "@import" not in text
        assert "url(" not in text


def test_each_task_and_data_set_has_its_own_table_of_models(tmp_path: Path) -> None:
    write_run(tmp_path / "one")
    other = {"task": {"name": "keypoints", "monitor": "nme", "mode": "min"}}
    path = write_run(tmp_path / "two", lr=0.2, changes=other) / "run.json"
    path.write_text(path.read_text().replace("top1", "nme"))
    page = report(tmp_path, at=tmp_path, with_table=False)
    assert page.facts()["Task"] == "classification (1), keypoints (1)"
    tables = page.all("table", **{"class": "sortable"})
    metrics = ("test/top1", "test/nme"), ("test/nme", "test/top1")
    for table, (shown, hidden) in zip(tables, metrics, strict=True):
        assert shown in table["text"].replace("\u200b", "")
        assert hidden not in table["text"].replace("\u200b", "")


def test_a_run_that_has_nothing_yet_has_a_row(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "metrics.jsonl").unlink()
    (folder / "run.json").unlink()
    page = report(folder, at=tmp_path, with_table=False)
    assert page.facts()["Runs"] == "1: 1 waiting"
    assert "waiting, 0 of 3 epochs" in page.text


def test_a_large_sweep_stays_small(tmp_path: Path) -> None:
    schedulers = ("cosine", "constant", "linear")
    decays = [0.9, 0.99, 0.999, 0.9995, 0.9997]
    for scheduler in schedulers:
        for seed in range(25):
            folder = tmp_path / "grid" / f"scheduler={scheduler},global_seed={seed}"
            write_run(folder, scheduler=scheduler, seed=seed, decay=decays, epochs=1)
    page = report(tmp_path / "grid", at=tmp_path)
    assert len(page.all("tr")) > 75 * 6
    assert len(page.text) < 1_000_000


def test_the_page_does_not_depend_on_when_it_is_written(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid")
    assert report(grid, at=tmp_path).text == report(grid, at=tmp_path).text
