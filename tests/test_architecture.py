"""The layers of `docs/architecture.md`, checked by reading imports."""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "visionlab"
MODULES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))
LAYERS = {  # rooms of one number never import each other
    "core": 0,
    "files": 1,
    "config": 2,
    "task": 3,
    "analysis": 3,
    "optim": 4,
    "images": 4,
    "backbones": 4,
    "tasks": 5,
    "engine": 5,
    "ensembles": 5,
    "testing": 6,
    "runs": 6,
    "sweeps": 7,
}
HYDRA_ROOMS = ("config", "runs", "sweeps")
TORCH_FREE = ("config", "analysis", "sweeps/multirun", "sweeps/tuning", "sweeps/launcher")
MAX_LINES = 300


def _imports(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse((SOURCE / module).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _room(dotted: str) -> str:
    return dotted.removesuffix(".py").replace("/", ".").split(".")[0]


def _dotted(module: str) -> str:
    return "visionlab." + module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def test_the_modules_are_found() -> None:
    assert len(MODULES) > 100


def test_the_rooms_are_those_of_the_design() -> None:
    loose = {path.name for path in SOURCE.iterdir() if path.suffix == ".py"}
    assert loose == {"__init__.py", "__main__.py", "task.py"}
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert rooms == set(LAYERS) - {"task"}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_below_or_its_own_room(module: str) -> None:
    if module in ("__init__.py", "__main__.py"):
        return
    ours = _room(module)
    for name in _imports(module):
        if name.startswith("visionlab."):
            theirs = name.split(".")[1]
            assert LAYERS[theirs] < LAYERS[ours] or theirs == ours, name


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("tasks/")])
def test_a_task_imports_no_other_task(module: str) -> None:
    ours = module.split("/")[1]
    for name in _imports(module):
        if name.startswith("visionlab.tasks."):
            assert name.split(".")[2] == ours, name


@pytest.mark.parametrize("module", MODULES)
def test_hydra_stays_at_the_edge_and_nothing_prints(module: str) -> None:
    tree = ast.parse((SOURCE / module).read_text())
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    printing = [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]
    assert not printing or _room(module) == "config"
    if _room(module) not in (*HYDRA_ROOMS, "__main__"):
        assert not [name for name in _imports(module) if name.startswith(("hydra", "omegaconf"))]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_not_too_long(module: str) -> None:
    assert len((SOURCE / module).read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("room", TORCH_FREE)
def test_a_torch_free_room_imports_no_torch(room: str) -> None:
    modules = [_dotted(name) for name in MODULES if name.startswith(f"{room}/")]
    assert modules
    check = (
        f"import sys, {', '.join(modules)}; print(sorted({{'torch', 'timm'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_git_and_hence_the_wheel_leave_out_no_module() -> None:
    paths = [str(SOURCE / name) for name in MODULES]
    command = ["git", "check-ignore", "--no-index", *paths]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False)
    assert done.stdout == ""


def test_a_classifier_of_our_own_needs_no_slow_library_to_start() -> None:
    # timm, torchvision, matplotlib and scikit-learn took 3 of 8 seconds before the first step
    check = (
        "import sys, visionlab.runs.train, visionlab.tasks.classification, visionlab.optim; "
        "print(sorted({'timm', 'torchvision', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("engine/")])
def test_the_engine_knows_no_task(module: str) -> None:
    text = (SOURCE / module).read_text().lower()
    assert not [word for word in ("classification", "box", "landmark", "keypoint") if word in text]


def test_files_of_tests_have_names_of_their_own() -> None:
    names = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []  # pytest refuses them
