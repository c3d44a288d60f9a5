"""`--help` with the files and parts of a user."""

import re
from pathlib import Path

import pytest

from visionlab.config.command_line import CONF, register
from visionlab.config.help import help_text

PARTS = '''
class Stairs:
    """Halves the rate.

    Args:
        num_stairs: of the run.
        factor: of the rate.
    """

    def __init__(self, *, num_stairs: int, factor: float = 0.5) -> None: ...
'''


@pytest.fixture(autouse=True)
def schemas() -> None:
    register()


def test_a_file_of_the_users_own_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stairs_part.py").write_text(PARTS)
    own = tmp_path / "it's mine, too"
    (own / "scheduler").mkdir(parents=True)
    (own / "scheduler" / "stairs.yaml").write_text("_target_: stairs_part.Stairs\nnum_stairs: 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    lines = help_text("train", ["scheduler=stairs"], folders=[Path(CONF), own]).splitlines()
    assert [line.split() for line in lines[2:]] == [
        ["scheduler.num_stairs", "3", "of", "the", "run."],
        ["+scheduler.factor", "0.5", "of", "the", "rate."],
    ]


def test_files_of_visionlab_set_everything() -> None:
    assert "  +" not in help_text("train", [], folders=[Path(CONF)])


def test_a_part_of_several_tasks_has_meanings() -> None:
    said = help_text("train", ["dataset=cifar10"], folders=[Path(CONF)])
    assert re.search(r"dataset.num_classes +10 +10 or 100", said)


def test_a_group_lists_its_files(tmp_path: Path) -> None:
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "stairs.yaml").write_text("# @package _global_\n# halves it\n")
    lines = help_text("train", ["scheduler"], folders=[Path(CONF), tmp_path]).splitlines()
    files = {line.split()[0]: line.split()[1:] for line in lines[1:-1]}
    assert set(files) == {path.stem for path in Path(CONF, "scheduler").iterdir()} | {"stairs"}
    assert files["stairs"] == ["halves", "it"]
    assert all(files.values())


@pytest.mark.parametrize(
    ("choice", "hint"), [("schedular", "did you mean scheduler"), ("xyz", "a group is .*dataset")]
)
def test_what_is_no_group_is_refused(choice: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"--help must .* a group or .*, got {choice}; {hint}"):
        help_text("train", [choice], folders=[Path(CONF)])
