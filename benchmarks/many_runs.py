"""Tables, figures and report of many runs, by `plots.py`.

    python benchmarks/many_runs.py [--runs 200] [--threads 2] [--smoke]

The runs are made up: four schedules, three learning rates and as many seeds as it takes, 30 epochs
each of the model and one average, with predictions that come right by and by. Their form is that of
a real run, which is trained first. The goals are those of 1,000 runs. Run it on a quiet machine.
`--smoke` only shows that everything runs: few runs of few epochs.
"""

import functools
import itertools
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import child
import numpy as np
from composing import make_config
from results import options, publish
from sides import Claim, Result

from visionlab.config.run_config import to_yaml

SCHEDULERS = ("cosine", "linear", "constant", "step_effnet")
RATES = (0.01, 0.1, 0.2)  # figures have up to 12 panels, a setting each
NUM_VARIANTS = 10  # of predictions, which runs share as hard links


def train_one(folder: Path, *, threads: int) -> Path:
    """Train the run whose form the others take."""
    settings = ["model.depth=8", "hparams.epochs=1", f"threads={threads}", "tensorboard=false"]
    child.run([child.TRAIN, *settings, "hydra.run.dir=one"], folder=folder)
    return folder / "one"


def write_runs(one: Path, out: Path, *, num_runs: int, num_epochs: int) -> None:
    """Write runs of the form of one."""
    record = json.loads((one / "run.json").read_text())
    row = json.loads((one / "metrics.jsonl").read_text().splitlines()[-1])
    variants = write_predictions(one, out.parent / "variants", num_epochs)
    settings = list(itertools.product(SCHEDULERS, RATES))
    for number in range(num_runs):
        (scheduler, lr), seed = settings[number % len(settings)], number // len(settings)
        folder = out / f"{scheduler}_{lr}_{seed}"
        (folder / "predictions").mkdir(parents=True)
        config = configs(scheduler, lr) | {"global_seed": seed}
        (folder / "config.yaml").write_text(to_yaml(config))
        choices = record["choices"] | {"scheduler": scheduler}
        own = record | {"choices": choices, "seed": seed, "epoch": num_epochs}
        (folder / "run.json").write_text(json.dumps(own))
        lines = [json.dumps(made_up(row, epoch, number)) for epoch in range(1, num_epochs + 1)]
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
        for path in (variants / str(number % NUM_VARIANTS)).iterdir():
            os.link(path, folder / "predictions" / path.name)


@functools.cache
def configs(scheduler: str, lr: float) -> dict[str, Any]:
    return make_config("hparams.epochs=30", f"scheduler={scheduler}", f"optimizer.lr={lr}")


def made_up(row: Mapping[str, float], epoch: int, number: int) -> dict[str, float]:
    """Return a row of an epoch: metrics that approach 1 or 0, other numbers as they are."""
    draws = np.random.default_rng((number, epoch)).uniform(0.9, 1.1, len(row)).tolist()
    made: dict[str, float] = {}
    for (key, value), draw in zip(row.items(), draws, strict=True):
        error = draw * 0.9**epoch
        made[key] = 1.0 - error / 1.2 if "top" in key else value * error if "loss" in key else value
    return made | {"epoch": epoch, "step": epoch * int(row["step"])}


def write_predictions(one: Path, out: Path, num_epochs: int) -> Path:
    """Write predictions of both models after each epoch, in several variants."""
    for path in (one / "predictions").iterdir():
        name = path.name.partition("_")[2]
        with np.load(path) as arrays:
            last = dict(arrays)
        for variant, epoch in itertools.product(range(NUM_VARIANTS), range(1, num_epochs + 1)):
            draws = np.random.default_rng((variant, epoch)).uniform(size=len(last["label"]))
            correct = draws > 0.9**epoch
            predicted = np.where(correct, last["label"], (last["label"] + 1) % 10)
            folder = out / str(variant)
            folder.mkdir(parents=True, exist_ok=True)
            arrays = {**last, "correct": correct, "predicted": predicted.astype(np.int16)}
            np.savez_compressed(folder / f"{epoch:04d}_{name}", **arrays)
    return out


def measure(folder: Path, *, num_runs: int, num_epochs: int, threads: int) -> Iterator[Result]:
    one = train_one(folder, threads=threads)
    write_runs(one, folder / "runs", num_runs=num_runs, num_epochs=num_epochs)
    plots = str(child.ROOT / "plots.py")
    found = child.run([plots, "runs=runs", "out=plots"], folder=folder)
    text = f"plots.py of {num_runs:,} runs of {num_epochs} epochs"
    is_large = num_runs >= 1000
    yield Claim(text=text, values=[found.seconds], unit="s", at_most=60 if is_large else None)
    per_run = 1000 * found.seconds / num_runs
    yield Claim(text=f"{text}: a run, start included", values=[per_run], unit="ms")
    yield Claim(text=f"{text}: memory", values=[found.peak_gb], unit="GB", at_most=1)
    (report,) = (folder / "plots").glob("*.html")
    size_mb = report.stat().st_size / 1e6
    yield Claim(text=f"{text}: size of the report", values=[size_mb], unit="MB", at_most=5)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=int, default=200)
    arguments = parser.parse_args()
    num_runs, num_epochs = (4, 2) if arguments.smoke else (arguments.runs, 30)
    with tempfile.TemporaryDirectory() as folder:
        results = measure(
            Path(folder), num_runs=num_runs, num_epochs=num_epochs, threads=arguments.threads
        )
        publish(results, threads=arguments.threads, json_file=arguments.json)


if __name__ == "__main__":
    main()
