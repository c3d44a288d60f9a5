"""The controller: totals, restarts, failures, and what it leaves."""

import csv
import logging
import math
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn
from optuna.pruners import MedianPruner
from optuna.trial import FrozenTrial, TrialState
from studies import EPOCHS, Launcher, good, plan, run, silent, started, study_of

from visionlab.files.run_folder import read_log_settings
from visionlab.sweeps.tuning import tuning as tuning_module
from visionlab.sweeps.tuning.hyperband import Hyperband
from visionlab.sweeps.tuning.plan import Plan
from visionlab.sweeps.tuning.trial_queue import record_heartbeat
from visionlab.sweeps.tuning.tuning import POLL_SECONDS, tune

pytestmark = pytest.mark.integration


def states(tuning: Plan) -> list[str]:
    return [trial.state.name for trial in study_of(tuning).trials()]


def trial_of(tuning: Plan, number: int) -> FrozenTrial:
    return study_of(tuning).trials()[number]


def test_the_number_of_trials_is_a_total_and_a_restart_draws_new_points(tmp_path: Path) -> None:
    first, second = plan(tmp_path, n_trials=3), plan(tmp_path, n_trials=5)
    launchers = [Launcher(first), Launcher(first), Launcher(second)]
    best = [tune(*each) for each in zip((first, first, second), launchers, strict=True)]
    assert [len(launcher.rates) for launcher in launchers] == [3, 0, 2]
    rates = [rate for launcher in launchers for rate in launcher.rates]
    assert len(set(rates)) == 5
    assert states(first) == ["COMPLETE"] * 5
    assert best == [max(good(rate, EPOCHS) for rate in rates[:n]) for n in (3, 3, 5)]


def test_the_search_space_is_written_for_figures(tmp_path: Path) -> None:
    tuning = plan(tmp_path, n_trials=1)
    tune(tuning, Launcher(tuning))
    keys = {key for key, axis in tuning.space.items() if getattr(axis, "log", False)}
    assert keys
    assert read_log_settings(tuning.folder) == keys


def test_without_a_restart_the_points_are_the_same(tmp_path: Path) -> None:
    rates = []
    for name, totals in (("unbroken", [5]), ("broken", [2, 5])):
        (tmp_path / name).mkdir()
        launched = []
        for total in totals:
            tuning = plan(tmp_path / name, n_trials=total)
            launcher = Launcher(tuning)
            tune(tuning, launcher)
            launched += launcher.rates
        rates.append(launched)
    assert rates[0] == rates[1]


@pytest.mark.parametrize(
    "pruner",
    [
        MedianPruner(n_startup_trials=2),
        Hyperband(min_resource=1, max_resource=EPOCHS, reduction_factor=2),
    ],
    ids=["median", "hyperband"],
)
def test_pruned_trials_are_pruned_and_count(pruner: MedianPruner, tmp_path: Path) -> None:
    tuning = plan(tmp_path, n_trials=12)
    tune(tuning, Launcher(tuning, pruner=pruner))
    assert set(states(tuning)) == {"COMPLETE", "PRUNED"}
    assert len(states(tuning)) == 12
    for trial in study_of(tuning).trials():
        reported = sorted(trial.intermediate_values)
        assert reported == list(range(1, len(reported) + 1))
        assert (trial.state == TrialState.COMPLETE) == (len(reported) == EPOCHS)


def test_each_trial_is_a_line_with_its_values_and_the_best_so_far(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tuning = plan(tmp_path, n_trials=3)
    caplog.set_level(logging.INFO)

    def curve(lr: float, epoch: int) -> float:
        if len(launcher.rates) == 2:
            raise OSError("the disk is full")
        return [0.5, 0.0, 0.25, 0.75][len(launcher.rates) - 1]

    launcher = Launcher(tuning, curve)
    tune(tuning, launcher)
    lines = [line for line in caplog.messages if re.match(r"\d/3: ", line)]
    rates = [f"{rate:.4g}" for rate in launcher.rates]
    assert lines == [
        f"1/3: optimizer.lr {rates[0]}, val/top1 0.5000, best 0.5000",
        f"1/3: optimizer.lr {rates[1]}, failed: the disk is full, best 0.5000",
        f"2/3: optimizer.lr {rates[2]}, val/top1 0.2500, best 0.5000",
        f"3/3: optimizer.lr {rates[3]}, val/top1 0.7500, best 0.7500",
    ]


def test_a_dashboard_shows_the_name_of_the_objective(tmp_path: Path) -> None:
    tuning = plan(tmp_path, n_trials=1)
    tune(tuning, Launcher(tuning))
    attributes = study_of(tuning).load().system_attrs
    names = attributes.get("dashboard:objective_names", attributes.get("study:metric_names"))
    assert names == ["val/top1"]


def test_a_trial_that_fails_says_why_and_the_study_goes_on(tmp_path: Path) -> None:
    tuning = plan(tmp_path, n_trials=3)

    def curve(lr: float, epoch: int) -> float:
        if len(launcher.rates) == 2:
            raise OSError("the disk is full")
        return good(lr, epoch)

    launcher = Launcher(tuning, curve)
    tune(tuning, launcher)
    assert states(tuning) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert trial_of(tuning, 1).user_attrs["reason"] == "the disk is full"


def test_a_job_that_died_without_a_word_has_failed(tmp_path: Path) -> None:
    tuning = plan(tmp_path, max_failures=0)
    with pytest.raises(
        ValueError, match=r"^max_failures must be .* got 0; the last: optimizer.lr .*, failed"
    ):
        tune(tuning, silent)
    assert states(tuning) == ["FAIL"]
    assert trial_of(tuning, 0).user_attrs["reason"].startswith("its job ended without a result")


def test_a_launcher_that_raises_does_not_end_the_study(tmp_path: Path) -> None:
    tuning = plan(tmp_path, n_trials=2)
    launcher = Launcher(tuning)

    def launch(batch: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        if first == 0:
            raise OSError("no such partition")
        return launcher(batch, first)

    tune(tuning, launch)
    assert states(tuning) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert trial_of(tuning, 0).user_attrs["reason"] == (
        "launching failed: OSError: no such partition"
    )


def test_more_failures_than_allowed_end_a_start(tmp_path: Path) -> None:
    tuning = plan(tmp_path, n_trials=3, max_failures=2)
    with pytest.raises(ValueError, match=r"^max_failures must be >= the trials that fail, got 2;"):
        tune(tuning, silent)
    assert states(tuning) == ["FAIL"] * 3
    tune(tuning, Launcher(tuning))  # each start may fail anew
    assert states(tuning) == ["FAIL"] * 3 + ["COMPLETE"] * 3


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_objective_that_is_no_number_is_explained_after_the_first_trial(
    value: float, tmp_path: Path
) -> None:
    tuning = plan(tmp_path)
    message = f"^objective must be a finite top1 on validation in some epoch, got {value}$"
    with pytest.raises(ValueError, match=message):
        tune(tuning, Launcher(tuning, lambda lr, epoch: value))
    assert states(tuning) == ["FAIL"]


def test_an_objective_that_is_no_number_later_is_one_failure(tmp_path: Path) -> None:
    tuning = plan(tmp_path, n_trials=2)

    def curve(lr: float, epoch: int) -> float:
        return math.nan if len(launcher.rates) == 2 else good(lr, epoch)

    launcher = Launcher(tuning, curve)
    tune(tuning, launcher)
    assert states(tuning) == ["COMPLETE", "FAIL", "COMPLETE"]


def test_losses_that_are_not_finite_count_as_pruned(tmp_path: Path) -> None:
    tuning = plan(tmp_path, n_trials=3)

    def curve(lr: float, epoch: int) -> float:
        if len(launcher.rates) == 1:
            raise FloatingPointError("losses must be finite, got loss=inf")
        return good(lr, epoch)

    launcher = Launcher(tuning, curve)
    tune(tuning, launcher)
    assert states(tuning) == ["PRUNED", "COMPLETE", "COMPLETE"]
    assert trial_of(tuning, 0).user_attrs["reason"] == "losses must be finite, got loss=inf"


def test_a_study_without_a_complete_trial_has_no_best(tmp_path: Path) -> None:
    tuning = plan(tmp_path, n_trials=2)

    def curve(lr: float, epoch: int) -> float:
        raise FloatingPointError("losses must be finite")

    with pytest.raises(ValueError, match=r"^a trial must be complete, got 2 pruned$"):
        tune(tuning, Launcher(tuning, curve))
    assert not (tmp_path / "best_overrides.txt").exists()


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_trial_is_queued_again(signal: type[BaseException], tmp_path: Path) -> None:
    tuning = plan(tmp_path, n_trials=2)

    def interrupted(batch: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        raise signal

    with pytest.raises(signal):
        tune(tuning, interrupted)
    assert states(tuning) == ["FAIL", "WAITING"]
    launcher = Launcher(tuning)
    tune(tuning, launcher)
    assert states(tuning) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert trial_of(tuning, 0).params == trial_of(tuning, 1).params
    assert trial_of(tuning, 0).user_attrs["reason"] == "interrupted; requeued"
    assert launcher.rates[0] == trial_of(tuning, 0).params["optimizer.lr"]


def test_an_interrupted_study_with_brackets_prunes_as_an_undisturbed_one(tmp_path: Path) -> None:
    pruner = Hyperband(min_resource=1, max_resource=EPOCHS, reduction_factor=2)
    undisturbed = plan(tmp_path / "undisturbed", n_trials=16)
    tune(undisturbed, Launcher(undisturbed, pruner=pruner))

    def interrupted(lr: float, epoch: int) -> float:
        nonlocal num_calls
        num_calls += 1
        if num_calls in (6, 17):
            raise KeyboardInterrupt
        return good(lr, epoch)

    num_calls, disturbed = 0, plan(tmp_path / "disturbed", n_trials=16)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            tune(disturbed, Launcher(disturbed, interrupted, pruner))
    tune(disturbed, Launcher(disturbed, interrupted, pruner))
    assert states(disturbed).count("FAIL") == 2
    assert "PRUNED" in states(disturbed)
    assert outcomes(disturbed) == outcomes(undisturbed)


def outcomes(tuning: Plan) -> list[Any]:
    """Return parameters and reported values of the trials that finished."""
    trials = study_of(tuning).trials()
    done = [each for each in trials if each.state != TrialState.FAIL]
    return [(each.state, each.params, each.intermediate_values) for each in done]


def test_trials_launched_at_once_are_no_more_than_are_left(tmp_path: Path) -> None:
    tuning = plan(tmp_path, n_trials=5, n_jobs=3)
    launcher = Launcher(tuning)
    tune(tuning, launcher)
    assert [len(batch) for batch in launcher.batches] == [3, 2]
    assert states(tuning) == ["COMPLETE"] * 5
    assert len(set(launcher.rates)) == 5


def test_a_job_is_told_its_trial_and_its_folder(tmp_path: Path) -> None:
    tuning = plan(tmp_path, n_trials=1)
    launcher = Launcher(tuning)
    tune(tuning, launcher)
    rate = launcher.rates[0]
    assert launcher.batches == [
        [
            [
                "model.depth=8",
                f"optimizer.lr={rate}",
                "trial=0",
                f"hydra.sweep.subdir='0_optimizer.lr-{rate:.4g}'",
            ]
        ]
    ]


def test_the_table_and_the_best_overrides_are_written_after_every_trial(tmp_path: Path) -> None:
    tuning = plan(tmp_path, n_trials=3)
    seen = []

    def launch(batch: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        if first > 0:
            seen.append(len((tmp_path / "trials.csv").read_text().splitlines()) - 1)
        return launcher(batch, first)

    launcher = Launcher(tuning)
    best = tune(tuning, launch)
    assert seen == [1, 2]
    with (tmp_path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == ["0", "1", "2"]
    assert [float(row["optimizer.lr"]) for row in rows] == launcher.rates
    assert [float(row["value"]) for row in rows] == [good(rate, EPOCHS) for rate in launcher.rates]
    assert {row["epochs"] for row in rows} == {str(EPOCHS)}
    assert rows[1]["folder"] == f"1_optimizer.lr-{launcher.rates[1]:.4g}"
    rate = max(launcher.rates, key=lambda lr: good(lr, EPOCHS))
    assert best == good(rate, EPOCHS)
    assert (tmp_path / "best_overrides.txt").read_text() == (
        f"--config-dir=mine model.depth=8 optimizer.lr={rate}\n"
    )


def test_another_tuning_needs_another_name(tmp_path: Path) -> None:
    tuning = plan(tmp_path, n_trials=1)
    tune(tuning, Launcher(tuning))
    about = {**tuning.invariants, "settings": "model.depth=20"}
    other = plan(tmp_path, invariants=about)
    message = (
        r"^settings must be model.depth=8 as in the study tune, got model.depth=20; "
        "set study_name to start another study$"
    )
    with pytest.raises(ValueError, match=message):
        tune(other, Launcher(other))
    renamed = plan(tmp_path, invariants=about, study_name="deep", n_trials=1)
    tune(renamed, Launcher(renamed))
    assert [states(each) for each in (tuning, renamed)] == [["COMPLETE"]] * 2


def test_the_last_trial_of_another_process_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuning = plan(tmp_path, n_trials=1)
    number, study, seen = started(tuning, controller="other"), study_of(tuning), []
    record_heartbeat(study, "other")

    sleep_truly = time.sleep

    def sleep(seconds: float) -> None:
        if seconds != POLL_SECONDS:  # of another thread
            sleep_truly(seconds)
            return
        seen.append(seconds)
        if len(seen) == 3:
            study.finish(number, TrialState.COMPLETE, value=0.5)

    monkeypatch.setattr(tuning_module.time, "sleep", sleep)
    launcher = Launcher(tuning)
    assert tune(tuning, launcher) == 0.5
    assert seen == [POLL_SECONDS] * 3
    assert launcher.rates == []


def test_a_job_may_not_write_to_a_trial_that_was_given_up(tmp_path: Path) -> None:
    tuning = plan(tmp_path)
    number = started(tuning, controller="dead")
    study_of(tuning).finish(number, TrialState.FAIL)
    with pytest.raises(RuntimeError, match="finished"):
        run(tuning, number, 0.1, good, None)
    assert states(tuning) == ["FAIL"]


def test_a_job_that_was_requeued_tells_its_epochs_again(tmp_path: Path) -> None:
    tuning = plan(tmp_path)
    number = started(tuning, controller="other")
    study_of(tuning).trial(number).report(good(0.1, 1), 1)
    run(tuning, number, 0.1, good, None)
    assert states(tuning) == ["COMPLETE"]
    assert trial_of(tuning, number).intermediate_values == {
        epoch: good(0.1, epoch) for epoch in range(1, EPOCHS + 1)
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_trials": 0}, "n_trials must be >= 1, got 0"),
        ({"n_jobs": 0}, "n_jobs must be >= 1, got 0"),
        ({"max_failures": -1}, "max_failures must be >= 0, got -1"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
        (
            {"space": {}},
            "at least one key must have a search space, e.g. optimizer.lr=0.1,1",
        ),
        ({"url": "foo"}, "study must be a storage URL like sqlite:///FILE, got foo"),
        ({"url": "sqlite://"}, "study must be a storage that jobs can open too, got sqlite://"),
    ],
)
def test_a_wrong_plan_is_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        plan(tmp_path, **changes)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nodb://a:secret@c/d", r"usable database, got nodb://a:\*\*\*@c/d: Can't load plugin"),
        ("sqlite:////proc/none/x.db", "No such file or directory: '/proc/none'"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_line(
    url: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visionlab.sweeps.tuning.study._WAIT_SECONDS", 0.0)
    tuning = plan(tmp_path, url=url)
    with pytest.raises((ValueError, OSError), match=message):
        tune(tuning, Launcher(tuning))
