"""Run folders as training leaves them, with made-up numbers."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

CLASSES = ["airplane", "cat", "ship"]
SCHEDULERS = {
    "cosine": {
        "_target_": "visionlab.optim.Cosine",
        "warmup_steps": 0,
        "warmup_epochs": 0,
        "warmup_ratio": 0.0,
    },
    "constant": {
        "_target_": "visionlab.optim.Constant",
        "warmup_steps": 0,
        "warmup_epochs": 0,
        "warmup_ratio": 0.0,
    },
    "linear": {
        "_target_": "visionlab.optim.Linear",
        "warmup_steps": 0,
        "warmup_epochs": 0,
        "warmup_ratio": 0.0,
    },
}
STEPS = 10  # an epoch


def settings(*, scheduler: str, decay: Any, seed: int, lr: float, epochs: int) -> dict[str, Any]:
    """Return what `config.yaml` says, as far as it matters here."""
    return {
        "task": {"name": "classification", "monitor": "top1", "mode": "max"},
        "dataset": {
            "_target_": "visionlab.tasks.classification.Cifar",
            "root": "/data",
        },
        "model": {
            "_target_": "visionlab.tasks.classification.ResNetCifar",
            "depth": 20,
        },
        "optimizer": {"_target_": "visionlab.optim.Sgd", "lr": lr},
        "scheduler": SCHEDULERS[scheduler],
        "averaged": {"decay": decay, "uniform": False, "start_step": 0},
        "hparams": {"epochs": epochs, "batch_size": 128},
        "global_seed": seed,
        "device": "cpu",
        "threads": 1,
    }


def write_run(
    folder: Path,
    *,
    scheduler: str = "cosine",
    decay: float | Sequence[float] = 0.9,
    seed: int = 1,
    lr: float = 0.1,
    epochs: int = 3,
    num_samples: int = 40,
    status: str = "finished",
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Write one run. What the model in training does follows from scheduler, lr and seed alone."""
    folder.mkdir(parents=True)
    config = settings(scheduler=scheduler, decay=decay, seed=seed, lr=lr, epochs=epochs)
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, **(changes or {})}))
    decays = decay if isinstance(decay, Sequence) else [decay]
    names = ["model", *(f"ema_{each:g}" for each in decays)]
    done = epochs if status == "finished" else max(epochs - 1, 0)
    rows = [_row(epoch, names, scheduler, lr, seed) for epoch in range(1, done + 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "run.json").write_text(json.dumps(_record(config, names, scheduler, status, done)))
    (folder / "predictions").mkdir()
    for epoch, name in itertools.product(range(1, done + 1), names):
        arrays = _samples(name, epoch, scheduler, lr, seed, num_samples)
        np.savez_compressed(folder / "predictions" / f"{epoch:04d}_{name}.npz", **arrays)
    return folder


def write_grid(
    folder: Path,
    *,
    schedulers: Sequence[str] = ("cosine", "constant"),
    decays: Sequence[float] = (0.9, 0.99),
    seeds: Sequence[int] = (1, 2, 3),
    epochs: int = 3,
) -> Path:
    """Write a multirun: a folder for each job."""
    for scheduler, decay, seed in itertools.product(schedulers, decays, seeds):
        name = f"scheduler={scheduler},averaged.decay={decay},global_seed={seed}"
        write_run(folder / name, scheduler=scheduler, decay=decay, seed=seed, epochs=epochs)
    (folder / ".sweep").mkdir()
    return folder


def _generator(*what: Any) -> np.random.Generator:
    return np.random.default_rng(list(json.dumps(what).encode()))


def _row(
    epoch: int, names: Sequence[str], scheduler: str, lr: float, seed: int
) -> dict[str, float]:
    row = {"epoch": epoch, "step": epoch * STEPS, "lr": lr / epoch, "train/loss": 2.0 / epoch}
    for name in names:
        draw = _generator(name, scheduler, lr, seed, epoch)
        row[f"norm/{name}"] = 30 + float(draw.normal())
        if name != "model":
            row[f"norm/model_minus_{name}"] = float(draw.random())
        row[f"val/{name}/loss"] = float(draw.random())
        row[f"val/{name}/top1"] = float(draw.random())
        row[f"best/{name}"] = int(draw.random() < 0.5)
    return row


def _record(
    config: Mapping[str, Any], names: Sequence[str], scheduler: str, status: str, epoch: int
) -> dict[str, Any]:
    seed, lr = config["global_seed"], config["optimizer"]["lr"]
    results = {}
    for name in names:
        for saved in (name, "best" if name == "model" else f"{name}_best"):
            draw = _generator(saved, scheduler, lr, seed)
            results[saved] = {"loss": float(draw.random()), "top1": float(draw.random())}
    finished = {"results": {"test": results, "train_augmented": results}}
    return {
        "started": "2026-11-21 12:00:00",
        "updated": "2026-11-21 12:01:00",
        "status": status,
        "error": None,
        "seed": seed,
        "labels": CLASSES,
        "choices": {
            "task": "classification",
            "dataset": "cifar10",
            "model": "resnet20",
            "optimizer": "momentum",
            "scheduler": scheduler,
            "averaged": "ema",
        },
        "overrides": [f"scheduler={scheduler}"],
        "versions": {"visionlab": "0.1.0", "torch": "2.15.0"},
        "commit": {"hash": "0" * 40, "dirty": False},
        "hardware": {"device": "cpu", "cpu": "a CPU", "threads": 1},
        "epoch": epoch,
        "step": epoch * STEPS,
        "train_seconds": 12.5,
        "stopped": None,
        **(finished if status == "finished" else {}),
    }


def _samples(
    name: str, epoch: int, scheduler: str, lr: float, seed: int, count: int
) -> dict[str, np.ndarray[Any, Any]]:
    label = _generator("labels").integers(0, len(CLASSES), count).astype(np.int16)
    draw = _generator("samples", name, scheduler, lr, seed, epoch)
    is_right = draw.random(count) < 0.5 + 0.1 * epoch
    other = (label + draw.integers(1, len(CLASSES), count)) % len(CLASSES)
    predicted = np.where(is_right, label, other).astype(np.int16)
    return {
        "keys": np.arange(count),
        "loss": draw.random(count).astype(np.float32),
        "label": label,
        "predicted": predicted,
        "correct": predicted == label,
        "label_prob": draw.random(count).astype(np.float16),
    }
