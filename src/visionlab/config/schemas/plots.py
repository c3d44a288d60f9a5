"""Names and types of the settings of `plots.py`."""

from dataclasses import dataclass
from typing import Any

from visionlab.config.schemas.parts import MISSING, DatasetOfRuns


@dataclass
class Table:
    """A table of numbers over settings.

    Attributes:
        name: of its files.
        rows: a setting, or several, whose values tell rows apart; null takes all that differ.
        columns: a setting, or columns by name, each with `value` and `models`.
        value: the number in columns over a setting, as test/top1.
        models: in columns over a setting: model, average or any.
        compare: two columns whose differences are paired by seed, or null.
        gain: two columns; a column `gain` says by what share the second exceeds the first.
        scale: what numbers are multiplied by.
        decimals: digits after the point.
        source: of the published numbers.
        published: numbers of the literature, by row and column.
    """

    name: str = MISSING
    rows: Any = MISSING
    columns: Any = MISSING
    value: str | None = MISSING
    models: str | None = MISSING
    compare: list[str] | None = MISSING
    gain: list[str] | None = MISSING
    scale: float = MISSING
    decimals: int = MISSING
    source: str | None = MISSING
    published: dict[str, dict[str, float]] = MISSING


@dataclass
class Planned:
    """Learning rates of a training that need not have run.

    Attributes:
        schedulers: files of `conf/scheduler/`, or null.
        lr: that their factors are on.
        epochs: of the training.
        steps_per_epoch: of the training.
    """

    schedulers: list[str] | None = MISSING
    lr: float = MISSING
    epochs: int = MISSING
    steps_per_epoch: int = MISSING


@dataclass
class Plots:
    """Tables, figures and a report of runs.

    Attributes:
        runs: a folder, or a list of folders, with runs in or below them.
        out: the folder that is written into.
        where: settings that runs must have to count.
        table: what stands in the table.
        figures: their names; null draws all for which there is something.
        report: write report.html.
        value: the final number of figures, as test/top1.
        weights: of final numbers: last or best.
        x: of curves: epoch or step.
        y: the number of curves, as val/top1.
        hue: the setting that tells lines apart; null takes the averages.
        epochs: the first and the last that count for stability, bar codes and histograms.
        window: epochs of the moving average of stability.
        sort: of bar codes: stability, misclassification or mismatch.
        num_samples: of bar codes.
        sample_pictures: draw the samples beside their bar codes.
        dataset: where the data for these is now, if not where the run found it.
        broken_axis: two values between which loss curves leave out the axis.
        planned: learning rates of a training that need not have run.
    """

    runs: Any = MISSING
    out: str = MISSING
    where: dict[str, Any] = MISSING
    table: Table = MISSING
    figures: list[str] | None = MISSING
    report: bool = MISSING
    value: str | None = MISSING
    weights: str = MISSING
    x: str = MISSING
    y: str | None = MISSING
    hue: str | None = MISSING
    epochs: list[int] | None = MISSING
    window: int = MISSING
    sort: str = MISSING
    num_samples: int = MISSING
    sample_pictures: bool = MISSING
    dataset: DatasetOfRuns = MISSING
    broken_axis: list[float] | None = MISSING
    planned: Planned = MISSING
