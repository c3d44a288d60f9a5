"""Chains of stages, each a run that may start from what an earlier one left. Imports no torch.

A file of `conf/chain/` names the stages in their order, each with the overrides that it would have
as a run of its own. In their values `@stage` stands for the folder of an earlier stage.
"""

import functools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.errors import HydraException
from omegaconf import open_dict
from omegaconf.errors import OmegaConfBaseException

from visionlab.config.checking import check_allowed, check_parts
from visionlab.config.errors import check_known, explain
from visionlab.config.overrides import quoted
from visionlab.config.run_config import invocation, plain, resolve_config, to_yaml
from visionlab.config.saved import check_saved
from visionlab.config.schemas import Train
from visionlab.files.atomic import write_text
from visionlab.files.documents import expect_mapping, read_text
from visionlab.files.run_folder import flatten_config, read_yaml

_FILE = "chain.yaml"  # in the folder of a chain, which has that of each stage in it
_OF_CHAIN = ("chain", "resume", "parts", "hydra", "sweep")  # arguments that no stage gets
_RUN_DIR = "hydra.run.dir='${run_folder:${resume},chain}'"
_REFERENCE = re.compile(r"@(\w+)(/.*)?", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class ComposedStage:
    """One stage of a chain before it has a folder.

    Attributes:
        settings: those of its run, with references to earlier stages.
        composition: how they were composed, see `Invocation.composition`.
        starts_from: names of the stages that it refers to.
        leading: overrides of the command line that lead to it: its own and those of the stages that
            it starts from.
        launcher: overrides of `hydra.launcher` for it alone.
    """

    settings: Mapping[str, Any]
    composition: Mapping[str, Any]
    starts_from: Sequence[str]
    leading: Sequence[str]
    launcher: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a chain: its folder, the settings of its run, and how they were composed."""

    folder: Path
    config: Mapping[str, Any]
    composition: Mapping[str, Any]


def for_chain(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command line; with `chain=`, those of stages become one list."""
    if not any(re.match(r"chain=(?!null$)", each) for each in arguments):
        return list(arguments)
    kept = [each for each in arguments if _is_of_chain(each)]
    given = ",".join(quoted(each) for each in arguments if each not in kept)
    has_folder = any(each.startswith("hydra.run.dir=") for each in kept)
    return [*kept, f"chain.overrides=[{given}]", *([] if has_folder else [_RUN_DIR])]


def _is_of_chain(argument: str) -> bool:
    key, equal, _ = argument.lstrip("+~").partition("=")
    return not equal or argument.startswith("-") or re.split(r"[./]", key)[0] in _OF_CHAIN


def is_chain(folder: Path) -> bool:
    """Return whether a folder is that of a chain."""
    return (folder / _FILE).is_file()


def compose_stages(
    files: Mapping[str, Any], given: Sequence[str], *, options: Sequence[str]
) -> dict[str, ComposedStage]:
    """Return the stages of a chain by name.

    Args:
        files: what the file of the chain has of each stage, by name.
        given: overrides of the command line, for every stage or, beginning with a stage's name, for
            it alone.
        options: other overrides of the command line, of which those that allow packages are heeded.

    Raises:
        ValueError: a setting of a stage is wrong, or a name or reference is none of a stage.
    """
    _check_names(files)
    allowed = [each for each in options if each.startswith("parts=")]
    stages: dict[str, ComposedStage] = {}
    for name in files:
        own = _own_overrides(name, files, given)
        launcher = [own.pop(each) for each in given if _is_of_hydra(own.get(each, ""))]
        _check_launcher(launcher, stage=name)
        overrides = [*_overrides_in_file(name, files), *own.values(), *allowed]
        try:
            settings, composition = _compose(overrides, allowed=allowed)
            starts_from = _references(settings, known=stages)
        except (ValueError, HydraException, OmegaConfBaseException) as error:
            known = functools.partial(_settings, overrides)
            raise ValueError(f"{explain(error, known=known)} (stage {name})") from error
        leading = {*own, *(each for stage in starts_from for each in stages[stage].leading)}
        stages[name] = ComposedStage(
            settings=settings,
            composition=composition,
            starts_from=starts_from,
            leading=[each for each in given if each in leading],
            launcher=launcher,
        )
    return stages


def place_stages(
    stages: Mapping[str, ComposedStage], folders: Mapping[str, Path]
) -> dict[str, Stage]:
    """Return stages in their folders, which stand in for the references."""
    return {
        name: Stage(
            folder=folders[name],
            config=resolve_config(_with_folders(stage.settings, folders)),
            composition=stage.composition,
        )
        for name, stage in stages.items()
    }


def _settings(overrides: Sequence[str]) -> list[str]:
    """Return the dotted names of settings, of the groups that some overrides choose."""
    choices = [each for each in overrides if "." not in each.partition("=")[0]]
    return [*flatten_config(plain(compose("train", overrides=choices)))]


def _check_names(names: Collection[str]) -> None:
    """Refuse names of stages that are no names of folders, or those of settings."""
    settings = {field.name for field in fields(Train)}
    for name in names:
        if not re.fullmatch(r"[a-z]\w*", name) or name in settings:
            raise ValueError(
                "chain.stages must have names of letters and digits that are no setting, "
                f"got {name!r}"
            )


def _own_overrides(name: str, files: Mapping[str, Any], given: Sequence[str]) -> dict[str, str]:
    """Return the overrides of the command line that a stage gets, each with what it is there."""
    common = {each: each for each in given if not _begins_with(each, files)}
    return common | {
        each: each.replace(f"{name}.", "", 1) for each in given if _begins_with(each, [name])
    }


def _check_launcher(overrides: Sequence[str], *, stage: str) -> None:
    """Refuse settings of Hydra's for one stage, besides those of its launcher."""
    for each in overrides:
        if not each.lstrip("+").startswith("hydra.launcher."):
            raise ValueError(
                f"{stage}.hydra must be a setting of {stage}.hydra.launcher, got {each}"
            )


def _is_of_hydra(override: str) -> bool:
    return re.match(r"[+~]*hydra[./]", override) is not None


def _begins_with(override: str, stages: Collection[str]) -> bool:
    return override.lstrip("+~").startswith(tuple(f"{stage}." for stage in stages))


def _overrides_in_file(name: str, files: Mapping[str, Any]) -> list[str]:
    """Return the overrides of a stage in its file, after those of the stage that it is like."""
    stage, earlier = files[name], list(files)[: list(files).index(name)]
    if stage["like"] is not None and stage["like"] not in earlier:
        raise ValueError(
            f"chain.stages.{name}.like must be an earlier stage or null, got {stage['like']!r}"
        )
    if of_hydra := [each for each in stage["overrides"] if _is_of_hydra(each)]:
        raise ValueError(
            f"chain.stages.{name}.overrides must have no setting of Hydra's, got {of_hydra[0]}"
        )
    before = _overrides_in_file(stage["like"], files) if stage["like"] else []
    return [*before, *stage["overrides"]]


def _compose(
    overrides: Sequence[str], *, allowed: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of a stage, with references, and how they were composed."""
    config = compose("train", overrides=list(overrides), return_hydra_config=True)
    hydra = config.hydra
    with open_dict(config):
        del config["hydra"]
    settings = plain(config)
    if settings["resume"] or settings["chain"]:
        raise ValueError("resume and chain must be null in a stage, got one")
    if settings["global_seed"] is None:  # a stage that goes on must be what it was
        raise ValueError("global_seed must be a number in a chain, got null")
    check_known(config)
    check_allowed(settings["parts"], allowed)  # by the command line, not by the chain's file
    check_parts(settings, parts=settings["parts"])
    return settings, invocation(hydra, Path()).composition


def _references(settings: Mapping[str, Any], *, known: Collection[str]) -> list[str]:
    """Return the stages that texts in settings refer to, as `@stage` at their beginning.

    Raises:
        ValueError: it is no earlier stage.
    """
    found = [each for text in _texts(settings) if (each := _REFERENCE.fullmatch(text))]
    for reference in found:
        if reference[1] not in known:
            earlier = ", ".join(known) or "there is none"
            raise ValueError(
                f"@{reference[1]} must be an earlier stage ({earlier}), got {reference[0]!r}"
            )
    return list(dict.fromkeys(each[1] for each in found))


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in settings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


def _with_folders(value: Any, folders: Mapping[str, Path]) -> Any:
    """Return settings in which the folder of a stage stands for `@stage`."""
    if isinstance(value, Mapping):
        return {key: _with_folders(each, folders) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_folders(each, folders) for each in value]
    if not (isinstance(value, str) and (found := _REFERENCE.fullmatch(value))):
        return value
    return f"{folders[found[1]].absolute()}{found[2] or ''}"


def write_stages(stages: Mapping[str, Stage], folder: Path) -> None:
    """Write the stages of a chain into its folder, to resume it from there."""
    content = {
        name: {"config": stage.config, "composition": stage.composition}
        for name, stage in stages.items()
    }
    write_text(folder / _FILE, to_yaml(content))


def read_stages(folder: Path, *, parts: Sequence[str]) -> dict[str, Stage]:
    """Read the stages of the chain in a folder; `parts` are the packages that the user allows.

    Raises:
        ValueError: the file is damaged, or asks for other parts.
        OSError: it cannot be read.
    """
    path = folder / _FILE
    stages: dict[str, Stage] = {}
    for name, content in read_yaml(read_text(path), origin=path).items():
        each = expect_mapping(content, origin=path, holding=f"settings of {name}")
        check_saved(each.get("config"), origin=path, parts=parts)
        composition = expect_mapping(each.get("composition"), origin=path, holding="overrides")
        stages[name] = Stage(folder=folder / name, config=each["config"], composition=composition)
    _check_names(stages)
    return stages
