"""Plan files of launched trainings, in the folder `.sweep` of a multirun."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionlab.config.run_config import to_yaml
from visionlab.files.atomic import write_json
from visionlab.files.documents import expect_mapping, parse_json, read_text
from visionlab.files.run_folder import read_yaml


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """The jobs of one launched training."""

    begun: str  # start time of the multirun, formatted as in run.json
    fail_fast: bool  # skip the training if another job has failed since then
    jobs: Mapping[str, Mapping[str, Any]]  # settings by name
    compositions: Mapping[str, Mapping[str, Any]]  # by name, see `Invocation.composition`


def write_plan(path: Path, plan: TrainingPlan) -> None:
    """Write a plan; its settings are YAML, because JSON loses infinity and integer keys."""
    jobs = {name: to_yaml(plan.jobs[name]) for name in plan.jobs}
    write_json(path, {**vars(plan), "jobs": jobs})


def read_plan(path: Path) -> TrainingPlan:
    """Read a plan.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    content = expect_mapping(
        parse_json(read_text(path), origin=path), origin=path, holding="a plan"
    )
    try:
        jobs = {name: read_yaml(text, origin=path) for name, text in content["jobs"].items()}
        return TrainingPlan(**{**content, "jobs": jobs})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} must hold a plan of trainings, got other content") from error
