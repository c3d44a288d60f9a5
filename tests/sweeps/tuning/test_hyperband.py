"""Every process has to put a trial into the same bracket."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

BRACKETS = """
import json
from types import SimpleNamespace

import optuna
from visionlab.sweeps.tuning.hyperband import Hyperband

optuna.logging.set_verbosity(optuna.logging.ERROR)
pruner = Hyperband(min_resource=1, max_resource=27, reduction_factor=3)
study = optuna.create_study(study_name="tune", pruner=pruner)
trials = [SimpleNamespace(number=number, user_attrs={}) for number in range(4000)]
unknown = {pruner._get_bracket_id(study, trial) for trial in trials}
first = study.ask()
first.report(1.0, 1)
first.should_prune()
known = [pruner._get_bracket_id(study, trial) for trial in trials]
print(json.dumps([list(unknown), known, pruner._trial_allocation_budgets]))
"""


def brackets(hash_seed: int) -> tuple[list[int], list[int], list[int]]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BRACKETS],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        check=True,
    )
    unknown, known, budgets = json.loads(done.stdout)
    return unknown, known, budgets


@pytest.mark.integration
def test_processes_agree_on_the_bracket_of_a_trial_and_each_gets_its_share() -> None:
    unknown, known, budgets = brackets(1)
    assert brackets(2) == (unknown, known, budgets)
    assert unknown == [0]
    counts = Counter(known)
    assert sorted(counts) == list(range(len(budgets))) == [0, 1, 2, 3]
    for bracket, budget in enumerate(budgets):
        assert counts[bracket] / len(known) == pytest.approx(budget / sum(budgets), abs=0.03)
