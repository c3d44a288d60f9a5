"""Several controllers on one study: who lives, what is requeued, and no trial too many."""

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn
from optuna.trial import TrialState
from processes import FORKS
from studies import Launcher, plan, started, study_of

from visionlab.files.locks import file_lock
from visionlab.sweeps.tuning import controllers
from visionlab.sweeps.tuning.controllers import (
    DEAD_AFTER_SECONDS,
    describe_process,
    heartbeat,
    is_alive,
)
from visionlab.sweeps.tuning.trial_queue import requeue_lost
from visionlab.sweeps.tuning.tuning import tune


@pytest.mark.integration
def test_a_process_of_this_machine_lives_as_long_as_it_does() -> None:
    process = FORKS.Process(target=time.sleep, args=(60,))
    process.start()
    assert process.pid is not None
    began = controllers._start_ticks(process.pid)
    assert began is not None
    controller = {"host": socket.gethostname(), "pid": process.pid, "started": began, "beat": 0.0}
    assert is_alive(controller, now=1e9)  # however long ago it was heard of
    assert not is_alive({**controller, "started": "1"}, now=0.0)  # its number was given to another
    process.kill()
    process.join()
    assert not is_alive(controller, now=0.0)


def test_a_process_elsewhere_lives_as_long_as_it_is_heard() -> None:
    controller = {**describe_process(now=1000.0), "host": "elsewhere"}
    assert is_alive(controller, now=1000.0 + DEAD_AFTER_SECONDS - 1)
    assert not is_alive(controller, now=1000.0 + DEAD_AFTER_SECONDS)


def test_a_heart_beats_until_the_work_is_done() -> None:
    beats: list[float] = []
    with heartbeat(lambda: beats.append(time.monotonic()), every_seconds=0.01):
        assert len(beats) == 1
        time.sleep(0.2)
    num_beats = len(beats)
    assert num_beats > 3
    time.sleep(0.05)
    assert len(beats) == num_beats


@pytest.mark.parametrize(
    ("changes", "is_lost"),
    [({}, False), ({"host": "elsewhere"}, False), ({"started": "1"}, True)],
    ids=["alive", "elsewhere", "dead"],
)
def test_only_the_trials_of_the_dead_are_queued_again(
    changes: dict[str, Any], is_lost: bool, tmp_path: Path
) -> None:
    tuning = plan(tmp_path)
    number, study = started(tuning, controller="other"), study_of(tuning)
    study.load().set_user_attr("other", {**describe_process(time.time()), **changes})
    assert requeue_lost(study) == ([number] if is_lost else [])
    states = [trial.state for trial in study.trials()]
    assert states == ([TrialState.FAIL, TrialState.WAITING] if is_lost else [TrialState.RUNNING])
    assert requeue_lost(study) == []


def test_a_trial_that_nobody_has_yet_put_a_name_to_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuning = plan(tmp_path)
    number, study = started(tuning, controller="never heard of"), study_of(tuning)
    assert requeue_lost(study) == []
    monkeypatch.setattr("visionlab.sweeps.tuning.trial_queue.DEAD_AFTER_SECONDS", 0.0)
    assert requeue_lost(study) == [number]


def test_the_trial_of_a_dead_controller_runs_again_with_its_parameters(tmp_path: Path) -> None:
    tuning = plan(tmp_path, n_trials=2)
    number, study = started(tuning, controller="dead"), study_of(tuning)
    study.load().set_user_attr("dead", {**describe_process(time.time()), "started": "1"})
    launcher = Launcher(tuning)
    tune(tuning, launcher)
    lost = study.trials()[number]
    assert lost.state == TrialState.FAIL
    assert lost.user_attrs["reason"] == "its controller died; requeued"
    assert launcher.rates[0] == lost.params["optimizer.lr"]
    assert [trial.state.name for trial in study.trials()] == ["FAIL", "COMPLETE", "COMPLETE"]


def _wait_for_turn(path: Path, has_it: Any) -> None:
    with file_lock(path):
        has_it.set()


@pytest.mark.integration
def test_a_turn_is_waited_for(tmp_path: Path) -> None:
    has_it = FORKS.Event()
    process = FORKS.Process(target=_wait_for_turn, args=(tmp_path / "lock", has_it))
    with file_lock(tmp_path / "lock"):
        process.start()
        assert not has_it.wait(0.5)
    assert has_it.wait(60)
    process.join(60)


def _tune(folder: Path, n_trials: int, start: Any) -> None:
    tuning = plan(folder, n_trials=n_trials)
    start.wait(60)
    tune(tuning, Launcher(tuning, seconds=0.1))


@pytest.mark.integration
@pytest.mark.parametrize("num_processes", [4])
def test_processes_on_a_fresh_study_share_its_trials(num_processes: int, tmp_path: Path) -> None:
    start = FORKS.Barrier(num_processes)
    processes = [
        FORKS.Process(target=_tune, args=(tmp_path, 9, start)) for _ in range(num_processes)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * num_processes
    trials = study_of(plan(tmp_path)).trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 9
    assert len({trial.params["optimizer.lr"] for trial in trials}) == 9
    assert len({trial.user_attrs["controller"] for trial in trials}) > 1


def _tune_until_killed(folder: Path) -> None:
    tuning = plan(folder, n_trials=3)

    def launch(batch: Any, first: int) -> list[JobReturn]:
        if first == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return launcher(batch, first)

    launcher = Launcher(tuning)
    tune(tuning, launch)


@pytest.mark.integration
def test_a_killed_controller_leaves_a_study_that_ends_with_the_right_total(tmp_path: Path) -> None:
    process = FORKS.Process(target=_tune_until_killed, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    tuning = plan(tmp_path, n_trials=3)
    tune(tuning, Launcher(tuning))
    trials = study_of(tuning).trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert trials[1].params == trials[2].params
    assert len({trial.params["optimizer.lr"] for trial in trials}) == 3
