"""Readers for the files of a run folder. Imports neither torch nor Hydra."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 8 times as fast, if available


def read_config(folder: Path) -> dict[str, Any]:
    """Return the settings in `config.yaml` of a run folder."""
    return read_yaml((folder / "config.yaml").read_text(encoding="utf-8"))


def read_yaml(text: str) -> dict[str, Any]:
    """Parse settings that `OmegaConf.to_yaml` wrote."""
    settings: dict[str, Any] = yaml.load(text, Loader=_LOADER)
    return settings


def read_record(folder: Path) -> dict[str, Any]:
    """Return the content of `run.json`, empty if there is no such file."""
    path = folder / "run.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return content


def read_rows(path: Path) -> list[dict[str, float]]:
    """Return the rows of a metrics file, without an incomplete last line."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("}\n")]


def flatten_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return settings by their dotted keys; a list is one setting."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten_config(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


class RangeTestPoint(NamedTuple):
    """One step of a range test."""

    step: int
    lr: float
    loss: float


def read_range_test(path: Path) -> list[RangeTestPoint]:
    """Return the steps that a range test recorded, empty if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [RangeTestPoint(int(row["step"]), float(row["lr"]), float(row["loss"])) for row in rows]
