"""What a run folder, checkpoint or plan from a stranger, or a damaged one, can and cannot do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from composing import composed, of_new_run

from visionlab.config.run_config import Invocation
from visionlab.config.saved import check_saved
from visionlab.files.run_folder import read_config, read_record, read_rows
from visionlab.files.tensors import read_tensors, write_tensors
from visionlab.runs.evaluate import evaluate_run
from visionlab.runs.evaluation_options import evaluation_options
from visionlab.runs.sample_pictures import sample_pictures
from visionlab.runs.train import train
from visionlab.sweeps.multirun.plan_files import TrainingPlan, write_plan
from visionlab.sweeps.workers.trainings import train_planned

pytestmark = pytest.mark.integration

TINY = ["model.depth=8", "hparams.batch_size=700", "hparams.epochs=2", "stop.max_steps=3"]
TINY += ["threads=1", "device=cpu", "tensorboard=false"]
MARK = "a_stranger_was_here"
EVIL = {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": [MARK]}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    folder.mkdir()
    train(composed(*TINY), Invocation(folder=folder, choices={}, overrides=[]))
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a run of three steps, in a folder where nobody has been."""
    shutil.copytree(trained, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def resume(run: Path, *overrides: str) -> None:
    config = {**composed(*overrides), "resume": str(run)}
    train(config, Invocation(folder=run, choices={}, overrides=overrides))


def evaluate(run: Path) -> None:
    config = composed("device=cpu", name="eval")
    evaluate_run(evaluation_options({**config, "run": str(run)}))


def evaluate_file(run: Path) -> None:
    config = composed("device=cpu", name="eval")
    path = run / "checkpoints" / "best.pt"
    evaluate_run(evaluation_options({**config, "checkpoint": str(path)}))


def show_samples(run: Path) -> None:
    sample_pictures(run, [0], dataset_root=None, parts=[])


def train_plan(run: Path) -> None:
    folder = run.parent / ".sweep"
    folder.mkdir()
    plan = TrainingPlan(
        begun="", fail_fast=False, jobs={"job": read_config(run)}, compositions={"job": {}}
    )
    write_plan(folder / "training_0.json", plan)
    train_planned(folder / "training_0.json", parts=[])


def change_config(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the settings in `config.yaml` and in every checkpoint."""
    config = read_config(run)
    change(config)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    for path in (run / "checkpoints").glob("*.pt"):
        change_checkpoint(path, lambda content: change(content["config"]))


def change_checkpoint(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = read_tensors(path, require_checksum=True)
    change(content)
    path.unlink()
    write_tensors(path, content)


def put(config: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for name in parents:
        config = config[name]
    config[last] = value


OPENED = [resume, evaluate, evaluate_file, show_samples, train_plan]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("loss", EVIL),
        ("stop.extra", EVIL),
        ("model.backbone", EVIL),
        ("task.export", EVIL),
        ("observers", {"mine": EVIL}),
        ("augment._args_", [EVIL]),
        ("optimizer", {"_target_": "os.system", "_partial_": True, "command": "true"}),
        ("loss", {"_target_": "visionlab.files.atomic.os.system", "command": "true"}),
        ("scheduler", {"_target_": "visionlab.files.atomic.write_text", "path": "x", "text": ""}),
        ("loss", {"_target_": "visionlab.config.instantiate.locate", "path": "os.system"}),
        ("loss", {"_target_": "visionlab.files.documents._LOADER", "stream": ""}),
        ("dataset._target_", "torch.load"),
        ("dataset._target_", "sympy.sympify"),
        ("dataset._convert_", "all"),
        ("dataset", None),
        ("model", "visionlab.tasks.classification.ResNetCifar"),
        ("task", []),
        ("task.metric", 3),
        ("threads", "many"),
        ("parts", "pathlib"),
        ("global_seed", None),
    ],
)
def test_a_saved_configuration_builds_nothing_else(key: str, value: Any) -> None:
    config = of_new_run()
    put(config, key, value)
    with pytest.raises(ValueError, match=rf"^a\.yaml: .*{key.partition('.')[0]}"):
        check_saved(config, origin=Path("a.yaml"), parts=[])


@pytest.mark.parametrize("use", OPENED)
def test_who_sent_a_configuration_has_no_say_in_what_is_built(
    use: Callable[[Path], None], run: Path
) -> None:
    change_config(run, lambda config: config.update(parts=["pathlib"], loss=EVIL))
    with pytest.raises(
        ValueError, match=r"(config\.yaml|\.pt|\.json): loss\S* must be in visionlab"
    ):
        use(run)
    assert not list(run.parent.rglob(MARK))


@pytest.mark.parametrize("use", [resume, evaluate])
def test_interpolations_in_a_saved_configuration_stay_text(
    use: Callable[[Path], None], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    change_config(run, lambda config: put(config, "task.name", "${oc.env:SECRET}"))
    with pytest.raises(ValueError, match=r"task|dataset") as refused:
        use(run)
    assert "hunter2" not in str(refused.value)
    assert not any("hunter2" in path.read_text() for path in run.glob("*.*"))


def test_a_plan_trains_nothing_outside_its_multirun(run: Path) -> None:
    folder = run / ".sweep"
    folder.mkdir()
    jobs = {"../elsewhere": read_config(run)}
    plan = TrainingPlan(begun="", fail_fast=False, jobs=jobs, compositions={"../elsewhere": {}})
    write_plan(folder / "training_0.json", plan)
    with pytest.raises(ValueError, match=r"training_0\.json must name folders .*'\.\./elsewhere'"):
        train_planned(folder / "training_0.json", parts=[])
    assert not (run.parent / "elsewhere").exists()


@pytest.mark.parametrize("name", ["../../up", "/tmp/up", "", "a/b"])
def test_results_are_written_below_the_run_only(name: str, run: Path) -> None:
    path = run / "checkpoints" / "last.pt"

    def rename(content: dict[str, Any]) -> None:
        content["averages"] = {name: next(iter(content["averages"].values()))}

    change_checkpoint(path, rename)
    with pytest.raises(ValueError, match=r"last\.pt must name models with letters"):
        evaluate(run)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.yaml", b"", "config.yaml must hold settings, got nothing"),
        ("config.yaml", b"a: \x00", "config.yaml must be YAML, got .*x0000"),
        ("config.yaml", b"\ta: 1", "config.yaml must be YAML, got"),
        ("config.yaml", b"[1, 2]", "config.yaml must hold settings, got a list"),
        ("config.yaml", b"\xff\xfe\x00", "config.yaml must be text in UTF-8"),
        ("config.yaml", b"task: {name: x}", r"config.yaml: \w+ must be given"),
        ("config.yaml", b"a: &a [*a]", "config.yaml must be YAML, got aliases"),
        ("config.yaml", b"{a: " * 200 + b"}" * 200, "config.yaml: settings must be at most"),
        ("run.json", b"", "run.json must be JSON"),
        ("run.json", b"null", "run.json must hold an object, got nothing"),
        ("run.json", b"[]", "run.json must hold an object, got a list"),
        ("run.json", b"[" * 100000, "run.json must be JSON"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(
    name: str, content: bytes, message: str, run: Path
) -> None:
    (run / name).write_bytes(content)
    for use in (resume, evaluate):
        with pytest.raises(ValueError, match=message) as refused:
            use(run)
        assert len(str(refused.value)) < 700
        assert "\n" not in str(refused.value)


def test_an_evaluation_names_a_record_without_labels(run: Path) -> None:
    (run / "run.json").write_text("{}")
    with pytest.raises(ValueError, match=r"run\.json: labels must be a list of class names"):
        evaluate(run)


ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("use", [resume, evaluate, show_samples])
def test_aliases_that_multiply_end_at_once(use: Callable[[Path], None], run: Path) -> None:
    (run / "config.yaml").write_text(ALIASES)
    with pytest.raises(ValueError, match=r"config\.yaml must be YAML, got aliases"):
        use(run)


def test_containers_that_multiply_in_a_checkpoint_end_at_once(run: Path) -> None:
    many: list[Any] = ["x"]
    for _ in range(30):
        many = [many] * 9
    change_checkpoint(
        run / "checkpoints" / "best.pt", lambda content: put(content, "config.observers", many)
    )
    with pytest.raises(ValueError, match=r"best\.pt: settings must be at most 100,000"):
        evaluate_file(run)


@pytest.mark.parametrize("use", [resume, evaluate])
@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.clear(),
        lambda content: content.update(state=[]),
        lambda content: content.update(state={"step": "2", "row_step": 2}),
        lambda content: content.update(model={"a": torch.zeros(3)}),
        lambda content: content.update(model={"a": [1]}),
        lambda content: content["model"].update(more=5),
        lambda content: content.update(averages={"ema": 5}),
        lambda content: content.update(averages={"ema": torch.zeros(2)}),
        lambda content: content.update(averages={"ema": {"module": 5}}),
        lambda content: content.update(averages={3: content["averages"].popitem()[1]}),
        lambda content: content.update(class_names=None),
        lambda content: content.update(samples=5),
        lambda content: content.update(samples={"train": ["a", "b"]}),
    ],
)
def test_a_sealed_checkpoint_of_other_content_is_named(
    use: Callable[[Path], None], change: Callable[[dict[str, Any]], Any], run: Path
) -> None:
    (run / "checkpoints" / "previous.pt").unlink(missing_ok=True)
    change_checkpoint(run / "checkpoints" / "last.pt", change)
    with pytest.raises(ValueError, match=r"last\.pt must hold|run: model holds weights of another"):
        use(run)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optimizer.lr", 0.5),
        ("optimizer.momentum", 0.5),
        ("global_seed", 7),
        ("hparams.batch_size", 64),
        ("hparams.epochs", 3),
        ("scheduler.warmup_epochs", 1),
        ("task.monitor", "loss"),
        ("threads", 2),
        ("averaged.decay", 0.5),
        ("model.depth", 14),
    ],
)
def test_resume_refuses_an_edited_configuration(key: str, value: Any, run: Path) -> None:
    config = read_config(run)
    put(config, key, value)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=rf"config\.yaml must have .*{key}={value} \(the run has"):
        resume(run, "stop.max_steps=4")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_resume_compares_settings_of_any_type(run: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        put(content, "config.dataset.root", 5)
        put(content, "config.optimizer.lr", ["fast"])

    change_checkpoint(run / "checkpoints" / "last.pt", change)
    with pytest.raises(ValueError, match=r"config\.yaml must have .*lr=.* \(the run has \['fast'"):
        resume(run)


def test_resume_refuses_other_samples(run: Path) -> None:
    change_checkpoint(
        run / "checkpoints" / "last.pt",
        lambda content: put(content, "samples.train", [1000, "00000000"]),
    )
    with pytest.raises(ValueError, match=r"for train 1,000 \(00000000\), got [\d,]+ \(\w{8}\)"):
        resume(run)


def test_resume_says_what_changed_and_keeps_the_history(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = read_record(run)
    record["versions"]["torch"] = "0.1"
    record["commit"] = {"hash": "0" * 40, "dirty": False}
    record["hardware"] |= {"threads": 99, "processes": 3}
    record["starts"][0] |= {key: record[key] for key in ("versions", "commit", "hardware")}
    (run / "run.json").write_text(json.dumps(record))
    (run / "metrics.jsonl").unlink()
    resume(run, "stop.max_steps=4")
    said = caplog.text
    for words in (
        "(0.1 before)",
        "(00000000",
        "(99 before)",
        "(3 before)",
        "metrics.jsonl is gone",
    ):
        assert words in said
    first, second = read_record(run)["starts"]
    assert (first["versions"]["torch"], first["step"], second["step"]) == ("0.1", 0, 3)
    assert second["versions"]["torch"] != "0.1"
    assert read_rows(run / "metrics.jsonl")
