"""Random settings end in success or in one clear line: no traceback, no hang, nothing harmed.

A mutation changes one to three settings of a command. It is composed and checked; if it is not
refused, the run is built on a few small images and takes a step, and its pictures are drawn.
"""

import contextlib
import multiprocessing
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from composing import composed
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from visionlab.config.command_line import CONF
from visionlab.config.errors import USER_ERRORS, explain
from visionlab.config.hydra_settings import guard_hydra_settings
from visionlab.config.run_config import Invocation
from visionlab.files.run_folder import flatten_config
from visionlab.runs.evaluation_options import evaluation_options
from visionlab.runs.plots import plot_options
from visionlab.runs.train import train

pytestmark = pytest.mark.slow

NUM_MUTATIONS, PER_CASE = 600, 20
SECONDS = 240
SMALL = ("stop.max_steps=1", "threads=1", "device=cpu", "tensorboard=false")
COMMANDS: Mapping[str, Sequence[str]] = {
    "classification": ("model.depth=8", *SMALL),
    "detection": (
        *("task=detection", "model=retinanet_small", "hparams.batch_size=2", *SMALL),
        *("dataset.num_train=6", "dataset.num_val=2", "dataset.num_test=2"),
    ),
    "keypoints": (
        *("task=keypoints", "model=keypoints_small", "hparams.batch_size=4", *SMALL),
        *("dataset.num_train=12", "dataset.num_val=4", "dataset.num_test=4"),
    ),
    "fasterrcnn": (
        *("task=detection", "model=fasterrcnn_small", "hparams.batch_size=2", *SMALL),
        *("dataset.num_train=6", "dataset.num_val=2", "dataset.num_test=2"),
    ),
    "oriented": (
        *("task=detection", "dataset=rotated_digit_scenes", "hparams.batch_size=2", *SMALL),
        *("dataset.num_train=6", "dataset.num_val=2", "dataset.num_test=2"),
    ),
    "pretraining": (
        *("task=pretraining", "model.queue_length=16", "hparams.batch_size=8", *SMALL),
        *("dataset.num_train=24", "dataset.num_test=4"),
    ),
}
OTHERS: Mapping[str, Sequence[str]] = {
    "eval": ("run=RUN", "views=mirrored", "ensemble=snapshots", "fuse=wbf", "compare=boxes"),
    "plots": ("runs=RUN",),
    "tune": SMALL,
}
NUMBERS = (
    *("0", "1", "-1", "2", "3", "7", "100", "2147483648", "0.1", "0.5", "0.99", "1.5", "-0.5"),
    *("1e-30", "1e18", "1e30", "1e308", "inf", "nan"),
)
LISTS = (
    *("[]", "[1]", "[-1]", "[0.5]", "[0.5,0.5]", "[0.1,0.9]", "[1,2]", "[2,1]", "[1e30,1e30]"),
    *("[0,0,0]", "[1,1,1]", "[1e30,1,1]", "[abc]", "[[1]]", "[nan,nan]"),
)
WORDS = (
    *("null", "true", "false", "abc", "''", "{}", "{a: 1}", "x/y", "'a b'", "os.system", "loss"),
    *("visionlab.optim.Sgd", "visionlab.tasks.detection.Detect", "visionlab.images.Resize"),
    *("visionlab.tasks.classification.top1", "${oc.env:HOME}", "[", "a,b"),
)
GROUPS = ("scheduler", "optimizer", "averaged", "augment", "loss", "hparams")
# these settings only make a run longer, or another place or device
LEFT_ALONE = (
    "stop.",
    "dataset.num_t",
    "hparams.epochs",
    "device",
    "resume",
    "sweep.",
    "dataset.root",
    "compile",
)


def mutation(rng: random.Random, base: Sequence[str], name: str) -> list[str]:
    """Return the overrides of a command with one to three random values."""
    flat = flatten_config(composed(*base, name=name))
    keys = [key for key in flat if not key.startswith(LEFT_ALONE)]
    chosen = [f"{key}={_value(rng, flat[key])}" for key in rng.sample(keys, rng.randint(1, 3))]
    if name == "train" and rng.random() < 0.3:
        group = rng.choice(GROUPS)
        files = sorted(path.stem for path in Path(CONF, group).glob("*.yaml"))
        chosen.insert(0, f"{group}={rng.choice(files)}")
    return [*base, *chosen]


def _value(rng: random.Random, now: Any) -> str:
    """Return a value for a setting, mostly one of a likely type."""
    if rng.random() < 0.2:
        return rng.choice([*NUMBERS, *LISTS, *WORDS])
    if isinstance(now, bool | str) or now is None:
        return rng.choice([*WORDS, *NUMBERS])
    return rng.choice(LISTS if isinstance(now, list) else NUMBERS)


def attempt(overrides: Sequence[str], name: str, folder: Path) -> None:
    """Do what a script does with the overrides, as far as a small run shows it."""
    config = composed(*overrides, name=name)
    if name == "train":
        train(config, Invocation(folder=folder, choices={}, overrides=list(overrides)))
    elif name == "eval":
        evaluation_options(config)
    elif name == "plots":
        plot_options(config)


def outcome(overrides: Sequence[str], name: str, folder: Path) -> str:
    """Return the fault of an attempt, or nothing."""
    try:
        attempt(overrides, name, folder)
    except (*USER_ERRORS, HydraException, OmegaConfBaseException) as error:
        line = explain(error)
        return "" if line and len(line) < 1500 else f"no clear line: {line:.200}"
    except BaseException as error:
        return f"{type(error).__name__}: {error!s:.200}"
    return nonsense(folder) if name == "train" else ""


def nonsense(folder: Path) -> str:
    """Return what a run that was accepted should not have left behind, or nothing."""
    weights = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["model"]
    broken = [key for key, value in weights.items() if not value.float().isfinite().all()]
    return f"weights that are not finite: {broken[0]}" if broken else ""


@contextlib.contextmanager
def forked(overrides: Sequence[str], name: str, folder: Path) -> Iterator[str]:
    """Yield the outcome of an attempt in a process of its own, which may hang."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work() -> None:
        folder.mkdir(parents=True)
        torch.set_num_threads(1)
        guard_hydra_settings()  # as the scripts do
        sender.send(outcome(overrides, name, folder))

    process = context.Process(target=work)
    process.start()
    sender.close()
    try:
        yield receiver.recv() if receiver.poll(SECONDS) else f"no end after {SECONDS} s"
    except EOFError:
        yield f"the process died with {process.exitcode}"
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize("case", range(NUM_MUTATIONS // PER_CASE))
def test_random_settings_end_in_success_or_one_line(case: int, tmp_path: Path) -> None:
    faults: list[Any] = []
    for number in range(PER_CASE):
        rng = random.Random(case * PER_CASE + number)
        name = rng.choice(["train"] * 4 + [*OTHERS])
        base = COMMANDS[rng.choice([*COMMANDS])] if name == "train" else OTHERS[name]
        overrides = mutation(rng, base, name)
        with forked(overrides, name, tmp_path / str(number)) as fault:
            if fault:
                faults.append((case * PER_CASE + number, name, overrides[len(base) :], fault))
    assert not faults
