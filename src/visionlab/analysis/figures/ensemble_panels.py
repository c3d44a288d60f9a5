"""Panels of figures of ensembles: one for each ensemble and split, and shared line styles."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from visionlab.analysis.ensembles import EnsembleRecord, load_ensembles
from visionlab.analysis.figures.style import line_styles
from visionlab.analysis.groups import by_data, group_by
from visionlab.analysis.labels import distinct_paths, slug, split_label
from visionlab.analysis.models import ModelRecord, runs_of, split_varying_settings
from visionlab.analysis.records import RunRecord
from visionlab.config.terminal import count, shell_command
from visionlab.files.run_folder import ensemble_files

ENSEMBLE, BEST = "ensemble", "best member"
CANDIDATES = {  # ensembles and models beside members, by their names in files
    "ensemble": ENSEMBLE,
    "soup": "soup",
    "greedy": "greedy weights",
    "fitted": "fitted weights",
}
LAST, SPREAD = "last members", "evenly spread"
STYLES = line_styles([ENSEMBLE, BEST, *list(CANDIDATES.values())[1:], LAST, SPREAD])
_Samples = set[tuple[str | None, str, int | str, int | str]]  # task, split, count, fingerprint
_log = logging.getLogger(__name__)


class Panel(NamedTuple):
    """An ensemble, its task and the title of its panel."""

    title: str
    task: str
    ensemble: EnsembleRecord


class PanelGroup(NamedTuple):
    """The panels of one figure: ensembles of one task, whose samples are the same.

    Attributes:
        ending: of the figure's name, which tells it from those of other groups.
        panels: of the ensembles.
        samples: of the data set, by which further ensembles are found to belong here.
    """

    ending: str
    panels: list[Panel]
    samples: _Samples


def ensemble_panels(
    name: str, models: Sequence[ModelRecord], folders: Sequence[Path]
) -> list[PanelGroup]:
    """Return the panels of ensembles, one group for each task and data set.

    Ensembles of a run are named by its settings and seed, and those of several runs by the folder
    that they have to themselves, one of `folders`. If some runs have ensembles, the others are
    logged as left out of the figure `name`.
    """
    groups = [
        PanelGroup(ending, _panels_of_runs(name, members), _samples_of(runs_of(members)))
        for ending, members in by_data(models)
    ]
    for folder, label in zip(folders, distinct_paths(folders), strict=True):
        ensembles = load_ensembles(folder)
        samples: _Samples = {
            (each.task, each.split, *each.samples) for each in ensembles if each.samples
        }
        known = next((group for group in groups if group.samples & samples), None)
        if known is None:
            known = PanelGroup(slug(label) if groups else "", [], set())
            groups.append(known)
        known.samples.update(samples)
        for each in ensembles:
            title = f"{label}, {split_label(each.split)}"
            known.panels.append(Panel(title, each.task or "", each))
    return groups


def _panels_of_runs(name: str, models: Sequence[ModelRecord]) -> list[Panel]:
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


def _samples_of(runs: Sequence[RunRecord]) -> _Samples:
    return {
        (run.task, split, *samples)
        for run in runs
        for split, samples in run.info.get("samples", {}).items()
        if len(samples) == 2
    }


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
    return distinct_paths([run.folder for run in runs])
