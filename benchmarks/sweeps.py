"""What visionlab claims about multiruns, measured with its own scripts.

    python benchmarks/sweeps.py --root DIR [--images 400] [--epochs 3] [--only sharing,slots,...]

DIR holds `cifar-10-batches-py`, of which a subset is trained on. Run it on a quiet machine.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cifar_subset import write_subset
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf
from sides import describe

from visionlab.config import command_line
from visionlab.config.run_config import completed
from visionlab.sweeps.multirun.jobs import compose_jobs

TRAIN = str(Path(__file__).parents[1] / "train.py")
SCHEDULES = "scheduler=multistep_he,step_effnet,constant,cosine,linear"
DECAYS = "averaged.decay=0.9,0.99,0.999,0.9995,0.9997"
RATES = "optimizer.lr=" + ",".join(f"{number / 1000:.3f}" for number in range(1, 101))
TOY = """
import hydra
from visionlab.config import command_line
command_line.register()
@hydra.main(version_base="1.3", config_path=command_line.CONF, config_name="train")
def main(config): return 0.0
if __name__ == "__main__": main()
"""


def timed(*arguments: str, folder: Path, script: str = TRAIN) -> float:
    """Return the seconds of a command."""
    began = time.perf_counter()
    subprocess.run([sys.executable, script, "--multirun", *arguments], cwd=folder, check=True)
    return time.perf_counter() - began


def train_seconds(sweep: Path) -> list[float]:
    return [json.loads(path.read_text())["train_seconds"] for path in sweep.glob("*/run.json")]


def sharing(settings: list[str], folder: Path) -> Iterator[str]:
    """5 schedules x 5 decays x 1 seed, shared and not; then once more, with nothing to do."""
    grid = [*settings, SCHEDULES, DECAYS]
    shared = timed(*grid, "hydra.sweep.dir=shared", folder=folder)
    alone = timed(*grid, "hydra.sweep.dir=alone", "sweep.share=false", folder=folder)
    yield f"25 jobs: shared {shared:.1f} s, alone {alone:.1f} s, ratio {alone / shared:.2f}"
    again = timed(*grid, "hydra.sweep.dir=shared", folder=folder)
    yield f"the same with all 25 finished: {again:.1f} s"


def skipping(settings: list[str], folder: Path) -> Iterator[str]:
    """75 finished jobs."""
    grid = [*settings, SCHEDULES, DECAYS, "global_seed=1111,1234,4321"]
    pretend_finished(grid, folder / "done", number=75)
    seconds = timed(*grid, f"hydra.sweep.dir={folder / 'done'}", folder=folder)
    yield f"75 finished jobs skipped in {seconds:.1f} s, start included"


def planning(settings: list[str], folder: Path) -> Iterator[str]:
    """1,000 jobs of which 990 are finished, until the plan is told."""
    grid = [*settings, "scheduler=cosine,linear", DECAYS, RATES]
    pretend_finished(grid, folder / "many", number=990)
    command = [sys.executable, TRAIN, "--multirun", *grid, f"hydra.sweep.dir={folder / 'many'}"]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    seconds = time.perf_counter() - began
    process.kill()
    yield f"planned in {seconds:.1f} s: {line.strip()}"


def launching(settings: list[str], folder: Path) -> Iterator[str]:
    """Jobs that do nothing, in a process each."""
    toy = folder / "toy.py"
    toy.write_text(TOY)
    few, many = (
        timed(
            "global_seed=" + ",".join(map(str, range(count))),
            "hydra/sweeper=basic",
            "hydra.sweep.subdir=${hydra.job.num}",
            f"hydra.sweep.dir=toy{count}",
            folder=folder,
            script=str(toy),
        )
        for count in (2, 22)
    )
    yield f"a job that does nothing: {(many - few) / 20:.2f} s in a process of its own"


def slots(settings: list[str], folder: Path) -> Iterator[str]:
    """Four trainings one after another with two threads, and two at a time with one."""
    ratios = []
    for number in range(3):
        seconds = [
            timed(
                *settings,
                "averaged=none",
                "global_seed=1,2,3,4",
                f"hydra.launcher.slots={count}",
                f"threads={3 - count}",
                f"hydra.sweep.dir=slots{count}_{number}",
                folder=folder,
            )
            and sum(train_seconds(folder / f"slots{count}_{number}")) / count
            for count in (1, 2)
        ]
        ratios.append(seconds[0] / seconds[1])
    middle = statistics.median(ratios)
    yield f"slots=2 with one thread each: {middle:.2f} times the images/s of two threads ({ratios})"


def pretend_finished(arguments: list[str], sweep: Path, *, number: int) -> None:
    """Write what the first jobs of a grid leave that matters for planning."""
    command_line.register()
    with initialize_config_dir(version_base="1.3", config_dir=command_line.CONF):
        loader = GlobalHydra.instance().config_loader()
        given = command_line._for_hydra(["--multirun", *arguments])[1:]
        master = loader.load_configuration("train", given, RunMode.MULTIRUN)
        jobs = compose_jobs(loader, master, given)
    for job in jobs[:number]:
        (sweep / job.name).mkdir(parents=True)
        config = completed(OmegaConf.create(dict(job.config)))
        (sweep / job.name / "config.yaml").write_text(OmegaConf.to_yaml(config))
        (sweep / job.name / "run.json").write_text('{"status": "finished", "best": {}}')


PARTS = {part.__name__: part for part in (sharing, skipping, planning, launching, slots)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--only", default=",".join(PARTS))
    arguments = parser.parse_args()
    os.environ.pop("OMP_NUM_THREADS", None)
    found = [describe(threads=2)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_subset(arguments.root, folder / "subset", arguments.images)
        settings = ["dataset=cifar10", f"dataset.root={folder / 'subset'}", "dataset.verify=false"]
        settings += [f"hparams.epochs={arguments.epochs}", "tensorboard=false"]
        for part in re.split(",", arguments.only):
            found += PARTS[part](settings, folder)
    print("\n" + "\n".join(found))


if __name__ == "__main__":
    main()
