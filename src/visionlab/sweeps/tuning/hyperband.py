"""Hyperband of which every process says the same."""

from binascii import crc32
from bisect import bisect
from itertools import accumulate

from optuna import Study
from optuna.pruners import HyperbandPruner
from optuna.trial import FrozenTrial


class Hyperband(HyperbandPruner):
    """Optuna's Hyperband (arXiv 1603.06560), with brackets that processes agree on.

    Optuna 2 takes a trial's bracket from Python's hash of its name. That differs from process to
    process, so trials of several processes were compared with those of other brackets. Later
    versions take a CRC-32, as here.

    Args:
        min_resource: epochs that a trial gets at least.
        max_resource: epochs of a whole trial.
        reduction_factor: of trials, one in so many goes on.
        bootstrap_count: trials of a bracket that are to be at a rung before it prunes any.
    """

    def _get_bracket_id(self, study: Study, trial: FrozenTrial) -> int:
        if not self._pruners:
            return 0
        place = crc32(f"{study.study_name}_{trial.number}".encode())
        ends = list(accumulate(self._trial_allocation_budgets))
        return bisect(ends, place % ends[-1])
