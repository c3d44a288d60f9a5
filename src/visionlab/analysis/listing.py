"""Runs as plain rows, for whoever plots them with tools of their own."""

from pathlib import Path
from typing import Any

from visionlab.analysis.measures import Model, models_of
from visionlab.analysis.records import read_runs


def load_runs(path: str | Path) -> list[dict[str, Any]]:
    """Return one row for each model of each run in or below a folder.

    A row has `folder`, `state`, `task`, `seed`, `model`, `epoch`, `step`; each setting by its
    dotted name and each group by its choice; and each final number as `<split>/<number>`, of the
    last weights, and `<split>/<number>/best`, of those that were best on validation.
    `averaged.decay` is "none" for the model in training.
    `pandas.DataFrame(load_runs(path))` takes it as it is.

    Raises:
        ValueError: there is no run.
    """
    return [_row(model) for model in models_of(read_runs([Path(path)]).runs)]


def load_epochs(path: str | Path) -> list[dict[str, Any]]:
    """Return one row for each epoch of each model of each run in or below a folder.

    A row has `folder`, `model` and what `metrics.jsonl` says of the epoch; what is said of one
    model, as `val/model/top1` or `norm/ema_0.9`, is in the rows of that model: `val/top1`, `norm`.

    Raises:
        ValueError: there is no run.
    """
    return [
        {"folder": str(model.run.folder), "model": model.name, **_of_model(model, row)}
        for model in models_of(read_runs([Path(path)]).runs)
        for row in model.run.rows
    ]


def _row(model: Model) -> dict[str, Any]:
    run = model.run
    suffix = "best" if model.name == "model" else f"{model.name}_best"
    numbers = {
        f"{split}/{name}{end}": value
        for split, saved in run.about.get("results", {}).items()
        for saved_name, end in ((model.name, ""), (suffix, "/best"))
        for name, value in saved.get(saved_name, {}).items()
    }
    return {
        "folder": str(run.folder),
        "state": run.state,
        "task": run.task,
        "seed": run.seed,
        "model": model.name,
        "epoch": run.about.get("epoch", len(run.rows)),
        "step": run.about.get("step"),
        **{key: value for key, value in model.settings.items() if key not in ("model", "task")},
        "model_choice": model.settings.get("model"),
        **numbers,
    }


def _of_model(model: Model, row: Any) -> dict[str, Any]:
    """Return what a row says of the run and of one model."""
    found: dict[str, Any] = {}
    names = set(model.run.models)
    for key, value in row.items():
        first, _, rest = key.partition("/")
        name, _, number = rest.partition("/")
        if first == "val":
            if name == model.name:
                found[f"val/{number}"] = value
        elif first == "norm" and rest in names:
            if rest == model.name:
                found["norm"] = value
        elif first == "norm":
            if rest == f"model_minus_{model.name}":
                found["norm/model_minus_average"] = value
        else:
            found[key] = value
    return found
