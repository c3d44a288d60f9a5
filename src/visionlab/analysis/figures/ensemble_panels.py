"""Panels of figures of ensembles: one for each run and split, and shared line styles."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from visionlab.analysis.ensembles import EnsembleRecord, ensemble_files, load_ensembles
from visionlab.analysis.figures.style import line_styles
from visionlab.analysis.groups import group_by
from visionlab.analysis.labels import split_label
from visionlab.analysis.models import ModelRecord, runs_of, split_varying_settings
from visionlab.analysis.records import RunRecord
from visionlab.config.terminal import count, shell_command

ENSEMBLE, BEST = "ensemble", "best member"
CANDIDATES = {  # ensembles and models beside members, by their names in files
    "ensemble": ENSEMBLE,
    "soup": "soup",
    "greedy": "greedy weights",
    "fitted": "fitted weights",
}
LAST, SPREAD = "last members", "evenly spread"
STYLES = line_styles([ENSEMBLE, BEST, *list(CANDIDATES.values())[1:], LAST, SPREAD])
_log = logging.getLogger(__name__)


class Panel(NamedTuple):
    """An ensemble, its task and the title of its panel."""

    title: str
    task: str
    ensemble: EnsembleRecord


def ensemble_panels(name: str, models: Sequence[ModelRecord]) -> list[Panel]:
    """Return a panel for each ensemble of some runs, by settings, seed and split.

    If some runs have files of ensembles, the others are logged as left out of the figure `name`.
    """
    run_keys, _ = split_varying_settings(models)
    panels: list[Panel] = []
    others: list[Path] = []
    for label, members in group_by(models, run_keys):
        runs = runs_of(members)
        for run, own_label in zip(runs, _run_labels(runs), strict=True):
            if not ensemble_files(run.folder):
                others.append(run.folder)
            for ensemble in load_ensembles(run.folder):
                parts = (label, own_label, split_label(ensemble.split))
                panels.append(Panel(", ".join(filter(None, parts)), run.task, ensemble))
    if panels and others:
        what = f"{count(len(others), 'run')} without ensemble_<split>.json"
        _log.info("%s leaves out %s; %s makes it", name, what, ensemble_command(others[0]))
    return panels


def ensemble_command(run: Path) -> str:
    """Return the command that writes the files of an ensemble into a run folder."""
    return shell_command("eval", f"run={run}", "ensemble=snapshots")


def best_and_others(ensemble: EnsembleRecord) -> dict[str, str]:
    """Return the label of the best member and of each ensemble, by its name in the file."""
    best = {} if ensemble.best_member is None else {ensemble.best_member: BEST}
    return {**best, **CANDIDATES}


def _run_labels(runs: Sequence[RunRecord]) -> list[str]:
    """Return labels that tell runs of the same settings apart."""
    if len(runs) == 1:
        return [""]
    seeds = [run.seed for run in runs]
    if len(set(seeds)) == len(runs):
        return [f"seed {seed}" for seed in seeds]
    return [run.folder.name for run in runs]
