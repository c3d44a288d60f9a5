"""Time from `python train.py` to its first step, beside what every such program has to import.

    python benchmarks/start.py [--only digits] [--threads 2] [--rounds 3] [--smoke]

Each side is a process of its own, which has the file cache to itself after the first round. The
other sides import torch and torchvision, or torch alone and take one step of SGD, which imports
`torch._dynamo`. Run it on a quiet machine. `--smoke` only shows that everything runs.
"""

import itertools
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import child
from results import options, publish
from sides import Result, compare, slowdown

IMPORTS = "import torch, torchvision"
STEP = """
import torch
model = torch.nn.Linear(2, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model(torch.ones(1, 2)).sum().backward()
optimizer.step()
"""
OBSERVER = ("parts=[first_step]", "observers.first._target_=first_step.Exit")
TASKS = {
    "digits": (),
    "digit_scenes": ("task=detection",),
    "drawn_faces": ("task=keypoints",),
}


def measure(folder: Path, *, threads: int, rounds: int, tasks: list[str]) -> Iterator[Result]:
    env = {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": _python_path()}
    run = partial(child.run, folder=folder, env=env)
    names = (f"run{number}" for number in itertools.count())

    def first_step(task: str) -> None:
        run([child.TRAIN, *TASKS[task], *OBSERVER, f"hydra.run.dir={next(names)}"])

    imports, step = "import torch, torchvision", "import torch, one step of SGD"
    sides = {imports: lambda: run(["-c", IMPORTS]), step: lambda: run(["-c", STEP])}
    firsts = {f"train.py to the first step, {task}": partial(first_step, task) for task in tasks}
    found = compare("Start", {**sides, **firsts}, rounds=rounds, count=1, unit="starts")
    yield found
    for name in firsts:
        for side in sides:
            yield slowdown(found, name, side, f"{name}, against {side}", at_most=1.3)


def _python_path() -> str:
    """Return the path on which a process finds the observer, and what this one was given."""
    return os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.getenv("PYTHONPATH")])])


def main() -> None:
    parser = options(__doc__, rounds=3)
    parser.add_argument("--only", default="digits", help=f"or others of {', '.join(TASKS)}")
    arguments = parser.parse_args()
    tasks = arguments.only.split(",")
    rounds = 1 if arguments.smoke else arguments.rounds
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder), threads=arguments.threads, rounds=rounds, tasks=tasks)
        publish(results, threads=arguments.threads, json_file=arguments.json)


if __name__ == "__main__":
    main()
