"""Speed of multiruns, measured with visionlab's own scripts.

    python benchmarks/sweeps.py [--root DIR] [--images 400] [--epochs 3] [--only sharing,slots,...]
        [--smoke]

DIR holds `cifar-10-batches-py`, of which a subset is trained on; without it the images are noise.
Run it on a quiet machine. `--smoke` only shows that everything runs: few jobs, few images, one
round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cifar_subset import write_noise, write_subset
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from sides import describe

from visionlab.config import command_line
from visionlab.config.run_config import resolve_config, to_yaml
from visionlab.sweeps.multirun.jobs import compose_jobs

TRAIN = str(Path(__file__).parents[1] / "train.py")
TOY = """
import hydra
from visionlab.config import command_line
command_line.register()
@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="train")
def main(config): return 0.0
if __name__ == "__main__": main()
"""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        settings: of every job.
        schedules: swept over.
        decays: swept over.
        num_rates: learning rates of the grid that is only planned.
        num_seeds: of finished jobs that are skipped, and of jobs side by side.
        num_toys: jobs that do nothing.
        rounds: of jobs side by side.
    """

    settings: list[str]
    schedules: str = "multistep_he,step_effnet,constant,cosine,linear"
    decays: str = "0.9,0.99,0.999,0.9995,0.9997"
    num_rates: int = 100
    num_seeds: int = 4
    num_toys: int = 22
    rounds: int = 3

    @property
    def grid(self) -> list[str]:
        """Jobs of which those with one schedule can share a training."""
        return [*self.settings, f"scheduler={self.schedules}", f"averaged.decay={self.decays}"]


Rows = Iterator[tuple[str, str]]


def timed(*arguments: str, folder: Path, script: str = TRAIN) -> float:
    """Return the seconds of a multirun."""
    began = time.perf_counter()
    command = [sys.executable, script, "--multirun", *arguments]
    subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)
    return time.perf_counter() - began


def train_seconds(sweep: Path) -> list[float]:
    return [json.loads(path.read_text())["train_seconds"] for path in sweep.glob("*/run.json")]


def sharing(plan: Plan, folder: Path) -> Rows:
    """Train a grid shared and not, then once more, with nothing to do."""
    shared = timed(*plan.grid, "hydra.sweep.dir=shared", folder=folder)
    alone = timed(*plan.grid, "hydra.sweep.dir=alone", "sweep.share=false", folder=folder)
    again = timed(*plan.grid, "hydra.sweep.dir=shared", folder=folder)
    num_jobs = len(train_seconds(folder / "alone"))
    yield f"{num_jobs} jobs that share trainings", f"{shared:.1f} s"
    yield f"{num_jobs} jobs alone", f"{alone:.1f} s, ratio {alone / shared:.2f}"
    yield f"{num_jobs} jobs, all finished before", f"{again:.1f} s"


def skipping(plan: Plan, folder: Path) -> Rows:
    """Skip finished jobs."""
    grid = [*plan.grid, f"global_seed=range({plan.num_seeds})"]
    num_jobs = pretend_finished(grid, folder / "done", num_left=0)
    seconds = timed(*grid, f"hydra.sweep.dir={folder / 'done'}", folder=folder)
    yield f"{num_jobs} finished jobs skipped, start included", f"{seconds:.1f} s"


def planning(plan: Plan, folder: Path) -> Rows:
    """Plan a grid of which all but two jobs are finished, until the plan is logged."""
    rates = ",".join(f"{number / 1000:.3f}" for number in range(1, plan.num_rates + 1))
    grid = [*plan.grid, f"optimizer.lr={rates}"]
    num_jobs = pretend_finished(grid, folder / "many", num_left=2)
    command = [sys.executable, TRAIN, "--multirun", *grid, f"hydra.sweep.dir={folder / 'many'}"]
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        seconds = time.perf_counter() - began
        process.terminate()
    if f"{num_jobs} jobs" not in line:
        raise RuntimeError(f"the first line must be the plan, got {line!r}")
    yield f"plan of {num_jobs} jobs, {num_jobs - 2} finished before", f"{seconds:.1f} s"


def launching(plan: Plan, folder: Path) -> Rows:
    """Launch jobs that do nothing, in a process each."""
    toy = folder / "toy.py"
    toy.write_text(TOY)
    few, many = (
        timed(
            f"global_seed=range({count})",
            "hydra/sweeper=basic",
            "hydra.sweep.subdir=${hydra.job.num}",
            f"hydra.sweep.dir=toy{count}",
            folder=folder,
            script=str(toy),
        )
        for count in (2, plan.num_toys)
    )
    seconds = (many - few) / (plan.num_toys - 2)
    yield "one more job that does nothing, in a process of its own", f"{seconds:.2f} s"


def slots(plan: Plan, folder: Path) -> Rows:
    """Train one job after another with two threads, and two at a time with one."""
    ratios = []
    for number in range(plan.rounds):
        alone, beside = (
            _seconds_in_slots(plan, folder, f"slots{count}_{number}", count) for count in (1, 2)
        )
        ratios.append(alone / beside)
    found = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    yield "images/s of two slots with a thread each against one with two threads", found


def _seconds_in_slots(plan: Plan, folder: Path, name: str, count: int) -> float:
    timed(
        *plan.settings,
        "averaged=none",
        f"global_seed=range({plan.num_seeds})",
        f"hydra.launcher.slots={count}",
        f"threads={3 - count}",
        f"hydra.sweep.dir={name}",
        folder=folder,
    )
    return sum(train_seconds(folder / name)) / count


def pretend_finished(arguments: list[str], sweep: Path, *, num_left: int) -> int:
    """Write what matters for planning of all but the last jobs of a grid; return their number."""
    command_line.register()
    with initialize_config_dir(version_base="1.3", config_dir=command_line.CONF):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("train", arguments, RunMode.MULTIRUN)
        jobs = compose_jobs(loader, master, arguments)
    for job in jobs[: len(jobs) - num_left]:
        (sweep / job.name).mkdir(parents=True)
        (sweep / job.name / "config.yaml").write_text(to_yaml(resolve_config(job.config)))
        (sweep / job.name / "run.json").write_text('{"status": "finished", "best": {}}')
    return len(jobs)


PARTS: dict[str, Callable[[Plan, Path], Rows]] = {
    part.__name__: part for part in (sharing, skipping, planning, launching, slots)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    os.environ.pop("OMP_NUM_THREADS", None)
    num_images, epochs = (4, 1) if arguments.smoke else (arguments.images, arguments.epochs)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.root:
            write_subset(arguments.root, folder / "subset", num_images)
        else:
            write_noise(folder / "subset", num_images)
        settings = ["dataset=cifar10", f"dataset.root={folder / 'subset'}", "dataset.verify=false"]
        settings += [f"hparams.epochs={epochs}", "tensorboard=false"]
        plan = Plan(settings)
        if arguments.smoke:
            smallest = [*settings, "model.depth=8"]
            plan = Plan(
                smallest,
                schedules="cosine",
                decays="0.9,0.99",
                num_rates=3,
                num_seeds=2,
                num_toys=3,
                rounds=1,
            )
        print(f"{describe(threads=2)}\n\n| measured | result |\n|---|---|")
        for part in arguments.only.split(","):
            for row in PARTS[part](plan, folder):
                print("| {} | {} |".format(*row), flush=True)


if __name__ == "__main__":
    main()
