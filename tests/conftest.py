"""What every test gets: one thread, restored global state, hypothesis without a clock."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import slurm_cluster
import torch
from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck, settings

settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
settings.register_profile(
    "deep", deadline=None, max_examples=1000, suppress_health_check=list(HealthCheck)
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
# tiny tensors, and several processes at once: more threads only wait for each other
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _restore_global_state() -> Iterator[None]:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])
    torch.set_num_threads(1)
    GlobalHydra.instance().clear()


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running Slurm, see `slurm_cluster.variables`."""
    if reason := slurm_cluster.obstacle():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    slurm_cluster.start(folder)
    yield folder
    slurm_cluster.stop(folder)
