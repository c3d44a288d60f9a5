"""What stands together in a figure: panels of settings, in them lines of models over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from visionlab.analysis.measures import Model, differing
from visionlab.analysis.values import order

_AVERAGED = "averaged."
_DECAY = "averaged.decay"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A model in training, or an average, over seeds.

    Attributes:
        label: as a legend has it.
        models: one a seed, seeds rising; of copies of one training that which went furthest.
    """

    label: str
    models: Sequence[Model]

    @property
    def is_average(self) -> bool:
        """Whether it is not the model in training."""
        return self.models[0].name != "model"

    @property
    def seeds(self) -> str:
        """How many seeds there are, in words."""
        count = len(self.models)
        return "1 seed" if count == 1 else f"{count} seeds"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Models that were trained with the same settings.

    Attributes:
        label: the settings in which the panels of a figure differ; empty if there is one panel.
        lines: the model in training first, then averages, decays rising.
    """

    label: str
    lines: Sequence[Line]

    @property
    def averages(self) -> list[Line]:
        """The lines of averages."""
        return [line for line in self.lines if line.is_average]

    @property
    def in_training(self) -> Line | None:
        """The line of the model in training, or None if it was not asked for."""
        return next((line for line in self.lines if not line.is_average), None)


def panels_of(models: Sequence[Model], *, task: str) -> list[Panel]:
    """Return the models of one task, those with the same settings of training together.

    Args:
        models: of the runs.
        task: the name of the task; models of others are left out.
    """
    kept = [model for model in models if model.run.task == task]
    keys = differing(kept)
    of_training = [key for key in keys if not key.startswith(_AVERAGED)]
    of_averages = [key for key in keys if key.startswith(_AVERAGED) and key != _DECAY]
    panels: dict[str, list[Model]] = {}
    for model in sorted(
        kept, key=lambda model: [order(model.settings.get(key)) for key in of_training]
    ):
        label = ", ".join(_name(key, model.settings.get(key)) for key in of_training)
        panels.setdefault(label, []).append(model)
    return [
        Panel(label=label, lines=_lines(members, of_averages)) for label, members in panels.items()
    ]


def _lines(models: Sequence[Model], keys: Sequence[str]) -> list[Line]:
    """Return the lines of a panel; averages that differ in some more keys stand apart."""
    lines: dict[str, dict[int, Model]] = {}
    for model in sorted(
        models, key=lambda model: (model.name != "model", order(model.settings.get(_DECAY)))
    ):
        shown = [] if model.name == "model" else keys
        named = [model.label, *(_name(key, model.settings.get(key)) for key in shown)]
        by_seed = lines.setdefault(", ".join(named), {})
        other = by_seed.get(model.run.seed)
        if other is None or len(other.run.rows) < len(model.run.rows):
            by_seed[model.run.seed] = model
    return [
        Line(label=label, models=[by_seed[seed] for seed in sorted(by_seed)])
        for label, by_seed in lines.items()
    ]


def _name(key: str, value: Any) -> str:
    """Return a setting as it is told: the choice of a group alone, else with the key's end."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{key.rpartition('.')[2]} {text}" if "." in key else text


def _place(model: Model, keys: Sequence[str]) -> list[tuple[bool, float, str]]:
    return [order(model.settings.get(key)) for key in keys]
