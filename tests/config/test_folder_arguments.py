"""Folders on the command line without the name of a setting."""

from pathlib import Path

import pytest

from visionlab.config.folder_arguments import name_folders


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["a", "sort=age", "b c"], ["sort=age", "runs=['a','b c']"]),
        (["it's"], [r"runs=['it\'s']"]),
        (["a${b}"], [r"runs=['a\${b}']"]),
        (["state=failed", "where.optimizer.lr=0.1"], ["state=failed", "where.optimizer.lr=0.1"]),
        (["--cfg", "-m"], ["--cfg", "-m"]),
        (["a", "--help"], ["a", "--help"]),
    ],
)
def test_folders_are_a_setting(arguments: list[str], named: list[str]) -> None:
    assert name_folders(arguments, script="runs") == named


def test_a_folder_of_a_job_is_no_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("scheduler=cosine", "task=detection"):
        Path(name).mkdir()
    given = ["scheduler=cosine", "task=detection", "sorted=age"]
    named = name_folders(given, script="runs")
    assert named == ["task=detection", "sorted=age", "runs=['scheduler=cosine']"]


def test_other_commands_have_no_such_folders() -> None:
    assert name_folders(["a"], script="plots") == ["a"]


def test_folders_are_given_in_one_way() -> None:
    with pytest.raises(ValueError, match="runs must be given once, got a and runs=b"):
        name_folders(["a", "runs=b"], script="runs")
