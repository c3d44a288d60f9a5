"""The files and commands of `docs/your-own-parts.md`, run in a folder outside the checkout."""

import json
import re
import shlex
from pathlib import Path

import pytest
from processes import ROOT, only_run, script

pytestmark = pytest.mark.integration

DOCS = (ROOT / "docs" / "your-own-parts.md").read_text()
BLOCKS = re.findall(r"```\w+\n# (\S+)\n(.*?)```", DOCS, flags=re.DOTALL)
COMMANDS = [
    line.removeprefix("    python train.py ")
    for line in DOCS.splitlines()
    if line.startswith("    python train.py ")
]
SHORT = ["hparams.epochs=1", "stop.max_steps=3", "threads=1", "device=cpu", "tensorboard=false"]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    for name, content in BLOCKS:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "my_package" / "__init__.py").touch()
    return tmp_path


def test_the_files_and_commands_are_found() -> None:
    assert len(BLOCKS) == 11
    assert len(COMMANDS) == 6


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_docs_trains(command: str, mine: Path) -> None:
    done = script("train.py", *shlex.split(command), *SHORT, folder=mine)
    assert done.returncode == 0, done.stderr
    run = only_run(mine)
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished"
    for package, code in record["parts"].items():
        assert package in command
        assert re.fullmatch(r"[0-9a-f]{64}", code["sha256"])
    if "observers" in command:
        assert (run / "losses.txt").is_file()


def test_outside_parts_of_a_run_are_used_only_if_they_are_allowed_again(mine: Path) -> None:
    arguments = ["--config-dir", "my_conf", "parts=[my_package]", "model=mlp"]
    done = script("train.py", *arguments, *SHORT, folder=mine)
    assert done.returncode == 0, done.stderr
    run = only_run(mine)
    assert f"python eval.py run={run} 'parts=[my_package]'," in done.stdout
    for again in (["eval.py", f"run={run}"], ["train.py", f"resume={run}"]):
        refused = script(*again, folder=mine)
        assert refused.returncode == 1
        assert "model._target_ must be in visionlab or a package named in parts" in refused.stderr
        allowed = script(*again, "parts=[my_package]", folder=mine)
        assert allowed.returncode == 0, allowed.stderr


def test_help_lists_the_settings_of_an_outside_part(mine: Path) -> None:
    (line,) = re.findall(r"`python train.py (--help .*)`", DOCS)
    done = script("train.py", *shlex.split(line), folder=mine)
    assert done.returncode == 0, done.stderr
    assert re.search(r"dataset.num_images +400 +of the training", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scheduler=sawtooth", "scheduler.period_epoch=1"], "mean scheduler.period_epochs[?]"),
        (["parts=my_package"], r"parts must be a list, as parts=\[my_package\], got my_package"),
    ],
)
def test_a_misspelt_setting_of_an_outside_part_is_guessed(
    arguments: list[str], message: str, mine: Path
) -> None:
    own = ["--config-dir", "my_conf", "parts=[my_package]"]
    done = script("train.py", *own, *arguments, folder=mine)
    assert done.returncode == 2
    assert re.search(message, done.stderr), done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scheduler=sawtooth", "scheduler.period_epochs=x"], "period_epochs must be a whole num"),
        (["scheduler=sawtooth", "scheduler.period_epochs=0"], "period_epochs must be >= 1, got 0"),
        (["model=mlp", "+model.widht=3"], "model.widht must be a setting of mlp; did you mean"),
    ],
)
def test_a_wrong_setting_of_an_outside_part_is_one_line(
    arguments: list[str], message: str, mine: Path
) -> None:
    own = ["--config-dir", "my_conf", "parts=[my_package]"]
    done = script("train.py", *own, *arguments, *SHORT, folder=mine)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(mine.glob("outputs/*/*"))
