"""Stages of chains as the jobs of a grid; `tests/runs/test_chain.py` trains some."""

from pathlib import Path

import pytest
from hydra.core.config_loader import ConfigLoader

from visionlab.config.chains import for_chain
from visionlab.config.overrides import as_choice
from visionlab.sweeps.multirun.chain_jobs import compose_chain_jobs, is_of_chains
from visionlab.sweeps.multirun.jobs import Job

SWEEP = Path("/sweep")


def jobs_of(loader: ConfigLoader, *arguments: str) -> list[Job]:
    given = [as_choice(each) for each in for_chain(arguments) if not each.startswith("hydra.")]
    assert is_of_chains(given)
    return compose_chain_jobs(loader, given, sweep=SWEEP)


def test_stages_are_jobs_of_their_own_settings_and_of_those_before(loader: ConfigLoader) -> None:
    jobs = jobs_of(
        loader,
        *("chain=landmarks", "dataset.root=/data", "global_seed=0,1"),
        "decay.optimizer.lr=1e-4,1e-5",
    )
    names = [job.name for job in jobs]
    first_three = ("frozen", "unfrozen", "enme")
    assert sorted(names) == sorted(
        [f"{stage},global_seed={seed}" for stage in first_three for seed in (0, 1)]
        + [f"decay,global_seed={seed},optimizer.lr={lr}" for seed in (0, 1) for lr in (1e-4, 1e-5)]
    )
    last = jobs[names.index("decay,global_seed=1,optimizer.lr=1e-05")]
    assert last.needs == ["enme,global_seed=1"]
    assert last.config["model"]["checkpoint"] == f"{SWEEP / last.needs[0]}/checkpoints/last.pt"
    assert (last.config["optimizer"]["lr"], last.config["global_seed"]) == (1e-5, 1)
    assert last.swept == {"stage": "decay", "global_seed": "1", "decay.optimizer.lr": "1e-05"}
    assert len({job.number for job in jobs}) == len(jobs)
    assert all(names.index(need) < names.index(job.name) for job in jobs for need in job.needs)


def test_several_chains_have_folders_of_their_own(loader: ConfigLoader) -> None:
    jobs = jobs_of(loader, "chain=landmarks,mocov2_fasterrcnn", "dataset.root=/data")
    assert [job.name for job in jobs] == [
        *(f"{stage},chain=landmarks" for stage in ("frozen", "unfrozen", "enme", "decay")),
        *(f"{stage},chain=mocov2_fasterrcnn" for stage in ("pretrain", "r1", "r2", "r3")),
    ]


def test_a_value_that_is_listed_twice_is_named(loader: ConfigLoader) -> None:
    with pytest.raises(ValueError, match="global_seed must list each value once, got 1,1"):
        jobs_of(loader, "chain=landmarks", "dataset.root=/data", "global_seed=1,1")


def test_a_job_has_the_settings_of_its_stages_launcher(loader: ConfigLoader) -> None:
    given = ["chain=landmarks", "dataset.root=/data", "global_seed=0,1"]
    jobs = jobs_of(loader, *given, "decay.hydra.launcher.slots=2")
    assert [job.name for job in jobs] == [job.name for job in jobs_of(loader, *given)]
    settings = {job.swept["stage"]: job.launcher for job in jobs}
    assert settings == dict.fromkeys(("frozen", "unfrozen", "enme"), ()) | {
        "decay": ("hydra.launcher.slots=2",)
    }
    with pytest.raises(
        ValueError, match=r"decay\.hydra\.launcher\.slots must be one value, got .*2,3"
    ):
        jobs_of(loader, *given, "decay.hydra.launcher.slots=2,3")
