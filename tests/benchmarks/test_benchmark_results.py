"""Benchmarks say no more than they measured, and rewrite only their own sections."""

import importlib
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from processes import ROOT

FOLDER = ROOT / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def sides(load: None) -> ModuleType:
    return importlib.import_module("sides")


@pytest.fixture
def results(load: None) -> ModuleType:
    return importlib.import_module("results")


@pytest.fixture
def run_all(load: None) -> ModuleType:
    return importlib.import_module("run_all")


@pytest.mark.parametrize(
    ("ratios", "text"),
    [
        ([0.5, 0.4, 0.6], "0.500 (0.400-0.600)"),
        ([2.0, 1.6, 2.5], "2.000 (1.600-2.500)"),
        ([1.02, 1.01, 1.04], "no difference within the spread (1.010-1.040)"),
        ([1.02, 1.02, 1.03], "1.020 (1.020-1.030)"),
        ([0.95, 0.9, 1.2], "no difference within the spread (0.900-1.200)"),
        ([1.5, 1.2, 2.0], "no difference within the spread (1.200-2.000)"),
        ([1.0, 1.0], "1.000"),
        ([3.0], "3.000 in one round"),
    ],
)
def test_a_ratio_is_given_only_where_the_sides_differ_by_more_than_the_rounds(
    ratios: list[float], text: str, sides: ModuleType
) -> None:
    assert sides.describe_ratio(ratios) == text


def test_a_ratio_and_its_inverse_are_given_or_refused_alike(sides: ModuleType) -> None:
    for ratios in ([0.5, 0.4, 0.6], [1.1, 1.05, 1.3], [0.2, 0.1, 0.9], [3.0, 1.5, 4.0]):
        inverse = [1.0 / ratio for ratio in ratios]
        refused = ["no difference" in sides.describe_ratio(each) for each in (ratios, inverse)]
        assert refused[0] == refused[1]


@pytest.mark.parametrize(
    ("values", "goal", "verdict"),
    [
        ([1.01, 1.02], {"at_most": 1.05}, ", met"),
        ([1.01, 1.06], {"at_most": 1.05}, ", undecided"),
        ([1.06, 1.07], {"at_most": 1.05}, ", missed"),
        ([1.3, 1.4], {"at_least": 1.25}, ", met"),
        ([1.1, 1.2], {"at_least": 1.25}, ", missed"),
        ([1.1, 1.2], {}, ")"),
    ],
)
def test_a_goal_is_met_or_missed_only_if_all_rounds_say_so(
    values: list[float], goal: dict[str, float], verdict: str, sides: ModuleType
) -> None:
    claim = sides.Claim(text="", values=values, **goal)
    assert sides.describe_claim(claim).endswith(verdict)


def test_a_speedup_is_the_inverse_of_a_slowdown(sides: ModuleType) -> None:
    found = sides.Comparison(title="", seconds={"a": [1.0, 2.0], "b": [2.0, 8.0]}, count=4)
    assert sides.slowdown(found, "b", "a", "", at_most=None).values == [2.0, 4.0]
    assert sides.speedup(found, "a", "b", "", at_least=None).values == [2.0, 4.0]


def test_sides_alternate_and_the_first_round_does_not_count(sides: ModuleType) -> None:
    calls: list[str] = []
    two = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    found = sides.compare("", two, rounds=2, count=1)
    assert calls == ["a", "b"] * 3
    assert [len(each) for each in found.seconds.values()] == [2, 2]


def test_results_are_markdown_and_survive_a_file(
    tmp_path: Path, sides: ModuleType, results: ModuleType
) -> None:
    shown = [
        sides.Comparison(title="Steps", seconds={"a": [1.0, 1.0], "b": [2.0, 2.5]}, count=100),
        sides.Claim(text="b", values=[12.0], unit="s", at_most=60),
        sides.Table(title="Phases", columns=["phase", "seconds"], rows=[["start", "1.5"]]),
    ]
    results.write_json(tmp_path / "results.json", {"date": "today"}, shown)
    machine, read = results.read_json(tmp_path / "results.json")
    assert machine == {"date": "today"}
    wanted = """\
| claim | goal | measured |
|---|---|---|
| b | at most 60 s | 12.00 s, met |

### Steps

| side | images/s, median (min-max) | time against the first |
|---|---|---|
| a | 100.0 (100.0-100.0) | 1 |
| b | 45.0 (40.0-50.0) | 2.250 (2.000-2.500) |

### Phases

| phase | seconds |
|---|---|
| start | 1.5 |"""
    assert results.to_markdown(read) == results.to_markdown(shown) == wanted


def test_a_section_is_replaced_and_the_rest_stays(run_all: ModuleType) -> None:
    text = "a\n<!-- x.py -->\nold\n<!-- end of x.py -->\nb <!-- y.py -->\n"
    new = "a\n<!-- x.py -->\n\nnew\n\n<!-- end of x.py -->\nb <!-- y.py -->\n"
    assert run_all.replace_section(text, "x", "new") == new
    assert run_all.replace_section(new, "x", "new") == new
    with pytest.raises(ValueError, match=r"y\.py"):
        run_all.replace_section(text, "y", "new")


def test_the_results_have_a_section_for_each_benchmark(run_all: ModuleType) -> None:
    text = (FOLDER / "RESULTS.md").read_text()
    for name in run_all.SCRIPTS:
        assert (FOLDER / f"{name}.py").exists()
        run_all.replace_section(text, name, "")


def test_a_commit_is_dirty_if_code_changed_but_not_if_results_did(
    tmp_path: Path, load: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = importlib.import_module("machine")
    (tmp_path / "benchmarks").mkdir()
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "benchmarks" / "machine.py"))
    assert machine.describe_commit() == "unknown"
    for name in ("code.py", "benchmarks/RESULTS.md"):
        (tmp_path / name).write_text("old")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (tmp_path / "benchmarks/RESULTS.md").write_text("new")
    assert "dirty" not in machine.describe_commit()
    (tmp_path / "code.py").write_text("new")
    assert machine.describe_commit().endswith(", dirty")
