"""Imports of the room, each seen in a fresh process."""

import subprocess
import sys
from pathlib import Path

import pytest
from processes import ENVIRONMENT, ROOT

SOURCE = ROOT / "src"
MODULES = [
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((SOURCE / "visionlab" / "analysis").rglob("*.py"))
]


def imported(modules: list[str], folder: Path) -> set[str]:
    """Return the top-level packages that are loaded once some modules are imported."""
    code = (
        f"import sys, {', '.join(modules)}; print(*{{each.split('.')[0] for each in sys.modules}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**ENVIRONMENT, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_no_module_needs_torch_or_hydra(tmp_path: Path) -> None:
    assert len(MODULES) > 30
    found = imported(MODULES, tmp_path)
    assert {"numpy", "matplotlib", "jinja2"} <= found
    assert not found & {"torch", "torchvision", "hydra", "omegaconf"}


@pytest.mark.parametrize(
    "module",
    ["visionlab.analysis", "visionlab.analysis.options", "visionlab.analysis.report"],
)
def test_only_figures_need_matplotlib(module: str, tmp_path: Path) -> None:
    assert not imported([module], tmp_path) & {"matplotlib", "scipy", "torch", "hydra"}
