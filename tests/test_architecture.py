"""The layers of `docs/architecture.md`, held by reading imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "visionlab"
MODULES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))
LAYERS = {
    "seeding": 0,
    "schedules": 0,
    "range_test": 0,
    "suggestions": 0,
    "averaging": 0,
    "storage": 0,
    "run_files": 0,
    "tensor_files": 1,
    "optimizers": 0,
    "settings": 0,
    "terminal": 0,
    "geometry": 0,
    "boxes": 0,
    "processes": 0,
    "plateau": 1,
    "task": 1,
    "outputs": 1,
    "data": 2,
    "models": 2,
    "losses": 2,
    "metrics": 2,
    "pictures": 2,
    "engine": 3,
    "ensembles": 4,
    "recipes": 4,
    "messages": 4,
    "command_line": 5,
    "configs": 4,
    "experiment": 5,
    "analysis": 5,
    "training": 6,
    "sample_pictures": 6,
    "plotting": 7,
    "final_results": 7,
    "runs": 8,
    "evaluations": 8,
    "sweeps": 9,
}
HYDRA_ALLOWED = {
    "configs.py",
    "experiment.py",
    "training.py",
    "runs.py",
    "evaluations.py",
    "command_line.py",
    "messages.py",
    "plotting.py",
    "sample_pictures.py",
    "sweeps/checks.py",
    "sweeps/jobs.py",
    "sweeps/launching.py",
    "sweeps/lost_jobs.py",
    "sweeps/multirun.py",
    "sweeps/trainings.py",
}
LIGHT = [
    "messages.py",
    "command_line.py",
    "settings/parts.py",
    "settings/scripts.py",
    "settings/detection.py",
    "settings/keypoints.py",
    "data/asked_points.py",
    "data/check_points.py",
    "data/check_submission.py",
    "data/submission_report.py",
    "schedules.py",
    "storage.py",
    "run_files.py",
    "plateau.py",
    "terminal.py",
    "processes.py",
    "engine/following.py",
    "engine/interrupt.py",
    "engine/plan.py",
    "configs.py",
    "sweeps/jobs.py",
    "sweeps/preloaded.py",
    "sweeps/processes.py",
    "sweeps/standing.py",
    "sweeps/tuning_plan.py",
    "sweeps/space.py",
    "sweeps/storage_url.py",
    "plotting.py",
    "analysis/__init__.py",
]
MAX_LINES = 300


def _imports(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse((SOURCE / module).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _room(dotted: str) -> str:
    return dotted.split(".")[0].removesuffix(".py").split("/")[0]


def test_the_modules_are_found() -> None:
    assert len(MODULES) > 30


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_below_or_its_own_room(module: str) -> None:
    ours = _room(module)
    if ours == "__init__":
        return
    for name in _imports(module):
        if name.startswith("visionlab."):
            theirs = name.split(".")[1]
            assert LAYERS[theirs] < LAYERS[ours] or theirs == ours, name


@pytest.mark.parametrize("module", MODULES)
def test_hydra_stays_at_the_edge_and_nothing_prints(module: str) -> None:
    tree = ast.parse((SOURCE / module).read_text())
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    printing = [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]
    assert not printing or module in ("command_line.py", "messages.py")
    if module not in HYDRA_ALLOWED and _room(module) != "sweeps":
        assert not [name for name in _imports(module) if name.startswith(("hydra", "omegaconf"))]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_not_too_long(module: str) -> None:
    assert len((SOURCE / module).read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("module", LIGHT)
def test_what_answers_a_wrong_command_line_imports_no_torch(module: str) -> None:
    heavy = ("torch", "timm", "numpy", "sklearn", "optuna")
    assert not [name for name in _imports(module) if name.split(".")[0] in heavy]


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("engine/")])
def test_the_engine_knows_no_task(module: str) -> None:
    text = (SOURCE / module).read_text().lower()
    assert not [word for word in ("classification", "box", "landmark", "keypoint") if word in text]
