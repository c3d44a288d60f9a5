"""Hyperband with brackets that depend neither on the process nor on interruptions."""

from binascii import crc32
from bisect import bisect
from itertools import accumulate

from optuna import Study
from optuna.pruners import HyperbandPruner
from optuna.trial import FrozenTrial

from visionlab.sweeps.tuning.trial_queue import is_requeued, point_of

_NO_BRACKET = -1


class Hyperband(HyperbandPruner):
    """Optuna's Hyperband (arXiv 1603.06560), with the same brackets in every process and restart.

    Optuna 2 derives a trial's bracket from Python's hash of its name. The hash differs between
    processes, so trials were compared with those of other brackets. Later versions use a CRC-32, as
    here.

    A trial that runs again after an interruption has the bracket that it had before. What it had
    reported by then is in no bracket, or it would compete with itself.

    Args:
        min_resource: minimum epochs of a trial.
        max_resource: epochs of a complete trial.
        reduction_factor: one in this many trials is promoted to the next rung.
        bootstrap_count: trials that must reach a rung before it prunes any.
    """

    def _get_bracket_id(self, study: Study, trial: FrozenTrial) -> int:
        if not self._pruners:
            return 0
        if is_requeued(trial):
            return _NO_BRACKET
        position = crc32(f"{study.study_name}_{point_of(trial)}".encode())
        ends = list(accumulate(self._trial_allocation_budgets))
        return bisect(ends, position % ends[-1])
