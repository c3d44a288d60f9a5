"""Runs as plain rows, for your own plots."""

from pathlib import Path
from typing import Any

from visionlab.analysis.metrics import saved_name
from visionlab.analysis.models import ModelRecord, model_records
from visionlab.analysis.records import Row, read_runs


def load_runs(path: str | Path) -> list[dict[str, Any]]:
    """Return one row for each model of each run in or below a folder.

    A row has `folder`, `state`, `task`, `seed`, `model`, `epoch`, `step`; each setting by its
    dotted name and each config group by its choice; and each final metric as `<split>/<metric>` for
    the last weights and `<split>/<metric>/best` for the best ones on validation. `averaged.decay`
    is "none" for the raw model. `pandas.DataFrame(load_runs(path))` works as is.

    Raises:
        ValueError: there is no run.
    """
    return [_run_row(model) for model in model_records(read_runs([Path(path)]).runs)]


def load_epochs(path: str | Path) -> list[dict[str, Any]]:
    """Return one row for each epoch of each model of each run in or below a folder.

    A row has `folder`, `model` and the row of `metrics.jsonl`; entries of a single model, as
    `val/model/top1` or `norm/ema_0.9`, are in the rows of that model only, as `val/top1`, `norm`.

    Raises:
        ValueError: there is no run.
    """
    return [
        {"folder": str(model.run.folder), "model": model.name, **_epoch_row(model, row)}
        for model in model_records(read_runs([Path(path)]).runs)
        for row in model.run.rows
    ]


def _run_row(model: ModelRecord) -> dict[str, Any]:
    run = model.run
    metrics = {
        f"{split}/{name}{suffix}": value
        for split, saved in run.info.get("results", {}).items()
        for key, suffix in ((model.name, ""), (saved_name(model, "best"), "/best"))
        for name, value in saved.get(key, {}).items()
    }
    return {
        "folder": str(run.folder),
        "state": run.state,
        "task": run.task,
        "seed": run.seed,
        "model": model.name,
        "epoch": run.info.get("epoch", len(run.rows)),
        "step": run.info.get("step"),
        **{key: value for key, value in model.settings.items() if key not in ("model", "task")},
        "model_choice": model.settings.get("model"),
        **metrics,
    }


def _epoch_row(model: ModelRecord, row: Row) -> dict[str, Any]:
    """Return the entries of a row for the run and for one model."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        kind, _, rest = key.partition("/")
        if kind == "val" and rest.startswith(f"{model.name}/"):
            found[f"val/{rest.partition('/')[2]}"] = value
        elif key in (f"norm/{model.name}", f"best/{model.name}"):
            found[kind] = value
        elif key == f"norm/model_minus_{model.name}":
            found["norm/model_minus_average"] = value
        elif kind not in ("val", "norm", "best"):
            found[key] = value
    return found
