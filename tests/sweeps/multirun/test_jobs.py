"""The jobs of a grid: composed as Hydra composes them, and named by what differs."""

from pathlib import Path
from typing import Any

import pytest
from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from visionlab.config import command_line
from visionlab.sweeps.multirun.jobs import compose_jobs


def master(loader: ConfigLoader, *overrides: str) -> DictConfig:
    return loader.load_configuration("train", list(overrides), RunMode.MULTIRUN)


def by_hydra(loader: ConfigLoader, multirun: DictConfig, overrides: list[str]) -> Any:
    config = loader.load_sweep_config(multirun, overrides)
    OmegaConf.set_struct(config, False)
    config.pop("hydra")
    config.pop("sweep")
    return OmegaConf.to_container(config, resolve=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["optimizer.lr=0.1,1e-3", "averaged.decay=[0.9,0.99],[],0.5", "hparams.epochs=3"],
        ["scheduler=cosine,step_effnet,multistep_he", "global_seed=1,null"],
        ["scheduler=step_effnet,multistep_he", "scheduler.gamma=0.5,0.25"],
        ["task=classification,detection", "hparams.batch_size=4,8", "device='cpu',auto"],
        ["dataset=imagefolder", "dataset.root='/a b',/c", "augment=none,cutout"],
        ["experiment=bccd", "dataset.root=x", "optimizer.lr=0.1,0.2", "hparams.epochs=5"],
        ["stop.max_steps=null,5", "model=resnet20,resnet32", "model.depth=8,14"],
        ["++optimizer.lr=0.1,0.2", "global_seed=1,2"],
    ],
)
def test_each_job_is_what_hydra_composes(loader: ConfigLoader, arguments: list[str]) -> None:
    multirun = master(loader)
    jobs = compose_jobs(loader, multirun, arguments)
    assert len(jobs) > 1
    assert [job.number for job in jobs] == list(range(len(jobs)))
    assert len({job.name for job in jobs}) == len(jobs)
    fixed = [each for each in arguments if each.partition("=")[0] not in jobs[0].swept]
    fixed = [each for each in fixed if each.lstrip("+").partition("=")[0] not in jobs[0].swept]
    for job in jobs:
        forced = "++" if arguments[0].startswith("++") else ""
        swept = [f"{forced}{key}={value}" for key, value in job.swept.items()]
        assert job.config == by_hydra(loader, multirun, [*swept, *fixed])


def test_a_job_is_named_by_what_differs(loader: ConfigLoader) -> None:
    arguments = ["scheduler=cosine,linear", "hparams.epochs=3", "averaged.decay=0.9,[0.9,0.99]"]
    assert [job.name for job in compose_jobs(loader, master(loader), arguments)] == [
        f"scheduler={scheduler},averaged.decay={decay}"
        for scheduler in ("cosine", "linear")
        for decay in ("0.9", "[0.9,0.99]")
    ]


def test_a_template_of_the_users_names_the_folders(loader: ConfigLoader) -> None:
    template = "hydra.sweep.subdir=${task.name}_${hydra.job.num}"
    jobs = compose_jobs(loader, master(loader, template), ["global_seed=5,6"])
    assert [job.name for job in jobs] == ["classification_0", "classification_1"]


def test_experiments_bring_their_grids(loader: ConfigLoader) -> None:
    jobs = compose_jobs(loader, master(loader), ["experiment=ema_table1,ema_table2"])
    assert len(jobs) == 75 + 6
    first, last = jobs[0], jobs[-1]
    assert first.swept == {
        "experiment": "ema_table1",
        "scheduler": "multistep_he",
        "averaged.decay": "0.9",
        "global_seed": "1111",
    }
    assert last.swept == {"experiment": "ema_table2", "optimizer.lr": "0.01"}
    assert last.name == "experiment=ema_table2,optimizer.lr=0.01"
    assert last.config["global_seed"] == 1234
    assert last.config["scheduler"]["_target_"].endswith("Constant")


def test_the_command_line_wins_over_the_grid_of_an_experiment(loader: ConfigLoader) -> None:
    arguments = ["experiment=ema_table1", "averaged.decay=0.5", "global_seed=1"]
    jobs = compose_jobs(loader, master(loader), arguments)
    assert [list(job.swept) for job in jobs] == [["scheduler"]] * 5
    assert {job.config["averaged"]["decay"] for job in jobs} == {0.5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimizer.lr=0.1,0.1"], "optimizer.lr must list each value once, got 0.1,0.1"),
        (["dataset=imagefolder", "global_seed=1,2"], "dataset.root must be given, got nothing"),
        (["+foo=1,2"], "foo must be a setting"),
    ],
)
def test_mistakes_are_named(loader: ConfigLoader, arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compose_jobs(loader, master(loader), arguments)


@pytest.mark.parametrize("arguments", [["scheduler=cosin,linear"], ["optimizer.x=1,2"]])
def test_hydra_says_what_it_refuses(loader: ConfigLoader, arguments: list[str]) -> None:
    with pytest.raises(HydraException):
        compose_jobs(loader, master(loader), arguments)


def test_a_value_of_a_wrong_type_is_refused_by_its_key(loader: ConfigLoader) -> None:
    with pytest.raises(
        ValueError, match=r"^optimizer.lr must be a number, got 'abc' \(job optimizer.lr=abc\)$"
    ):
        compose_jobs(loader, master(loader), ["optimizer.lr=0.1,abc"])


def test_what_is_common_to_all_jobs_is_left_to_them() -> None:
    arguments = ["--multirun", "dataset=a,b", "dataset.root=/x", "averaged.decay=[1,2]", "a.b=1,2"]
    arguments += [
        "hydra.sweep.dir=y",
        "sweep.share=false",
        "+experiment=e",
        "a.b=c=d",
        "a.b=",
        "a.c=null",
    ]
    assert command_line._for_hydra(arguments) == [
        "--multirun",
        "dataset=a,b",
        "dataset.root=choice(/x)",
        "averaged.decay=choice([1,2])",
        "a.b=1,2",
        "hydra.sweep.dir=y",
        "sweep.share=false",
        "experiment=e",
        "a.b=c=d",
        "a.b=",
        "a.c=null",
    ]
    assert command_line._for_hydra(["dataset.root=/x"]) == ["dataset.root=/x"]


def test_null_removes_the_groups_that_may_be_null() -> None:
    given = ["experiment=ema_table1", "+experiment=null", "views=null", "optimizer.lr=null"]
    assert command_line._for_hydra(given) == ["optimizer.lr=null"]
    assert command_line._for_hydra(["search=null", "trial=null"]) == ["trial=null", "~search"]
    with pytest.raises(ValueError, match=r"^pruner must be one of .*none, got null$"):
        command_line._for_hydra(["pruner=null"])


def test_paths_that_exist_need_no_quotes(tmp_path: Path) -> None:
    run = tmp_path / "scheduler=cosine,averaged.decay=[0.5,0.9]"
    run.mkdir()
    assert command_line._for_hydra([f"run={run}", "x=/no=where,y"]) == [
        f"run='{run}'",
        "x=/no=where,y",
    ]
