"""Speed of multiruns, measured with visionlab's own scripts.

    python benchmarks/sweeps.py [--root DIR] [--images 150] [--epochs 3] [--jobs 1000]
        [--only sharing,slots,...] [--threads 2] [--rounds 2] [--smoke]

DIR holds `cifar-10-batches-py`, of which a subset is trained on; without it the images are noise.
`--jobs` are planned while all but two were finished before, and then read. Run it on a quiet
machine. `--smoke` only shows that everything runs: few jobs, few images, one round.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import child
from cifar_subset import write_noise, write_subset
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from results import options, publish
from sides import Claim, Result

from visionlab.config import command_line
from visionlab.config.run_config import resolve_config, to_yaml
from visionlab.sweeps.multirun.jobs import compose_jobs

NUM_EPOCHS = 30  # of each run that is only read
TOY = """
import hydra
from visionlab.config import command_line
command_line.register()
@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="train")
def main(config): return 0.0
if __name__ == "__main__": main()
"""
READ = """
import sys
from pathlib import Path
from visionlab.analysis.records import read_runs
print(len(read_runs([Path(sys.argv[1])]).runs), "runs")
"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured.

    Attributes:
        settings: of every job.
        threads: of a training.
        schedules: swept over.
        decays: swept over.
        num_planned: jobs of the grid that is only planned, and read.
        num_seeds: of finished jobs that are skipped, and of jobs side by side.
        num_toys: jobs that do nothing.
        num_digits: jobs of one epoch of the embedded digits.
        rounds: of jobs side by side.
    """

    settings: list[str]
    threads: int
    schedules: str = "multistep_he,step_effnet,constant,cosine,linear"
    decays: str = "0.9,0.99,0.999,0.9995,0.9997"
    num_planned: int
    num_seeds: int = 2
    num_toys: int = 22
    num_digits: int = 12
    rounds: int

    @property
    def grid(self) -> list[str]:
        """Jobs of which those with one schedule can share a training."""
        return [*self.settings, f"scheduler={self.schedules}", f"averaged.decay={self.decays}"]


def timed(*arguments: str, folder: Path, script: str = child.TRAIN) -> float:
    """Return the seconds of a multirun."""
    return child.run([script, "--multirun", *arguments], folder=folder).seconds


def train_seconds(sweep: Path) -> list[float]:
    return [json.loads(path.read_text())["train_seconds"] for path in sweep.glob("*/run.json")]


def sharing(plan: Plan, folder: Path) -> Iterator[Result]:
    """Train a grid shared and not, then once more, with nothing to do."""
    shared = timed(*plan.grid, "hydra.sweep.dir=shared", folder=folder)
    alone = timed(*plan.grid, "hydra.sweep.dir=alone", "sweep.share=false", folder=folder)
    again = timed(*plan.grid, "hydra.sweep.dir=shared", folder=folder)
    jobs = f"{len(train_seconds(folder / 'alone'))} jobs"
    yield seconds(f"{jobs} that share trainings", shared)
    yield seconds(f"{jobs} alone", alone)
    yield Claim(text=f"{jobs} shared against alone", values=[alone / shared], at_least=4.5)
    yield seconds(f"{jobs}, all finished before", again)


def skipping(plan: Plan, folder: Path) -> Iterator[Result]:
    """Skip finished jobs."""
    grid = [*plan.grid, f"global_seed=range({plan.num_seeds})"]
    num_jobs = pretend_finished(grid, folder / "done", num_left=0)
    found = timed(*grid, f"hydra.sweep.dir={folder / 'done'}", folder=folder)
    yield seconds(f"{num_jobs} finished jobs skipped, start included", found, at_most=8)


def planning(plan: Plan, folder: Path) -> Iterator[Result]:
    """Plan a grid of which all but two jobs are finished, until the plan is logged; read it."""
    num_rates = plan.num_planned // (plan.schedules.count(",") + 1) // (plan.decays.count(",") + 1)
    rates = ",".join(f"{number / 1e5:.5f}" for number in range(1, num_rates + 1))
    grid, sweep = [*plan.grid, f"optimizer.lr={rates}"], folder / "many"
    num_jobs = pretend_finished(grid, sweep, num_left=2)
    is_large = num_jobs >= 10_000  # what the goals are for; start is most of the rest
    text = f"plan of {num_jobs:,} jobs, {num_jobs - 2:,} finished before"
    planned = seconds_to_plan([*grid, f"hydra.sweep.dir={sweep}"], num_jobs, folder)
    yield seconds(text, planned, at_most=60 if is_large else None)
    found = child.run(["-c", READ, str(sweep)], folder=folder)
    text = f"{num_jobs - 2:,} runs of {NUM_EPOCHS} epochs read, start included"
    yield seconds(text, found.seconds, at_most=30 if is_large else None)
    yield Claim(text=f"{text}: memory", values=[found.peak_gb], unit="GB")


def seconds_to_plan(arguments: Sequence[str], num_jobs: int, folder: Path) -> float:
    """Start a multirun, and end it when it has logged its plan."""
    command = [sys.executable, child.TRAIN, "--multirun", *arguments]
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        taken = time.perf_counter() - began
        process.terminate()
    if f"{num_jobs} jobs" not in line:
        raise RuntimeError(f"the first line must be the plan, got {line!r}")
    return taken


def launching(plan: Plan, folder: Path) -> Iterator[Result]:
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
    found = (many - few) / (plan.num_toys - 2)
    yield seconds("one more job that does nothing, in a process of its own", found, at_most=1)


def digits(plan: Plan, folder: Path) -> Iterator[Result]:
    """Train short jobs as a multirun, and one as a run of its own."""
    settings = ["hparams.epochs=1", f"threads={plan.threads}"]
    seeds = f"global_seed=range({plan.num_digits})"
    multirun = timed(*settings, seeds, "hydra.sweep.dir=digits", folder=folder)
    single = child.run([child.TRAIN, *settings, "hydra.run.dir=single"], folder=folder).seconds
    jobs = f"{plan.num_digits} jobs of one epoch of digits"
    yield seconds(jobs, multirun)
    text = f"{jobs} against as many runs of their own"
    yield Claim(text=text, values=[plan.num_digits * single / multirun])


def slots(plan: Plan, folder: Path) -> Iterator[Result]:
    """Train one job after another with all threads, and two at a time with half of them."""
    ratios = []
    for number in range(plan.rounds):
        alone, beside = (
            _seconds_in_slots(plan, folder, f"slots{count}_{number}", count) for count in (1, 2)
        )
        ratios.append(alone / beside)
    text = f"images/s of two slots against one with all {plan.threads} threads"
    yield Claim(text=text, values=ratios, at_least=1.1)


def _seconds_in_slots(plan: Plan, folder: Path, name: str, count: int) -> float:
    timed(
        *plan.settings,
        "averaged=none",
        f"global_seed=range({plan.num_seeds})",
        f"hydra.launcher.slots={count}",
        f"threads={max(1, plan.threads // count)}",
        f"hydra.sweep.dir={name}",
        folder=folder,
    )
    return sum(train_seconds(folder / name)) / count


def seconds(text: str, value: float, *, at_most: float | None = None) -> Claim:
    return Claim(text=text, values=[value], unit="s", at_most=at_most)


def pretend_finished(arguments: list[str], sweep: Path, *, num_left: int) -> int:
    """Write what matters of all but the last jobs of a grid; return their number."""
    command_line.register()
    with initialize_config_dir(version_base="1.3", config_dir=command_line.CONF):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("train", arguments, RunMode.MULTIRUN)
        jobs = compose_jobs(loader, master, arguments)
    rows = [{"epoch": n, "step": n, "val/model/top1": 0.5} for n in range(1, NUM_EPOCHS + 1)]
    metrics = "".join(f"{json.dumps(row)}\n" for row in rows)
    for job in jobs[: len(jobs) - num_left]:
        (sweep / job.name).mkdir(parents=True)
        (sweep / job.name / "config.yaml").write_text(to_yaml(resolve_config(job.config)))
        (sweep / job.name / "run.json").write_text('{"status": "finished", "best": {}}')
        (sweep / job.name / "metrics.jsonl").write_text(metrics)
    return len(jobs)


PARTS: dict[str, Callable[[Plan, Path], Iterator[Result]]] = {
    part.__name__: part for part in (sharing, skipping, planning, launching, digits, slots)
}


def main() -> None:
    parser = options(__doc__, rounds=2)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--images", type=int, default=150, help="of each file of CIFAR-10")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1000, help="that are planned and read")
    parser.add_argument("--only", default=",".join(PARTS))
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
        plan = Plan(
            settings=[*settings, f"threads={arguments.threads}"],
            threads=arguments.threads,
            num_planned=arguments.jobs,
            rounds=arguments.rounds,
        )
        if arguments.smoke:
            plan = Plan(
                settings=[*settings, "model.depth=8"],
                threads=1,
                schedules="cosine",
                decays="0.9,0.99",
                num_planned=6,
                num_toys=3,
                num_digits=2,
                rounds=1,
            )
        results = (each for part in arguments.only.split(",") for each in PARTS[part](plan, folder))
        publish(results, threads=plan.threads, json_file=arguments.json)


if __name__ == "__main__":
    main()
