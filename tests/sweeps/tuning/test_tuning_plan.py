"""What a command line of `tune.py` asks for."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra

from visionlab.config import command_line
from visionlab.sweeps.tuning.plan import Plan, job_overrides, plan_study
from visionlab.sweeps.tuning.space import Choices, Interval
from visionlab.sweeps.tuning.storage_url import database_file
from visionlab.sweeps.tuning.study import Study

SHIPPED = {"optimizer.lr": Interval(low=0.001, high=3.0, log=True)}


def planned(*arguments: str, folder: Path) -> Plan:
    command_line.register()
    with initialize_config_dir(command_line.CONF, version_base="1.3"):
        own = [each for each in arguments if "," not in each]
        config = compose("tune", [*own, f"hydra.sweep.dir={folder}"], return_hydra_config=True)
        loader = GlobalHydra.instance().config_loader()
        assert isinstance(loader, ConfigLoaderImpl)
        config.hydra.overrides.task = []
        return plan_study(config, arguments, loader)[0]


def test_the_shipped_space(tmp_path: Path) -> None:
    plan = planned(folder=tmp_path)
    assert plan.space == SHIPPED
    assert plan.fixed == ["hparams.epochs=6"]
    assert (plan.n_trials, plan.direction, plan.url) == (
        20,
        "maximize",
        f"sqlite:///{tmp_path / 'study.db'}",
    )


def test_a_shipped_setting_gives_way_to_what_is_said_of_it_or_its_group(tmp_path: Path) -> None:
    assert planned("hparams.epochs=2", folder=tmp_path).fixed == ["hparams.epochs=2"]
    assert planned("hparams=he", folder=tmp_path).fixed == ["hparams=he"]
    plan = planned("optimizer=adamw,momentum", folder=tmp_path)
    assert plan.space == {"optimizer": Choices(values=["adamw", "momentum"])}


def test_the_shipped_space_can_be_removed(tmp_path: Path) -> None:
    (removal,) = command_line._for_hydra(["search=null"])
    plan = planned(removal, "scheduler=cosine,constant", folder=tmp_path)
    assert plan.space == {"scheduler": Choices(values=["cosine", "constant"])}


def test_a_study_may_lie_in_any_folder(tmp_path: Path) -> None:
    for name in ("a?b#c%41{1}", "plain (1)"):
        url = command_line.study_url(None, str(tmp_path / name))
        assert database_file(url) == tmp_path / name / "study.db"
        Study(url, "tune").create(direction="maximize", objective="val/top1", invariants={})
        assert (tmp_path / name / "study.db").is_file()


@pytest.mark.parametrize("name", ["a{b}.db", "{", "{SCHEMA_VERSION}", "{0}.db"])
def test_the_url_of_a_study_may_have_braces(name: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/{name}"
    Study(url, "tune").create(direction="maximize", objective="val/top1", invariants={})
    assert {path.name for path in tmp_path.iterdir()} == {name, f"{name}.lock"}


def test_an_axis_of_the_user_joins_the_shipped_one(tmp_path: Path) -> None:
    plan = planned("scheduler=cosine,constant", folder=tmp_path)
    assert plan.space == {**SHIPPED, "scheduler": Choices(values=["cosine", "constant"])}


def test_what_must_stay_as_it_is_leaves_out_what_may_change(tmp_path: Path) -> None:
    arguments = ["n_trials=7", "device=cpu", "objective=averaged", "pruner=hyperband"]
    choices = "scheduler=cosine,constant"
    about = planned(*arguments, choices, "model.depth=8", folder=tmp_path).invariants
    assert about == {
        "scheduler": "cosine,constant",
        "objective": "averaged",
        "monitor": "top1",
        "settings": "hparams.epochs=6 model.depth=8",
    }


@pytest.mark.parametrize(
    ("drawn", "folder"),
    [
        (["optimizer.lr=0.0123456789"], "7_optimizer.lr-0.01235"),
        (
            ["scheduler=cosine", "averaged.decay=[0.9,0.99]"],
            "7_scheduler-cosine_averaged.decay-0.9-0.99",
        ),
        (["dataset.root='a b/c'"], "7_dataset.root--a-b-c--7f158f31"),
    ],
)
def test_a_folder_can_be_typed_without_quotes(
    drawn: list[str], folder: str, tmp_path: Path
) -> None:
    overrides, name = job_overrides(planned(folder=tmp_path), 7, drawn)
    assert name == folder
    assert overrides == ["hparams.epochs=6", *drawn, "trial=7", f"hydra.sweep.subdir='{folder}'"]


def test_long_folder_names_are_cut(tmp_path: Path) -> None:
    _, name = job_overrides(planned(folder=tmp_path), 7, ["x=" + "y" * 300])
    assert len(name) < 150
