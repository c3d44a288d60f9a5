"""Names and types of the settings of `plots.py`."""

from dataclasses import dataclass
from typing import Any

from visionlab.settings.parts import MISSING


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
class Plots:
    """Tables, figures and a report of runs.

    Attributes:
        runs: a folder, or a list of folders, with runs in or below them.
        out: the folder that is written into.
        where: settings that runs must have to count.
        table: what stands in the table.
        figures: their names; null draws all for which there is something.
        report: write report.html.
        weights: of final numbers: last or best.
        x: of curves: epoch or step.
        y: the number of curves, as val/top1.
        hue: the setting that tells lines apart; null takes the averages.
        epochs: the first and the last that count for stability, bar codes and histograms.
        window: epochs of the moving average of stability.
        sort: of bar codes: stability, misclassification or mismatch.
        num_samples: of bar codes.
        dataset_root: where pictures of samples come from; null draws none.
        broken_axis: two values between which loss curves leave out the axis.
    """

    runs: Any = MISSING
    out: str = MISSING
    where: dict[str, Any] = MISSING
    table: Table = MISSING
    figures: list[str] | None = MISSING
    report: bool = MISSING
    weights: str = MISSING
    x: str = MISSING
    y: str | None = MISSING
    hue: str | None = MISSING
    epochs: list[int] | None = MISSING
    window: int = MISSING
    sort: str = MISSING
    num_samples: int = MISSING
    dataset_root: str | None = MISSING
    broken_axis: list[float] | None = MISSING
