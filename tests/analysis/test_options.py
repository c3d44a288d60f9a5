"""Options refuse what is out of range, before anything is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from figure_inputs import inputs
from run_folders import write_run

from visionlab.config.instantiate import instantiate_part

TABLE: dict[str, Any] = {
    "name": "table",
    "rows": None,
    "columns": None,
    "value": None,
    "models": None,
    "compare": None,
    "gain": None,
    "scale": 1.0,
    "decimals": 4,
    "source": None,
    "published": {},
}
PLANNED: dict[str, Any] = {"schedulers": None, "lr": 0.1, "epochs": 2, "steps_per_epoch": 3}


def build(name: str, settings: Mapping[str, Any], *, key: str) -> Any:
    """Return options as `plots.py` builds them: errors name the full key."""
    return instantiate_part({"_target_": f"visionlab.analysis.{name}", **settings}, key=key)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": "hour"}, r"^x must be epoch or step, got hour$"),
        ({"weights": "bset"}, r"^weights must be last or best, got bset$"),
        ({"sort": "luck"}, r"^sort must be stability, .* or mismatch, got luck$"),
        ({"num_samples": 0}, r"^num_samples must be >= 1, got 0$"),
        ({"window": 0}, r"^window must be >= 1, got 0$"),
        ({"epochs": (9, 3)}, r"^epochs must be .*, got \[9, 3\]$"),
        ({"broken_axis": (1.0,)}, r"^broken_axis must be .*, got \[1.0\]$"),
    ],
)
def test_figures(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        inputs(run, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../x"}, r"^table.name must be a file name without folders, got '../x'$"),
        ({"name": "a/b"}, r"^table.name must be a file name .*, got 'a/b'$"),
        ({"name": ""}, r"^table.name must be a file name .*, got ''$"),
        ({"columns": {}}, r"^table.columns must be .* or null, got \{\}$"),
        ({"compare": ["none"]}, r"^table.compare must be two columns, got \['none'\]$"),
        ({"gain": ["a", "b", "c"]}, r"^table.gain must be two columns, got .*$"),
        ({"scale": 0.0}, r"^table.scale must be > 0, got 0.0$"),
        ({"decimals": 11}, r"^table.decimals must be in \[0, 10\], got 11$"),
        ({"columns": {"a": {"models": "any"}}}, r"^table.columns.a must have value .*, got \{.*"),
        ({"columns": {"a": {"value": "x", "model": "any"}}}, r"^table.columns.a must have .*"),
    ],
)
def test_tables(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build("TableOptions", {**TABLE, **changes}, key="table")


@pytest.mark.parametrize(("name", "value"), [("lr", 0.0), ("epochs", 0), ("steps_per_epoch", 0)])
def test_planned_schedules(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^planned.{name} must be >=? .*, got {value}$"):
        build("PlannedOptions", {**PLANNED, name: value}, key="planned")
