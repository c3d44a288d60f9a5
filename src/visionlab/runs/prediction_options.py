"""The options of `predict.py`, checked."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionlab.config.instantiate import instantiate_part
from visionlab.core.checks import check_range
from visionlab.ensembles.ensemble import Ensemble
from visionlab.ensembles.views import check_views
from visionlab.images.views import View
from visionlab.runs.evaluation_options import build_views, check_origin, find_newest_run
from visionlab.runs.prediction_files import companion, ending

FOLDER = Path("predictions")  # of results, by default
_MAX_WORKERS = 1024


@dataclass(frozen=True, kw_only=True)
class PredictionOptions:
    """What predicts which images, and where results go; `config.schemas.Predict` explains them."""

    source: Sequence[str]
    run: Path | None
    model: str | None
    checkpoint: Path | None
    ensemble: Ensemble | None
    views: Mapping[str, View] | None
    fuse: Callable[[Sequence[Any], Sequence[float]], Any] | None
    out: Path
    overwrite: bool
    draw: bool
    min_score: float
    num_workers: int
    device: str
    batch_size: int | None
    precision: str | None
    threads: int | None
    parts: Sequence[str]

    def __post_init__(self) -> None:
        check_origin(run=self.run, checkpoint=self.checkpoint, ensemble=self.ensemble)
        if self.model is not None and self.run is None:
            raise ValueError(f"model must be null without a run, got {self.model}")
        if self.ensemble is not None and (self.checkpoint or self.model is not None):
            raise ValueError("ensemble must be null with checkpoint or model, got both")
        if self.fuse is not None and self.views is None and self.ensemble is None:
            raise ValueError("fuse must be null without views or ensemble, got some")
        if self.views is not None:
            check_views(self.views)
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size must be >= 1 or null, got {self.batch_size}")
        check_range(self, "[0, 1]", "min_score")
        if not 0 <= self.num_workers <= _MAX_WORKERS:
            raise ValueError(f"num_workers must be in [0, {_MAX_WORKERS}], got {self.num_workers}")
        if not self.source:
            raise ValueError("source must name images, got none")
        self._check_out()

    def _check_out(self) -> None:
        files = [self.out] + ([companion(self.out)] if ending(self.out) == ".coco.json" else [])
        files += [self.pictures] if self.draw else []
        for path in files:
            if path.exists() and not self.overwrite:
                raise ValueError(
                    f"out must be new unless overwrite=true is given, got {self.out}: {path} exists"
                )
        if self.out.is_dir():
            raise ValueError(f"out must be a file, got the folder {self.out}")

    @property
    def pictures(self) -> Path:
        """Folder of the pictures, beside the file of predictions."""
        return self.out.with_name(f"{self.out.name[: -len(ending(self.out))]}_pictures")


def prediction_options(config: Mapping[str, Any]) -> PredictionOptions:
    """Return the options that a configuration of `predict.py` holds, by default of the newest run.

    Raises:
        ValueError: an option is out of range, or there is no run.
    """
    run, checkpoint, out = (
        Path(config[key]).expanduser() if config[key] else None
        for key in ("run", "checkpoint", "out")
    )
    built = {
        key: config[key] and instantiate_part(config[key], key=key) for key in ("ensemble", "fuse")
    }
    ensemble: Ensemble | None = built["ensemble"]
    source = config["source"] if isinstance(config["source"], list) else [config["source"]]
    if run is None and checkpoint is None and (ensemble is None or ensemble.patterns):
        run = find_newest_run()
    keys = ["overwrite", "draw", "min_score", "num_workers", "device", "batch_size"]
    return PredictionOptions(
        source=list(map(str, source)),
        run=run,
        model=config["models"],
        checkpoint=checkpoint,
        out=out or _new_file(str(source[0])),
        views=build_views(config["views"]),
        **built,
        **{key: config[key] for key in [*keys, "precision", "threads", "parts"]},
    )


def _new_file(source: str) -> Path:
    """Return a file of predictions that does not exist yet, named after its source."""
    stem = Path(source).expanduser().absolute().stem.replace("*", "") or "images"
    for number in itertools.count(1):
        path = FOLDER / (f"{stem}.json" if number == 1 else f"{stem}_{number}.json")
        if not path.exists() and not path.with_name(f"{path.stem}_pictures").exists():
            return path
    raise AssertionError
