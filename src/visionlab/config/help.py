"""`--help` of the scripts: groups with their files, and a line of meaning for each setting.

Meanings come from the docstrings of the classes that use the settings, read without importing them.
"""

import inspect
import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from visionlab.config.checking import unset_settings
from visionlab.config.hints import is_part
from visionlab.config.schemas import SCHEMAS
from visionlab.config.signatures import meanings, read_signature
from visionlab.config.suggestions import nearest
from visionlab.files.run_folder import flatten_config

_BESIDE = {  # settings that stand beside those of a part
    "model.": "visionlab.runs.initial_weights.InitialWeights",
    "model.backbone.": "visionlab.backbones.initial.BackboneWeights",
}
_MAX_VALUE = 24
_OPTIONS = ("visionlab.analysis.options.PlotOptions", "visionlab.analysis.options.FigureOptions")
_ABOUT = {
    "train": "Train a vision model.",
    "eval": "Evaluate the models that a run saved; without run=, those of the newest run.",
    "predict": "Predict images by a model that a run saved; without run=, of the newest run.",
    "tune": "Tune settings of train.py; search a setting by giving it a space:\n"
    '"optimizer.lr=tag(log, interval(0.01, 1))" or scheduler=cosine,linear.',
    "plots": "Draw tables, figures and a report; without runs=, of the newest run or multirun.",
    "runs": "List runs: state, best monitored value on validation, epochs, age and size on disk.",
    "diff": "Show settings and results of two runs side by side, as far as they differ.",
    "prune": "Remove checkpoints, or whole runs, by rules; without apply=true only say which.",
    "repeat": "Make a run again from its folder alone, into a new folder.",
}
_INSTALLED = {  # commands without a script of their own, with the folders that they take
    "runs": "[FOLDER ...]",
    "diff": "RUN RUN",
    "prune": "[FOLDER ...]",
    "repeat": "RUN",
}
_USAGE = """usage: python {script}.py [key=value ...] [--multirun] [--cfg job] [--config-dir DIR]
       python {script}.py --help [group=file]    settings of one file, as dataset=coco
       python {script}.py --help [group]         files of a group
       python {script}.py --hydra-help           Hydra's own options
"""
_USAGE_INSTALLED = """usage: visionlab {script} {folders} [key=value ...]
       visionlab {script} --hydra-help           Hydra's own options
"""


def help_text(script: str, choices: Sequence[str], *, folders: Sequence[Path]) -> str:
    """Return the help of a script, of a group, or of some files of groups, as `dataset=coco`.

    The folders are visionlab's `conf` and the user's own.

    Raises:
        ValueError: a choice is neither a group nor `group=file`.
        HydraException: there is no such group or file.
    """
    files = {path.parent.name for folder in folders for path in folder.glob("*/*.yaml")}
    if len(choices) == 1 and choices[0] in files:
        return _about_group(choices[0], folders)
    for choice in choices:
        if not re.fullmatch(r"[\w/]+=[\w.-]+", choice):
            hint = nearest(choice, sorted(files)) or f"; a group is {', '.join(sorted(files))}"
            raise ValueError(
                f"--help must be followed by a group or group=file, got {choice}{hint}"
            )
    overrides = [*_search_path(folders[1:]), *choices]
    with initialize_config_dir(str(folders[0]), version_base="1.3"):
        composed = compose(script, overrides=overrides, return_hydra_config=True)
    groups = {str(each) for each in composed.hydra.runtime.choices}
    config = _as_container(composed)
    del config["hydra"]
    if choices:
        return "\n\n".join(_about_file(choice, config, folders) for choice in choices)
    parts = [_ABOUT[script], _usage(script)]
    if script not in _INSTALLED:
        parts += ["Groups (group=file):", *_groups(folders, groups), ""]
    parts.append("Settings (key=value), with their defaults:")
    known = _of_schema(SCHEMAS[script])
    for path in _OPTIONS if script == "plots" else ():
        known |= _of_part(path)
    return "\n".join([*parts, *_settings(config, "", known)])


def _usage(script: str) -> str:
    if script in _INSTALLED:
        return _USAGE_INSTALLED.format(script=script, folders=_INSTALLED[script])
    return _USAGE.format(script=script)


def known_settings(script: str, choices: Sequence[str], *, folders: Sequence[Path]) -> list[str]:
    """Return the dotted names of a script's settings and groups, with some files chosen.

    One that a part has, but its YAML file does not, begins with a +.

    Args:
        script: a command, as in `SCHEMAS`.
        choices: files, as `dataset=coco`; one may be wrong.
        folders: of configurations: visionlab's `conf` and the user's own.
    """
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(folders[0]), version_base="1.3"):
        for chosen in (choices, ()):
            overrides = [*_search_path(folders[1:]), *chosen]
            try:
                config = compose(script, overrides=overrides, return_hydra_config=True)
            except (HydraException, OmegaConfBaseException):
                continue
            settings = _as_container(config)
            return [*{**settings, **flatten_config(settings)}, *unset_settings(settings)]
    return []


def _as_container(config: DictConfig) -> dict[str, Any]:
    """Return a configuration with interpolations as they stand, but for those of parts' paths."""
    _resolve_targets(config)
    container: Any = OmegaConf.to_container(config, resolve=False)
    return dict(container)


def _resolve_targets(node: DictConfig) -> None:
    for key in node:
        if OmegaConf.is_missing(node, key):
            continue
        if key == "_target_":
            node[key] = node[key]  # reading resolves
        elif isinstance(child := node._get_node(key), DictConfig) and not child._is_none():
            _resolve_targets(child)


def _search_path(folders: Sequence[Path]) -> list[str]:
    """Return the override with which Hydra looks in folders of the user's too."""
    places = ",".join("'file://{}'".format(str(each).replace("'", "\\'")) for each in folders)
    return [f"hydra.searchpath=[{places}]"] if places else []


def _groups(folders: Sequence[Path], groups: set[str]) -> Iterator[str]:
    """Yield a line for each group of files that a script has."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for path in folder.glob("*/*.yaml"):
            found.setdefault(path.parent.name, set()).add(path.stem)
    for group in sorted(groups & set(found)):
        start = f"  {group:<15} "
        names = ", ".join(sorted(found[group]))
        yield textwrap.fill(names, 100, initial_indent=start, subsequent_indent=" " * len(start))


def _about_group(group: str, folders: Sequence[Path]) -> str:
    """Return the files of a group, each with the first line that it says of itself."""
    paths = {path.stem: path for folder in folders for path in folder.glob(f"{group}/*.yaml")}
    lines = [f"{group}=FILE, one of:"]
    for name, path in sorted(paths.items()):
        text = path.read_text(encoding="utf-8")
        comments = re.findall(r"^# *+(?!@package)(.+)", text, re.MULTILINE)
        summaries = map(_summary, re.findall(r"^_target_: *(\S+)", text, re.MULTILINE))
        lines.append(_line(f"  {name}", "", next(iter([*comments, *summaries]), "")))
    return "\n".join([*lines, f"--help {group}=FILE lists the settings of a file"])


def _about_file(choice: str, config: Mapping[str, Any], folders: Sequence[Path]) -> str:
    """Return what a file says of itself, and its settings with their meanings."""
    group, _, name = choice.partition("=")
    paths = [folder / group / f"{name}.yaml" for folder in folders]
    text = "".join(path.read_text(encoding="utf-8") for path in paths if path.is_file())
    comment = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
    lines = [choice, *(f"  {line}" for line in comment if not line.startswith("@package"))]
    if group in config:
        lines += _settings({group: config[group]}, "", {})
    return "\n".join(lines)


def _settings(node: Mapping[str, Any], prefix: str, known: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each setting: its key, default and meaning (`known` by dotted key)."""
    for name, value in node.items():
        key = f"{prefix}{name}"
        if is_part(value):
            target = str(value["_target_"])
            yield _line(f"  {key}", target.rpartition(".")[2], _summary(target))
            inner = {each: value[each] for each in value if each != "_target_"}
            yield from _settings(inner, f"{key}.", _of_part(target, f"{key}."))
            yield from _unset(value, key)
        elif isinstance(value, Mapping) and value:
            if key in known:
                yield _line(f"  {key}", "", known[key])
            yield from _settings(value, f"{key}.", known)
        else:
            yield _line(f"  {key}", _shown(value), known.get(key, ""))


def _unset(node: Mapping[str, Any], key: str) -> Iterator[str]:
    """Yield a line for each setting of a part that its file leaves at its default, as `+key`."""
    with suppress(LookupError):
        for name, each in read_signature(str(node["_target_"])).parameters.items():
            if each.default is not None and name not in node:
                yield _line(f"  +{key}.{name}", _shown(each.default), each.meaning)


def _summary(target: str) -> str:
    try:
        return read_signature(target).summary
    except LookupError:
        return ""


def _of_part(target: str, prefix: str = "") -> dict[str, str]:
    """Return the meanings of a part's settings by their dotted keys."""
    found: dict[str, str] = {}
    beside = {start: path for start, path in _BESIDE.items() if prefix and start.startswith(prefix)}
    for start, path in [*beside.items(), (prefix, target)]:
        with suppress(LookupError):
            parameters = read_signature(path).parameters
            found |= {f"{start}{name}": each.meaning for name, each in parameters.items()}
    return found


def _of_schema(schema: type, prefix: str = "") -> dict[str, str]:
    """Return the meanings of a script's own settings by their dotted keys."""
    found: dict[str, str] = {}
    for owner in reversed(schema.__mro__[:-1]):
        own = meanings(inspect.getdoc(owner) or "")
        found |= {f"{prefix}{name}": text for name, text in own.items()}
    for field in fields(schema):
        if isinstance(field.type, type) and is_dataclass(field.type):
            found |= _of_schema(field.type, f"{prefix}{field.name}.")
    return found


def _shown(value: Any) -> str:
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else str(value)
    return text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 3] + "..."


def _line(key: str, value: str, meaning: str) -> str:
    """Return one line in columns, the meaning cut at the width of the terminal."""
    start = f"{key:<33} {value:<{_MAX_VALUE}} "
    width = max(100, shutil.get_terminal_size(fallback=(140, 24)).columns)
    return (start + textwrap.shorten(meaning, width - len(start), placeholder=" ...")).rstrip()
