"""Where the time of whole runs goes: forward, backward and step, and everything else.

    python benchmarks/whole_runs.py [--only digits,digit_scenes,drawn_faces] [--full]
        [--threads 2] [--smoke]

Runs are short, so that start, building and test weigh more than in one of the default length
(`--full`); the epochs are given alone too. Each run is `train.py` in a process of its own with a
clock around a few calls, which a step passes half a dozen times: no profiler. What runs inside
another phase counts for the inner one. Run it on a quiet machine. `--smoke` only shows that
everything runs.
"""

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import child
from results import options, publish
from sides import Claim, Result, Table

LEARNING = ("forward and loss", "backward", "optimizer step")
START = "start, imports, exit"
ONCE = (START, "building", "test and pictures")  # however many epochs there are


def sizes(*counts: int) -> list[str]:
    """Return overrides of the sizes of splits; RUNS have half the default ones."""
    splits = zip(("train", "val", "test"), counts, strict=True)
    return [f"dataset.num_{split}={count}" for split, count in splits]


FULL = {"digits": [], "digit_scenes": ["task=detection"], "drawn_faces": ["task=keypoints"]}
RUNS = {
    "digits": ["hparams.epochs=5"],
    "digit_scenes": ["task=detection", "hparams.epochs=1", *sizes(1000, 50, 100)],
    "drawn_faces": ["task=keypoints", "hparams.epochs=1", *sizes(2000, 150, 150)],
}
SMALLEST = {
    "digits": ["model.depth=8", "hparams.epochs=1"],
    "digit_scenes": ["task=detection", "hparams.epochs=1", *sizes(4, 4, 4)],
    "drawn_faces": ["task=keypoints", "hparams.epochs=1", *sizes(4, 4, 4)],
}


class Clock:
    """Seconds by phase; the innermost phase counts."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._phases = ["other"]
        self._changed = time.perf_counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self._advance()
        self._phases.append(name)
        try:
            yield
        finally:
            self._advance()
            self._phases.pop()

    def around(self, owner: Any, method: str, name: str) -> None:
        """Count the calls of a function of a module, class or object as a phase."""
        function = getattr(owner, method)

        def timed(*arguments: Any, **settings: Any) -> Any:
            with self.phase(name):
                return function(*arguments, **settings)

        setattr(owner, method, timed)

    def around_items(self, owner: Any, method: str, name: str) -> None:
        """Count the making of each item of an iterator as a phase."""
        function = getattr(owner, method)

        def timed(*arguments: Any, **settings: Any) -> Iterator[Any]:
            items = function(*arguments, **settings)
            while True:
                with self.phase(name):
                    item = next(items, None)
                if item is None:
                    return
                yield item

        setattr(owner, method, timed)

    def read(self) -> dict[str, float]:
        self._advance()
        return dict(self.seconds)

    def _advance(self) -> None:
        now = time.perf_counter()
        self.seconds[self._phases[-1]] += now - self._changed
        self._changed = now


def train_timed(file: Path, overrides: Sequence[str]) -> None:
    """Run `train.py` in this process; write the seconds of its phases to a file."""
    clock = Clock()
    with clock.phase(START):
        from torch import Tensor, nn, optim

        from visionlab.__main__ import run
        from visionlab.engine import loop
        from visionlab.engine.shared_runs import RunObserver, SharedCheckpoints
        from visionlab.optim.averaging import Average
        from visionlab.runs import observing, train
        from visionlab.task import Task

    calls: Sequence[tuple[Any, str, str]] = (
        (train, "build_training", "building"),
        (Task, "losses", "forward and loss"),
        (Tensor, "backward", "backward"),
        (nn.utils, "clip_grad_norm_", "gradient clipping"),
        (optim.SGD, "step", "optimizer step"),
        (optim.AdamW, "step", "optimizer step"),
        (Average, "update", "averages"),
        (loop.seeding, "seed_everything", "seeding"),
        (loop, "validate", "validation"),
        (SharedCheckpoints, "save_last", "checkpoints"),
        (SharedCheckpoints, "save_model", "checkpoints"),
        (RunObserver, "on_step", "records"),
        (RunObserver, "on_epoch", "records"),
        (train, "final_results", "test and pictures"),
        (observing, "draw_pictures", "test and pictures"),
    )
    for owner, method, name in calls:
        clock.around(owner, method, name)
    clock.around_items(loop, "_steps", "training input")
    sys.argv = ["train.py", *overrides]
    try:
        run("train")
    finally:
        file.write_text(json.dumps(clock.read()))


def measure(name: str, overrides: Sequence[str], *, threads: int) -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "phases.json"
        settings = [*overrides, f"threads={threads}", f"hydra.run.dir={folder}/run"]
        whole = child.run([__file__, "--phases", str(file), *settings], folder=Path(folder)).seconds
        phases: dict[str, float] = json.loads(file.read_text())
    phases[START] += whole - sum(phases.values())
    rows = [
        (phase, f"{seconds:.1f}", f"{seconds / whole:.1%}")
        for phase, seconds in sorted(phases.items(), key=lambda each: -each[1])
    ]
    title = " ".join(["train.py", *overrides])
    yield Table(
        title=f"{title}: {whole:.1f} s",
        columns=["phase", "seconds", "share of the whole"],
        rows=rows,
    )
    yield share(f"{name}: forward, backward and step, of the whole", phases, ())
    text = f"{name}: the same, of the epochs alone, without {', '.join(ONCE)}"
    yield share(text, phases, ONCE)


def share(text: str, phases: Mapping[str, float], without: Sequence[str]) -> Claim:
    """Return a claim about the share of learning in all phases, or in all but some."""
    whole = sum(seconds for phase, seconds in phases.items() if phase not in without)
    learning = sum(phases[phase] for phase in LEARNING)
    return Claim(text=text, values=[100 * learning / whole], unit="%", at_least=85)


def main() -> None:
    if sys.argv[1:2] == ["--phases"]:
        train_timed(Path(sys.argv[2]), sys.argv[3:])
        return
    parser = options(__doc__)
    parser.add_argument("--only", default=",".join(RUNS))
    parser.add_argument("--full", action="store_true", help="runs of the default length")
    arguments = parser.parse_args()
    os.environ.pop("OMP_NUM_THREADS", None)
    runs = SMALLEST if arguments.smoke else FULL if arguments.full else RUNS
    results = (
        each
        for name in arguments.only.split(",")
        for each in measure(name, runs[name], threads=arguments.threads)
    )
    publish(results, threads=arguments.threads, json_file=arguments.json)


if __name__ == "__main__":
    main()
