"""Chains as the stages that they compose to; `tests/runs/test_chain.py` trains some."""

from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from visionlab.config import command_line
from visionlab.config.chains import (
    ComposedStage,
    Stage,
    compose_stages,
    for_chain,
    place_stages,
    read_stages,
    write_stages,
)
from visionlab.runs.build import build_experiment
from visionlab.runs.initial_weights import without_initial_weights

CONF = Path(command_line.CONF)
FOLDER = Path("/chains/one")
TWO: dict[str, Any] = {
    "first": {"like": None, "overrides": ["model.depth=8", "optimizer=adamw"]},
    "second": {"like": "first", "overrides": ["start.run=@first", "hparams.epochs=40"]},
}


def composed_of(stages: dict[str, Any], *overrides: str) -> dict[str, ComposedStage]:
    command_line.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose_stages(stages, overrides, options=[])


def stages_of(stages: dict[str, Any], *overrides: str) -> dict[str, Stage]:
    return place_stages(composed_of(stages, *overrides), {name: FOLDER / name for name in stages})


@pytest.mark.parametrize(
    "path", sorted((CONF / "chain").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_chain_composes_and_its_stages_build(path: Path) -> None:
    content: Any = OmegaConf.to_container(OmegaConf.load(path))
    files = {name: {"like": None, **stage} for name, stage in content["stages"].items()}
    on_digits = path.stem == "deepscores_two_runs"
    given = [] if on_digits else ["dataset.root=/data"]
    for name, stage in stages_of(files, *given).items():
        config = dict(stage.config)
        assert on_digits or config["dataset"]["root"].startswith("/data"), name
        build_experiment(without_initial_weights(config))


def test_a_stage_has_the_overrides_of_the_one_it_is_like_then_its_own() -> None:
    first, second = stages_of(TWO, "hparams.batch_size=7", "second.model.depth=14").values()
    assert second.config["optimizer"]["_target_"] == "visionlab.optim.Adam"
    depths = [each.config["model"]["depth"] for each in (first, second)]
    assert depths == [8, 14]
    assert {each.config["hparams"]["batch_size"] for each in (first, second)} == {7}
    assert second.config["start"]["run"] == "/chains/one/first"
    assert (first.config["start"]["run"], second.config["hparams"]["epochs"]) == (None, 40)
    assert second.composition["choices"]["optimizer"] == "adamw"
    assert second.composition["overrides"][-1] == "model.depth=14"


def test_a_stage_is_referred_to_with_a_file_in_it() -> None:
    second = {"like": None, "overrides": ["model.checkpoint=@first/checkpoints/best.pt"]}
    stages = stages_of({"first": TWO["first"], "second": second})
    assert stages["second"].config["model"]["checkpoint"] == "/chains/one/first/checkpoints/best.pt"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    stages = place_stages(composed_of(TWO), {name: tmp_path / name for name in TWO})
    write_stages(stages, tmp_path)
    assert read_stages(tmp_path, parts=[]) == stages


def test_arguments_of_stages_become_one_list() -> None:
    arguments = ["chain=two", "dataset.root='/a b'", "parts=[mine]", "--config-dir", "conf"]
    arguments += ["hydra/launcher=basic", "hydra.launcher.a=1", "sweep.share=false"]
    kept = [each for each in arguments if not each.startswith("dataset.")]
    *others, run_dir = for_chain(arguments)
    assert others == [*kept, r"chain.overrides=['dataset.root=\'/a b\'']"]
    assert run_dir.startswith("hydra.run.dir=")
    own = [*arguments, "hydra.run.dir=here"]
    assert for_chain(own)[-1] == others[-1]
    for others in (["optimizer.lr=1"], ["chain=null", "optimizer.lr=1"]):
        assert for_chain(others) == others


def test_what_leads_to_a_stage_are_its_settings_and_those_of_the_stages_it_starts_from() -> None:
    third = {"like": None, "overrides": ["model.depth=8"]}
    given = [
        "first.optimizer.lr=0.1",
        "global_seed=1",
        "second.optimizer.lr=0.2",
        "third.threads=1",
    ]
    first, second, third_ = composed_of(TWO | {"third": third}, *given).values()
    assert (first.starts_from, second.starts_from, third_.starts_from) == ([], ["first"], [])
    assert (first.leading, second.leading) == (given[:2], given[:3])
    assert third_.leading == [given[1], given[3]]


def test_settings_of_the_launcher_are_those_of_one_stage_and_lead_to_nothing() -> None:
    own = ["first.hydra.launcher.slots=2", "+first.hydra.launcher.more.a=b"]
    first, second = composed_of(TWO, *own, "global_seed=1").values()
    assert first.launcher == ["hydra.launcher.slots=2", "+hydra.launcher.more.a=b"]
    assert (second.launcher, second.leading, first.leading) == ([], *[["global_seed=1"]] * 2)
    assert first.composition == composed_of(TWO, "global_seed=1")["first"].composition


@pytest.mark.parametrize("given", ["hydra.run.dir=x", "hydra/launcher=basic", "~hydra.launcher.x"])
def test_no_other_setting_of_hydra_is_that_of_a_stage(given: str) -> None:
    own = f"~first.{given[1:]}" if given.startswith("~") else f"first.{given}"
    with pytest.raises(ValueError, match=rf"setting of first\.hydra\.launcher, got {given}"):
        composed_of(TWO, own)
    files = {"first": {"like": None, "overrides": [given]}}
    with pytest.raises(ValueError, match=rf"first\.overrides must have no .* Hydra's, got {given}"):
        composed_of(files)
