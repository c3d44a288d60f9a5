"""A run that is launched again in its own folder."""

from pathlib import Path

import pytest
from composing import composed

from visionlab.config.run_config import Invocation
from visionlab.files.run_folder import read_config, read_rows
from visionlab.runs.train import train

pytestmark = pytest.mark.integration


def test_a_run_with_a_drawn_seed_goes_on_with_it(tmp_path: Path) -> None:
    settings = composed(
        *("model.depth=8", "hparams.batch_size=700", "hparams.epochs=1", "threads=1"),
        *("global_seed=null", "tensorboard=false", "device=cpu", "evaluation.test=false"),
    )
    invocation = Invocation(folder=tmp_path, choices={}, overrides=[])
    train({**settings, "stop": {**settings["stop"], "max_steps": 1}}, invocation)
    seed = read_config(tmp_path)["global_seed"]
    train(settings, invocation, may_resume=True)
    assert read_config(tmp_path)["global_seed"] == seed
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [2]
