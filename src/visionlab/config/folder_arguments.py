"""Folders on a command line without the name of a setting, as in `visionlab diff RUN RUN`."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields

from visionlab.config.overrides import quoted
from visionlab.config.schemas import SCHEMAS

# the setting that such folders are, by command: `run` is one folder, `runs` a list
FOLDER_SETTINGS: Mapping[str, str] = {
    **dict.fromkeys(("runs", "diff", "prune"), "runs"),
    "repeat": "run",
}


def name_folders(arguments: Sequence[str], *, script: str) -> list[str]:
    """Return arguments in which folders without a name are the setting of a command that has one.

    A folder is an argument without =, or one that exists and does not begin with a setting of the
    command: folders of jobs are named by their own settings.

    Raises:
        ValueError: there are several folders for `run`, or the setting is given by its name too.
    """
    if script not in FOLDER_SETTINGS or {"--help", "-h"} & set(arguments):
        return list(arguments)
    key = FOLDER_SETTINGS[script]
    folders = [each for each in arguments if _is_folder(each, script)]
    others = [each for each in arguments if each not in folders]
    if not folders:
        return others
    if named := [each for each in others if each.startswith(f"{key}=")]:
        raise ValueError(f"{key} must be given once, got {folders[0]} and {named[0]}")
    if key == "run" and len(folders) > 1:
        raise ValueError(f"run must be one folder, got {', '.join(folders)}")
    values = [quoted(each.replace("${", r"\${")) for each in folders]
    return [*others, f"{key}={values[0]}" if key == "run" else f"{key}=[{','.join(values)}]"]


def _is_folder(argument: str, script: str) -> bool:
    name = re.split(r"[=.]", argument.lstrip("+~"))[0]
    is_setting = name in {field.name for field in fields(SCHEMAS[script])}
    is_path = "=" not in argument or (not is_setting and os.path.lexists(argument))
    return is_path and not argument.startswith("-")
