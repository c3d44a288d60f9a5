"""Options of `plots.py`, checked: each class holds the names, types and ranges of its settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionlab.analysis.metrics import Weights
from visionlab.analysis.tables import NumberFormat
from visionlab.core.checks import check_at_least, check_positive

Schedule = Callable[..., float]  # (step, *, total_steps, steps_per_epoch) -> factor
_SORTS = ("stability", "misclassification", "mismatch")


@dataclass(frozen=True, kw_only=True)
class FigureOptions:
    """Options of figures; each figure uses those that concern it.

    Attributes:
        x: epoch or step.
        y: metric of curves, as val/top1 or train/loss; null for the main one.
        value: final metric, as test/top1; null for the main one.
        weights: weights of the final metric: last or best.
        hue: setting with one line per value; null for the models of a run.
        epochs: first and last epoch of figures about predictions; null for all.
        sort: order of samples in bar codes: stability, misclassification or mismatch.
        num_samples: number of samples in bar codes.
        window: epochs in the moving average of stability; 1 for none.
        broken_axis: losses between which the y axis of loss curves is cut out, or null.
    """

    x: str
    y: str | None
    value: str | None
    weights: Weights
    hue: str | None
    epochs: tuple[int, int] | None
    sort: str
    num_samples: int
    window: int
    broken_axis: tuple[float, float] | None

    def __post_init__(self) -> None:
        allowed = {"x": ("epoch", "step"), "weights": ("last", "best"), "sort": _SORTS}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                listed = f"{', '.join(values[:-1])} or {values[-1]}"
                raise ValueError(f"{name} must be {listed}, got {getattr(self, name)}")
        check_at_least(self, 1, "num_samples", "window")
        for name in ("epochs", "broken_axis"):
            ends = getattr(self, name)
            if ends is not None and not (len(ends) == 2 and ends[0] < ends[1]):
                raise ValueError(f"{name} must be two increasing numbers, got {list(ends)}")


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """Options of a table.

    Attributes:
        name: stem of its files.
        rows: setting or settings that distinguish rows; null for all that vary.
        columns: setting with one column per value; or columns by label, each with `value` and
            `models`; or null for the decays of averages.
        value: metric in columns over a setting; null for the main one.
        models: models in columns over a setting: model, average or any; null for any if the
            setting is one of averages, else model.
        compare: two columns whose differences are paired by seed, or null.
        gain: two columns; a further column has the relative gain of the second; or null.
        scale: factor on all values.
        decimals: digits after the decimal point.
        source: of the published values, or null.
        published: values in the literature, by the labels of row and column.
    """

    name: str
    rows: str | Sequence[str] | None
    columns: str | Mapping[str, Mapping[str, Any]] | None
    value: str | None
    models: str | None
    compare: Sequence[str | float] | None
    gain: Sequence[str | float] | None
    scale: float
    decimals: int
    source: str | None
    published: Mapping[str, Mapping[str, float]]

    def __post_init__(self) -> None:
        if not self.name or self.name != Path(self.name).name:
            raise ValueError(f"name must be a file name without folders, got {self.name!r}")
        if self.columns == {}:
            raise ValueError("columns must be a setting, columns by label or null, got {}")
        for name in ("compare", "gain"):
            pair = getattr(self, name)
            if pair is not None and len(pair) != 2:
                raise ValueError(f"{name} must be two columns, got {list(pair)}")
        for label, column in self.columns.items() if isinstance(self.columns, Mapping) else ():
            if "value" not in column or column.keys() - {"value", "models"}:
                got = dict(column)
                raise ValueError(f"columns.{label} must have value and models, got {got}")
        _ = self.number_format  # which checks its numbers

    @property
    def number_format(self) -> NumberFormat:
        """Format of the table's numbers."""
        return NumberFormat(scale=self.scale, decimals=self.decimals)


@dataclass(frozen=True, kw_only=True)
class PlannedOptions:
    """Options of the figure of planned learning rates.

    Attributes:
        schedulers: names of schedules; null for no such figure.
        lr: base learning rate.
        epochs: of the training.
        steps_per_epoch: of the training.
    """

    schedulers: Sequence[str] | None
    lr: float
    epochs: int
    steps_per_epoch: int

    def __post_init__(self) -> None:
        check_positive(self, "lr")
        check_at_least(self, 1, "epochs", "steps_per_epoch")


@dataclass(frozen=True, kw_only=True)
class PlotOptions:
    """Options of `plot`.

    Attributes:
        runs: folders with runs in or below them; null for the newest run, multirun or tuning.
        out: output folder.
        where: settings that runs must have, by dotted name.
        figures: names of figures; null for all that the runs have data for.
        report: whether to write report.html.
        sample_pictures: whether bar codes show pictures of their samples.
        figure: options of figures.
        table: options of the table.
        planned: options of the figure of planned learning rates.
    """

    runs: Sequence[Path] | None
    out: Path
    where: Mapping[str, Any]
    figures: Sequence[str] | None
    report: bool
    sample_pictures: bool
    figure: FigureOptions
    table: TableOptions
    planned: PlannedOptions
