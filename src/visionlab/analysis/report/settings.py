"""Settings of runs: those that vary, and those in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from visionlab.analysis.models import SEED, ModelRecord, runs_of, varying_settings
from visionlab.analysis.values import to_json

_OF_CLASSES = ("_target_", "_partial_")


@dataclass(frozen=True, kw_only=True)
class SettingsOverview:
    """Settings of runs.

    Attributes:
        varying: settings with their values and the number of runs of each.
        others: names of settings that follow from these or do not change results.
        common: settings with the value that all runs have.
    """

    varying: Sequence[tuple[str, str]]
    others: Sequence[str]
    common: Sequence[tuple[str, str]]


def settings_overview(models: Sequence[ModelRecord]) -> SettingsOverview:
    """Return the settings of the runs of some models."""
    varying = [key for key in varying_settings(models) if not key.endswith(_OF_CLASSES)]
    runs = [{**run.choices, **run.settings} for run in runs_of(models)]
    keys = sorted({key for run in runs for key in run if not key.endswith(_OF_CLASSES)})
    if len({run[SEED] for run in runs}) > 1:
        varying.append(SEED)
    differing = [key for key in keys if len({to_json(run.get(key)) for run in runs}) > 1]
    return SettingsOverview(
        varying=[(key, _values(models, key)) for key in varying],
        others=[key for key in differing if key not in varying],
        common=[(key, setting_text(runs[0].get(key))) for key in keys if key not in differing],
    )


def setting_text(value: Any) -> str:
    """Return the value of a setting as text."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _values(models: Sequence[ModelRecord], key: str) -> str:
    """Return the values of a setting, each with the number of runs that have it."""
    runs: dict[str, set[Any]] = {}
    for model in models:
        runs.setdefault(setting_text(model.settings.get(key)), set()).add(model.run.folder)
    return ", ".join(f"{value} ({len(folders)})" for value, folders in runs.items())
