"""Overrides as users type them: paths without quotes, groups that may be null."""

from pathlib import Path

import pytest
from composing import composed
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from visionlab.config import command_line
from visionlab.config.command_line import CONF
from visionlab.config.hydra_settings import open_mappings
from visionlab.config.overrides import (
    as_choice,
    as_typed,
    quote_paths,
    quoted,
    sweep_values,
    without_null_groups,
)

NAMES = [
    "Bilder (1)",
    "Grün",
    "照片",
    "a#b&c!d;e",
    "it's",
    'a "b"',
    "{a}",
    "{a:1}",
    "a,b",
    "a=b",
    "[1]",
    "$HOME",
    "${x}",
    "a\\b",
    "end\\",
    "2024",
    "1e3",
    "true",
    " a ",
    "a\nb",
    "choice(1)",
    "?*%|<>^`@",
]


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [*NAMES, "plain"]:
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parsed(argument: str) -> Override:
    return OverridesParser.create().parse_overrides([argument])[0]


def read(argument: str) -> object:
    """Return the value that a setting gets from an override."""
    config = OmegaConf.create({"value": parsed(argument).value()})
    return OmegaConf.to_container(config, resolve=True)["value"]  # type: ignore[index, call-overload]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", ["dataset.root", "model.checkpoint", "run", "++resume"])
def test_an_existing_path_is_taken_as_it_is(name: str, key: str) -> None:
    assert read(quote_paths(f"{key}={name}")) == name


@pytest.mark.parametrize("name", NAMES)
def test_an_existing_path_with_a_slash_is_one_for_any_key(name: str, folders: Path) -> None:
    assert read(quote_paths(f"loss.anything={folders}/{name}")) == f"{folders}/{name}"


@pytest.mark.parametrize(
    "key",
    ["annotations.train", "annotations", "images", "class_names", "classes", "file", "val.list"],
)
def test_a_path_below_the_root_of_the_data_is_taken_as_it_is(key: str) -> None:
    assert read(quote_paths(f"dataset.{key}=b & (1).x")) == "b & (1).x"


@pytest.mark.parametrize("name", NAMES)
def test_lists_of_paths(name: str) -> None:
    assert read(quote_paths(f"runs=[{name},plain]")) == [name, "plain"]
    for text in (f"{name},plain", f"choice({name}, plain)"):
        values = sweep_values(parsed(quote_paths(f"dataset.root={text}")))
        assert [read(f"dataset.root={value}") for value in values] == [name, "plain"]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_survives_as_a_choice_of_one(name: str) -> None:
    argument = f"dataset.root={name}"
    choice = as_choice(quote_paths(argument))
    (value,) = sweep_values(parsed(choice))
    assert read(f"dataset.root={value}") == name
    assert as_typed(choice) == argument


def test_an_option_with_a_path_stays_an_option(folders: Path) -> None:
    assert quote_paths(f"--config-dir={folders}") == f"--config-dir={folders}"


@pytest.mark.parametrize("name", ["2007", "1e3", "true"])
def test_a_folder_below_the_root_may_be_called_like_a_number(name: str) -> None:
    assert read(quote_paths(f"dataset.images.train={name}")) == name
    assert read(quote_paths("dataset.images.train=null")) is None


def test_paths_that_hydra_reads_stay_unquoted() -> None:
    assert quote_paths("dataset.root=plain,plain") == "dataset.root=plain,plain"


def test_a_home_folder_is_found(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folders))
    assert read(quote_paths("dataset.root=~/it's")) == f"{folders}/it's"
    assert read(quote_paths("hydra.run.dir=~/new")) == f"{folders}/new"
    (folders / "~mine").mkdir()
    assert read(quote_paths("dataset.root=~mine")) == "./~mine"  # no user's home


def test_a_path_that_hydra_refuses_need_not_exist() -> None:
    assert read(quote_paths("out=new (1)")) == "new (1)"
    assert read(quote_paths("dataset.annotations.val=val (1).json")) == "val (1).json"


@pytest.mark.parametrize(
    "argument",
    [
        "optimizer.lr=2024",
        "scheduler=a,b",
        "dataset.root='it\\'s'",
        "dataset.annotations.test=null",
        "hydra.run.dir=outputs/${now:%Y}",
        "dataset.root",
        "~search",
    ],
)
def test_other_values_are_left_to_hydra(argument: str) -> None:
    assert quote_paths(argument) == argument


@pytest.mark.parametrize(
    "argument", ["hparams.epochs=3", "scheduler=cosine", "optimizer.lr=1,2", "a.b=[1,c]"]
)
def test_commands_are_shown_as_typed(argument: str) -> None:
    assert as_typed(as_choice(argument)) == argument


@pytest.mark.parametrize("text", ["it's", "end\\", "a\\'b", "", "a, b"])
def test_quoted_text_is_read_as_it_is(text: str) -> None:
    assert parsed(f"key={quoted(text)}").value() == text


@pytest.mark.parametrize("value", ["null", "[1,2]", "[resnet20,resnet32]"])
def test_a_group_is_one_of_its_files(value: str) -> None:
    with pytest.raises(ValueError, match=r"^model must be one of .*resnet20.*, got ") as error:
        without_null_groups([f"model={value}"], conf=Path(CONF))
    assert str(error.value).endswith(value)


def test_groups_that_docs_call_optional_may_be_null() -> None:
    given = ["experiment=null", "views=null", "search=null", "optimizer.lr=0.1"]
    assert without_null_groups(given, conf=Path(CONF)) == ["optimizer.lr=0.1", "~search"]


@pytest.fixture
def _open(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "_compose_config_from_defaults_list"
    monkeypatch.setattr(ConfigLoaderImpl, name, getattr(ConfigLoaderImpl, name))  # to undo
    open_mappings()


@pytest.mark.usefixtures("_open")
@pytest.mark.parametrize(
    "given",
    [
        ["dataset.columns={path: photo, x1: left}"],
        ["dataset.columns.path=photo", "dataset.columns.x1=left"],
        ["+dataset.columns.path=photo", "++dataset.columns={x1: left}"],
    ],
)
def test_mappings_of_the_user_take_new_keys(given: list[str]) -> None:
    start = ["task=detection", "dataset=boxes_csv", "dataset.root=x"]
    columns = composed(*start, *given)["dataset"]["columns"]
    assert columns == {"path": "photo", "x1": "left"}


@pytest.mark.usefixtures("_open")
@pytest.mark.parametrize("given", ["table.published={a: {b: 3}}", "table.published.a.b=3"])
def test_settings_of_plots_take_new_keys(given: str) -> None:
    settings = composed(given, "where.optimizer.lr=0.1", name="plots")
    assert settings["table"]["published"] == {"a": {"b": 3}}
    assert settings["where"] == {"optimizer": {"lr": 0.1}}


@pytest.mark.usefixtures("_open")
def test_observers_are_added_to_those_of_a_file(tmp_path: Path) -> None:
    observer = "visionlab.engine.Stop"
    (tmp_path / "mine.yaml").write_text(
        f"defaults: [train, _self_]\nobservers: {{a: {{_target_: {observer}}}}}\n"
    )
    command_line.register()
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        place = f"hydra.searchpath=[file://{command_line.CONF}]"
        config = compose("mine", overrides=[place, f"observers.b._target_={observer}"])
    assert set(config.observers) == {"a", "b"}


@pytest.mark.usefixtures("_open")
@pytest.mark.parametrize("key", ["optimizer.lrr", "dataset.val.x", "obs.a", "hydra.job.env_set.A"])
def test_other_settings_take_none(key: str) -> None:
    with pytest.raises(HydraException, match=f"^Could not override '{key}'"):
        composed(f"{key}=1")
