"""The options of `eval.py`, checked."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionlab.config.instantiate import instantiate_part
from visionlab.config.terminal import shell_command
from visionlab.ensembles.ensemble import Ensemble
from visionlab.ensembles.views import check_views
from visionlab.files.run_folder import newest_run
from visionlab.images.views import View

ENSEMBLE_FOLDER = "ensemble"  # results of an ensemble of several runs, by default
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """What is evaluated, and how; `config.schemas.Eval` explains the settings."""

    run: Path | None
    models: Sequence[str] | None
    checkpoint: Path | None
    out: Path | None
    split: str
    dataset_root: str | None
    views: Mapping[str, View] | None
    ensemble: Ensemble | None
    fuse: Callable[[Sequence[Any], Sequence[float]], Any] | None
    compare: Callable[..., None] | None
    boxes: Callable[..., None] | None
    submission: bool
    device: str
    batch_size: int | None
    precision: str | None
    threads: int | None
    parts: Sequence[str]

    def __post_init__(self) -> None:
        check_origin(run=self.run, checkpoint=self.checkpoint, ensemble=self.ensemble)
        if self.models is not None and (self.run is None or not self.models):
            rule = "null for a checkpoint" if self.run is None else "null or names"
            raise ValueError(f"models must be {rule}, got {list(self.models)}")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size must be >= 1 or null, got {self.batch_size}")
        if self.views is not None:
            if self.checkpoint is not None:
                raise ValueError("views must be null for a checkpoint outside its run, got some")
            check_views(self.views)
        if self.ensemble is not None and (self.checkpoint or self.models is not None):
            raise ValueError("ensemble must be null with checkpoint or models, got both")
        if self.fuse is not None and self.views is None and self.ensemble is None:
            raise ValueError("fuse must be null without views or ensemble, got some")
        if self.compare is not None and self.ensemble is None:
            raise ValueError("compare must be null without ensemble, got some")
        others = (self.views, self.ensemble, self.submission or None)
        if self.boxes is not None and any(each is not None for each in others):
            raise ValueError("boxes must be null with views, ensemble or submission, got both")

    @property
    def folder(self) -> Path | None:
        """Folder of the results: `out`, else that of the run; none for a checkpoint alone."""
        return self.out or self.run


def evaluation_options(config: Mapping[str, Any]) -> EvaluationOptions:
    """Return the options that a configuration of `eval.py` holds, by default of the newest run.

    Raises:
        ValueError: an option is out of range, or there is no run.
    """
    run, checkpoint, out = (
        Path(config[key]).expanduser() if config[key] else None
        for key in ("run", "checkpoint", "out")
    )
    built = {
        key: config[key] and instantiate_part(config[key], key=key)
        for key in ("ensemble", "fuse", "compare", "boxes")
    }
    ensemble: Ensemble | None = built["ensemble"]
    if run is None and ensemble is not None and not ensemble.patterns:
        out = out or Path(ENSEMBLE_FOLDER)
    elif run is None and checkpoint is None:
        run = find_newest_run()
    keys = ["models", "split", "submission", "device", "batch_size", "precision"]
    keys += ["threads", "parts"]
    return EvaluationOptions(
        run=run,
        checkpoint=checkpoint,
        out=out,
        views=build_views(config["views"]),
        **built,
        dataset_root=config["dataset"]["root"],
        **{key: config[key] for key in keys},
    )


def check_origin(*, run: Path | None, checkpoint: Path | None, ensemble: Ensemble | None) -> None:
    """Refuse none or both of a run and a checkpoint; an ensemble of files alone needs neither.

    Raises:
        ValueError: both are given, or neither where one is needed.
    """
    is_one_run = ensemble is None or ensemble.patterns
    if is_one_run and (run is None) == (checkpoint is None):
        raise ValueError(f"give either run= or checkpoint=, got run={run} checkpoint={checkpoint}")


def find_newest_run() -> Path:
    """Return the newest run of the current folder, and log which one it is.

    Raises:
        ValueError: there is none.
    """
    run = newest_run(Path())
    if run is None:
        raise ValueError(
            "run must be a run folder, got none below outputs/; start with: "
            f"{shell_command('train')}, or give run=FOLDER with a job of multirun/ or tune/"
        )
    _log.info("run=%s, the newest", run)
    return run


def build_views(settings: Mapping[str, Any] | None) -> dict[str, View] | None:
    """Return the views that a configuration has, None for none.

    Raises:
        ValueError: a name or setting is refused.
    """
    if settings is None:
        return None
    return {name: _view(name, each) for name, each in settings.items()}


def _view(name: str, settings: Mapping[str, Any]) -> View:
    if not re.fullmatch(r"[\w+.-]+", name):
        raise ValueError(f"views must have names of letters, digits and _+.-, got {name!r}")
    view: View = instantiate_part(settings, key=f"views.{name}")
    return view
