"""The scripts as a user runs them; most tests share one run."""

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hparams_tab import differing, listed, num_written
from PIL import Image
from processes import ENVIRONMENT, ROOT, SMALL, only_run, script
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from visionlab.files.run_folder import read_rows

pytestmark = pytest.mark.integration


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    done = script("train.py", *SMALL, "evaluation.train=augmented", folder=folder)
    assert done.returncode == 0, done.stderr
    run = only_run(folder)
    (run / "stdout.txt").write_text(done.stdout)
    (run / "stderr.txt").write_text(done.stderr)
    return run


def test_a_run_leaves_the_files_of_the_design(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    expected = {"config.yaml", "run.json", "metrics.jsonl", "run.log", "predictions", "checkpoints"}
    assert expected <= names
    checkpoints = {path.name for path in (finished / "checkpoints").iterdir()}
    averages = {f"ema_{decay}{end}.pt" for decay in (0.5, 0.9) for end in ("", "_best")}
    assert checkpoints == {"last.pt", "previous.pt", "best.pt", *averages}
    assert len(list((finished / "predictions").iterdir())) == 2 * 3
    assert len(list(finished.glob("events.out.tfevents.*"))) == 1
    pictures = {str(path.relative_to(finished)) for path in finished.glob("pictures/**/*.png")}
    assert pictures == {"pictures/worst.png", "pictures/train_augmented/worst.png"}


def test_run_json_traces_the_run(finished: Path) -> None:
    record = json.loads((finished / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["seed"] == 0
    assert record["labels"] == [str(digit) for digit in range(10)]
    assert record["class_ids"] == list(range(10))
    assert record["choices"]["scheduler"] == "cosine"
    assert not [group for group in record["choices"] if "hydra" in group]
    assert record["overrides"] == [*SMALL, "evaluation.train=augmented"]
    assert re.fullmatch(r"[0-9a-f]{40}", record["commit"]["hash"])
    assert {"torch", "torchvision", "timm", "hydra-core", "visionlab"} <= set(record["versions"])
    assert record["hardware"]["device"] == "cpu"
    assert set(record["results"]) == {"test", "train_augmented"}
    names = {"model", "best", "ema_0.5", "ema_0.9", "ema_0.5_best", "ema_0.9_best"}
    assert set(record["results"]["test"]) == names


def test_without_a_terminal_there_are_plain_lines(finished: Path) -> None:
    text = (finished / "stdout.txt").read_text()
    assert "\x1b" not in text
    assert "\r" not in text
    assert re.search(r"^  test: 360 images \(0 38, 1 31, .*, 9 30\)$", text, re.MULTILINE)
    assert len(re.findall(r"^epoch \d/2  lr .* images/s$", text, re.MULTILINE)) == 2
    assert (finished / "stderr.txt").read_text() == ""
    log = (finished / "run.log").read_text()
    assert all(line in log for line in text.splitlines())


def test_tensorboard_has_curves_results_and_config(finished: Path) -> None:
    tags = EventAccumulator(str(finished)).Reload().Tags()
    assert {"val/model/top1", "val/ema_0.9/loss", "train/loss", "lr"} <= set(tags["scalars"])
    assert {"test/best/top1", "train_augmented/model/top1"} <= set(tags["scalars"])
    assert "config/text_summary" in tags["tensors"]


def test_tensorboard_lists_the_run_with_settings_and_results(finished: Path) -> None:
    (row,) = listed(finished.parent).values()
    results = json.loads((finished / "run.json").read_text())["results"]
    assert (
        row.settings.items()
        >= {
            "model": "resnet20",
            "model.depth": 8,
            "scheduler": "cosine",
            "averaged.decay": "[0.5, 0.9]",
            "averaged.uniform": "false",
            "hparams.epochs": 2,
            "global_seed": 0,
        }.items()
    )
    assert not [name for name in row.settings if name.endswith("_target_")]
    for split, models in results.items():
        for model, numbers in models.items():
            for name, value in numbers.items():
                assert row.metrics[f"{split}/{model}/{name}"] == pytest.approx(value)
    assert row.status == "success"
    best = json.loads((finished / "run.json").read_text())["best"]
    name = max(best, key=lambda each: best[each]["value"])
    saved = "best" if name == "model" else f"{name}_best"
    assert row.metrics["chosen/val/top1"] == pytest.approx(best[name]["value"])
    assert row.metrics["chosen/test/top1"] == pytest.approx(results["test"][saved]["top1"])


def test_evaluating_a_run_gives_the_numbers_of_its_end(finished: Path, tmp_path: Path) -> None:
    done = script("eval.py", f"run={finished}", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    written = json.loads((finished / "evaluation_test.json").read_text())
    assert written == json.loads((finished / "run.json").read_text())["results"]["test"]
    assert "ema_0.9_best" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_evaluating_one_file_gives_the_last_row(finished: Path, tmp_path: Path) -> None:
    path = finished / "checkpoints" / "ema_0.9.pt"
    done = script("eval.py", f"checkpoint={path}", "split=val", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    row = read_rows(finished / "metrics.jsonl")[-1]
    assert f"{row['val/ema_0.9/top1']:.4f}" in done.stdout
    assert f"{row['val/ema_0.9/loss']:.4f}" in done.stdout


def test_a_finished_run_stays_as_it_is_when_resumed(finished: Path, tmp_path: Path) -> None:
    before = (finished / "metrics.jsonl").read_text()
    done = script("train.py", f"resume={finished}", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (finished / "metrics.jsonl").read_text() == before
    assert json.loads((finished / "run.json").read_text())["num_starts"] == 2
    written = num_written(finished)
    for name in ("session_start_info", "session_end_info"):
        assert written[f"_hparams_/{name}"] == 1
    assert written["test/model/top1"] == 1


def test_a_run_that_goes_on_after_its_end_shows_its_new_results(tmp_path: Path) -> None:
    settings = [*SMALL, "averaged.decay=0.5", "save_predictions=false"]
    for arguments in ([*settings, "stop.max_steps=11"], ["resume", "stop.max_steps=null"]):
        if arguments[0] == "resume":
            arguments[0] = f"resume={only_run(tmp_path)}"
        done = script("train.py", *arguments, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    (row,) = listed(tmp_path).values()
    record = json.loads((only_run(tmp_path) / "run.json").read_text())
    assert record["step"] == 22
    results = record["results"]["test"]
    assert row.metrics["test/model/loss"] == pytest.approx(results["model"]["loss"])
    assert num_written(only_run(tmp_path))["test/model/loss"] == 2


def test_jobs_that_share_a_training_are_listed_each_with_its_own(tmp_path: Path) -> None:
    settings = [each for each in SMALL if not each.startswith("averaged")]
    swept = ["averaged.decay=0.5,[0.8,0.9]", "stop.max_steps=11", "hydra.sweep.dir=sweep"]
    done = script("train.py", "--multirun", *settings, *swept, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 jobs, 1 training\n")
    rows = {row.settings["averaged.decay"]: row for row in listed(tmp_path / "sweep").values()}
    assert rows.keys() == {0.5, "[0.8, 0.9]"}
    averages = {
        decay: {name.split("/")[1] for name in row.metrics if name.startswith("test/ema")}
        for decay, row in rows.items()
    }
    assert averages == {
        0.5: {"ema_0.5", "ema_0.5_best"},
        "[0.8, 0.9]": {"ema_0.8", "ema_0.8_best", "ema_0.9", "ema_0.9_best"},
    }
    assert differing(tmp_path / "sweep") == {"averaged.decay"}
    assert all("chosen/test/top1" in row.metrics for row in rows.values())


def test_a_resumed_run_keeps_its_settings(finished: Path, tmp_path: Path) -> None:
    done = script("train.py", f"resume={finished}", "optimizer.lr=1", folder=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch("error: .*change on resume: .*, got optimizer.lr=1\n", done.stderr)


def test_a_run_is_repeated_from_its_configuration(finished: Path, tmp_path: Path) -> None:
    saved = ["--config-dir", str(finished), "--config-name", "config"]
    done = script("train.py", *saved, "stop.max_steps=11", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    assert [len(read_rows(each / "metrics.jsonl")) for each in (run, finished)] == [1, 2]
    assert read_rows(run / "metrics.jsonl")[0] == read_rows(finished / "metrics.jsonl")[0]


def test_a_folder_that_holds_a_run_is_not_written_over(finished: Path, tmp_path: Path) -> None:
    before = (finished / "config.yaml").read_text()
    done = script("train.py", f"hydra.run.dir={finished}", "optimizer.lr=1", folder=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"error: .* holds a run already; .*resume=.*\n", done.stderr)
    assert (finished / "config.yaml").read_text() == before


def test_a_run_resumes_without_the_file_it_was_started_from(finished: Path, tmp_path: Path) -> None:
    first = tmp_path / "first.pt"
    first.write_bytes((finished / "checkpoints" / "best.pt").read_bytes())
    arguments = [*SMALL, f"model.backbone.weights={first}", "stop.max_steps=1", "tensorboard=false"]
    assert script("train.py", *arguments, folder=tmp_path).returncode == 0
    first.unlink()
    run = only_run(tmp_path)
    done = script("train.py", f"resume={run}", "stop.max_steps=2", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "run.json").read_text())["step"] == 2


def test_a_run_goes_on_where_its_images_were_moved_to(tmp_path: Path) -> None:
    for name, grey in (("dark", 40), ("bright", 200)):
        (tmp_path / "before" / name).mkdir(parents=True)
        for number in range(12):
            image = Image.new("RGB", (20, 16), (grey + number,) * 3)
            image.save(tmp_path / "before" / name / f"{number}.png")
    settings = ["dataset.size_px=16", "augment=none", "hparams.batch_size=8", "model.depth=8"]
    root = f"dataset.root={tmp_path / 'before'}"
    more = ["stop.max_steps=1", "tensorboard=false", "device=cpu", "hparams.epochs=1"]
    more += ["model=resnet20"]
    done = script("train.py", "dataset=imagefolder", root, *settings, *more, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "before").rename(tmp_path / "after")
    run = only_run(tmp_path)
    arguments = ["dataset=imagefolder", f"dataset.root={tmp_path / 'after'}", "stop.max_steps=2"]
    done = script("train.py", f"resume={run}", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "run.json").read_text())["step"] == 2


@pytest.mark.parametrize(
    "setting",
    [
        "precision=bf16",
        "channels_last=false",
        pytest.param("compile=default", marks=pytest.mark.slow),
    ],
)
def test_a_run_in_another_precision_or_layout_ends(setting: str, tmp_path: Path) -> None:
    arguments = [*SMALL, setting, "averaged=none", "stop.max_steps=2", "tensorboard=false"]
    done = script("train.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    row = read_rows(only_run(tmp_path) / "metrics.jsonl")[-1]
    assert 1.0 < row["train/loss"] < 4.0


def test_a_range_test_leaves_a_file_a_picture_and_a_suggestion(tmp_path: Path) -> None:
    arguments = [*SMALL, "scheduler=range_test", "averaged=none", "tensorboard=false"]
    done = script("train.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    rows = (run / "range_test.csv").read_text().splitlines()
    assert len(rows) == 1 + 22
    assert [float(row.split(",")[1]) for row in (rows[1], rows[-1])] == pytest.approx([1e-2, 1e-5])
    assert (run / "pictures" / "range_test.png").is_file()
    assert re.search(r"^range test: going down .* falls fastest at lr", done.stdout, re.M)


def test_a_range_test_that_diverges_leaves_what_was_before(tmp_path: Path) -> None:
    rates = ["scheduler.start_lr=1e-2", "scheduler.end_lr=1e9", "hparams.grad_clip_max_norm=null"]
    arguments = [*SMALL, "scheduler=range_test", *rates, "averaged=none", "tensorboard=false"]
    done = script("train.py", *arguments, folder=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"error: losses must be finite, got .*\n", done.stderr), done.stderr
    run = only_run(tmp_path)
    assert len((run / "range_test.csv").read_text().splitlines()) > 1
    assert (run / "pictures" / "range_test.png").is_file()
    assert json.loads((run / "run.json").read_text())["status"] == "failed"


def test_a_real_multirun_trains_each_job_in_a_process_of_its_own(tmp_path: Path) -> None:
    arguments = [*SMALL, "scheduler=cosine,linear", "stop.max_steps=2", "tensorboard=false"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "--multirun", *arguments],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 jobs, 2 trainings\n[1/2] scheduler=cosine: started\n")
    runs = sorted(tmp_path.glob("multirun/*/*/"))
    assert [run.name for run in runs if run.name != ".sweep"] == [
        "scheduler=cosine",
        "scheduler=linear",
    ]
    done = script("eval.py", f"run={runs[-1]}", folder=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_mapping_for_a_group_that_is_null_is_refused(tmp_path: Path) -> None:
    done = script("eval.py", "views={a: 1}", folder=tmp_path)
    assert done.returncode == 1
    assert "views must be a file of its group, got a mapping" in done.stderr


def test_runs_to_resume_cannot_be_swept(finished: Path, tmp_path: Path) -> None:
    done = script("train.py", "--multirun", f"resume={finished},x", folder=tmp_path)
    assert done.returncode == 1
    assert "resume must be one run, not part of a multirun" in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["optimizer.lr=abc"], ["x=1"]])
def test_torch_is_not_imported_to_answer(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys, runpy; sys.argv = ['train.py', *sys.argv[1:]]\n"
        f"try: runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')\n"
        "finally: print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1] == "False"


class Code:
    """A pickle that would run something."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("it_ran",)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["sheduler=cosine"], 2, "sheduler must be a setting; did you mean scheduler[?]"),
        (["scheduler=cosin"], 2, "Could not find 'scheduler/cosin'.*cosine_restarts"),
        (["dataset=mine"], 2, "Could not find 'dataset/mine'.*; --config-dir FOLDER adds files"),
        (["hydra/launcher=proces"], 2, "Could not find 'hydra/launcher/proces'.*mean process"),
        (
            ["hydra.launcher.slot=2"],
            2,
            "slot must be .*mean hydra.launcher.slots[?]",
        ),
        (["--multirn"], 2, "unrecognized arguments: --multirn; did you mean --multirun"),
        (["x=1", "--multirun", "y=1"], 2, "(options must stand .*|x must be a setting.*)"),
        (["lr=0.1"], 2, "lr must be a setting; did you mean optimizer.lr[?]"),
        (["seed=1"], 2, "seed must be a setting; did you mean global_seed[?]"),
        (["epochs=1"], 2, "epochs must be a setting; did you mean hparams.epochs[?]"),
        (["batch_size=1"], 2, "batch_size must be a setting; did you mean hparams.batch_size"),
        (["optimizer.learning_rate=1"], 2, "learning_rate must .*did you mean optimizer.lr[?]"),
        (["+optimizer.lrr=1"], 1, "optimizer.lrr must be a setting.*mean optimizer.lr[?]"),
        (["optimizer.lr=abc"], 1, "optimizer.lr must be a number, got 'abc'"),
        (["+optimizer.foo=1"], 1, "optimizer.foo must be a setting"),
        (["resume=nowhere"], 1, "resume must be the folder of a run, got nowhere"),
        (["optimizer.lr=-1"], 1, "optimizer.lr must be > 0, got -1"),
        (["hparams.hard_examples=[0.5,0.1]"], 1, "hparams.hard_examples must be null or two"),
        (
            [
                *("scheduler=plateau", "scheduler.every=epoch", "scheduler.patience_epochs=5"),
                "scheduler.monitor=val/model/nme",
            ],
            1,
            "scheduler.monitor must be train/loss or val/<model>/<metric>, the model one of",
        ),
        (
            ["scheduler=plateau", "scheduler.patience_epochs=0.01"],
            1,
            "scheduler.patience_epochs must be at least one step, 1/11 of an epoch, got 0.01",
        ),
        (["device=cuda:99"], 1, "device must exist, got 'cuda:99'"),
        (
            ["dataset=cifar10", "dataset.download=false"],
            1,
            "dataset.root must be a folder, .* data",
        ),
        (["model.checkpoint=code.pt"], 1, "code.pt must hold tensors and plain containers only"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    arguments: list[str], code: int, message: str, tmp_path: Path
) -> None:
    (tmp_path / "code.pt").write_bytes(pickle.dumps(Code(), protocol=2))
    done = script("train.py", *arguments, folder=tmp_path)
    assert done.returncode == code
    assert re.fullmatch("(run folder .*\n)?", done.stdout)
    assert re.fullmatch(f"error: .*{message}.*\n", done.stderr), done.stderr
    assert not list(tmp_path.glob("outputs/*/*"))
    assert not (tmp_path / "it_ran").exists()


def test_a_checkpoint_of_another_model_says_which_tensors_differ(
    finished: Path, tmp_path: Path
) -> None:
    path = finished / "checkpoints" / "best.pt"
    done = script("train.py", f"model.checkpoint={path}", folder=tmp_path)
    assert done.returncode == 1
    assert "best.pt holds weights of another model: layer1.1.conv1.weight is not in" in done.stderr
    assert done.stderr.count("\n") == 1


def test_starting_from_a_run_lists_what_was_taken(finished: Path, tmp_path: Path) -> None:
    weights = f"model.backbone.weights={finished}"
    done = script("train.py", *SMALL, weights, "stop.max_steps=1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"backbone from .*best.pt: \d+ tensors taken, 2 fresh \(fc.w", done.stdout)
    done = script("train.py", *SMALL, weights, "model.depth=14", folder=tmp_path)
    assert done.returncode == 1
    message = (
        "error: model.backbone.weights must .*best.pt, .* layer1.1.conv1.weight is not in .*\n"
    )
    assert re.fullmatch(message, done.stderr)


def test_files_of_single_epochs_are_evaluated_on_request(tmp_path: Path) -> None:
    epochs = ("hparams.epochs=2", "checkpoint.every_epochs=1", "checkpoint.keep=last:1")
    done = script("train.py", *SMALL, *epochs, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    results = json.loads((run / "run.json").read_text())["results"]["test"]
    assert not [name for name in results if "epoch" in name]
    names = [path.stem for path in (run / "checkpoints").glob("*epoch_*.pt")]
    assert "epoch_0002" in names
    assert not [name for name in names if "0001" in name]
    done = script("eval.py", f"run={run}", "models=[epoch_0002,best]", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    evaluated = json.loads((run / "evaluation_test.json").read_text())
    assert [*evaluated] == ["epoch_0002", "best"]
    assert evaluated["epoch_0002"] == results["model"]
    done = script("eval.py", f"run={run}", "models=[epoch_0007]", folder=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"error: models must be of .*, got epoch_0007\n", done.stderr)


def test_a_full_disk_ends_in_one_line_and_keeps_what_was_saved(tmp_path: Path) -> None:
    limited = (
        "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "sys.argv = ['train.py', *sys.argv[1:]]\n"
        f"runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, *SMALL, "averaged=none", "tensorboard=false"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"error: .*\.pt cannot be written, .*\n", done.stderr), done.stderr
    run = only_run(tmp_path)
    assert not list(run.glob("checkpoints/.*"))
    assert json.loads((run / "run.json").read_text())["status"] == "failed"


def test_a_run_is_evaluated_into_another_folder(finished: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    done = script("eval.py", f"run={finished}", "out=new (1)", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before
    assert {"evaluation_test.json", "pictures"} <= {
        each.name for each in (tmp_path / "new (1)").iterdir()
    }


def test_an_evaluation_that_fails_leaves_no_empty_folder(finished: Path, tmp_path: Path) -> None:
    done = script("eval.py", f"run={finished}", "out=new", "split=tests", folder=tmp_path)
    assert done.returncode == 1
    assert "split must be one of" in done.stderr
    assert not (tmp_path / "new").exists()


def test_the_backend_of_a_notebook_does_not_matter(finished: Path, tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    command = [sys.executable, str(ROOT / "plots.py"), f"runs={finished}", "figures=[curves]"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
