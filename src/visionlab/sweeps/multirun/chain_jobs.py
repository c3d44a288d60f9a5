"""Compose the jobs of a multirun of chains: each stage is one, and equal stages are one job."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from visionlab.config.chains import Stage, compose_stages, place_stages
from visionlab.config.command_line import folder_name
from visionlab.config.overrides import sweep_values
from visionlab.config.run_config import compose_option
from visionlab.sweeps.multirun.jobs import Job, check_values, grid_points

_CHAIN, _OVERRIDES = "chain", "chain.overrides"


def is_of_chains(arguments: Sequence[str]) -> bool:
    """Return whether a multirun is one of chains."""
    return any(each.startswith(f"{_OVERRIDES}=") for each in arguments)


def compose_chain_jobs(loader: ConfigLoader, arguments: Sequence[str], *, sweep: Path) -> list[Job]:
    """Return the stages of all chains of a grid as jobs, each after those that it starts from.

    A stage is named by itself and by the swept settings that lead to it: its own, and those of the
    stages that it starts from. `sweep` is the folder of the multirun.

    Raises:
        ValueError: a setting of a stage is wrong, or lists a value twice.
        HydraException: Hydra refuses an override.
    """
    parser = OverridesParser.create(config_loader=loader)
    given = {each.key_or_group: each for each in parser.parse_overrides(list(arguments))}
    options = [each for each in arguments if each.startswith("parts=")]
    overrides: Any = next(given[_OVERRIDES].sweep_iterator())  # a choice of one, see `as_choice`
    parsed = parser.parse_overrides([each.text for each in overrides])
    for override in (given[_CHAIN], *parsed):
        check_values(override)
        _check_launcher(override)
    chains = [f"{_CHAIN}={name}" for name in _values(given[_CHAIN])]
    points = [[chain, *point] for chain in chains for point in grid_points(parsed)]
    count = Counter(override for point in points for override in point)
    jobs: dict[str, Job] = {}
    for chain, *point in points:
        swept = [each for each in point if count[each] < len(points)]
        files = compose_option(_CHAIN, chain.partition("=")[2], key=_CHAIN)["stages"]
        composed = compose_stages(files, point, options=options)
        leading = {
            name: [
                *([chain] if len(chains) > 1 else []),
                *(each for each in swept if each in stage.leading),
            ]
            for name, stage in composed.items()
        }
        folders = {name: sweep / _folder_name(name, leading[name]) for name in composed}
        for name, stage in place_stages(composed, folders).items():
            job = _job(
                len(jobs),
                name,
                stage,
                swept=leading[name],
                needs=[folders[each].name for each in composed[name].starts_from],
                launcher=composed[name].launcher,
            )
            jobs.setdefault(job.name, job)
    return list(jobs.values())


def _check_launcher(override: Override) -> None:
    """Refuse a list of values for the launcher of a stage: it makes no job."""
    key = override.key_or_group
    if ".hydra." in key and override.is_sweep_override():
        raise ValueError(f"{key} must be one value, got {override.input_line}")


def _values(override: Override) -> list[str]:
    return sweep_values(override) if override.is_sweep_override() else [str(override.value())]


def _folder_name(stage: str, leading: Sequence[str]) -> str:
    """Return the name of a stage's folder, in which its own settings need not name it again."""
    own = [each.lstrip("+").removeprefix(f"{stage}.") for each in leading]
    return folder_name(",".join([stage, *own]))


def _job(
    number: int,
    name: str,
    stage: Stage,
    *,
    swept: Sequence[str],
    needs: Sequence[str],
    launcher: Sequence[str],
) -> Job:
    settings = [each.lstrip("+").partition("=") for each in swept]
    return Job(
        number=number,
        name=stage.folder.name,
        swept={"stage": name} | {key: value for key, _, value in settings},
        config=stage.config,
        composition=stage.composition,
        needs=needs,
        launcher=tuple(launcher),
    )
