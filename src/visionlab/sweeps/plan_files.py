"""What a launched training is told, as a file in the multirun's folder `.sweep`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from visionlab.storage import write_json


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one launched job has to do; a file tells it.

    Attributes:
        begun: when the multirun began, as in run.json.
        fail_fast: whether to leave it when another job of the multirun has failed since.
        jobs: their settings by name.
    """

    begun: str
    fail_fast: bool
    jobs: Mapping[str, Mapping[str, Any]]


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan."""
    write_json(path, asdict(plan))


def read_plan(path: Path) -> Plan:
    """Read a plan."""
    return Plan(**json.loads(path.read_text(encoding="utf-8")))
