"""A study in a storage that several controllers and their jobs share."""

import logging
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from visionlab.files.locks import file_lock
from visionlab.sweeps.tuning.storage_url import database_file, mask_password

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_INVARIANTS = "about"  # the key in the storage
_ATTEMPTS, _WAIT_SECONDS = 12, 0.25
_LOCK_SECONDS = 100

optuna.logging.set_verbosity(logging.WARNING)  # the controller logs what happens


class Study:
    """A study, given by the URL of its database, in SQLAlchemy's format, and its name.

    Optuna caches finished trials, which is safe, and trials that it handed out itself, which is
    not, because a job in another process writes to them. So one Optuna study is used for reading
    only, and every write goes through a new one.

    Raises:
        ValueError: the database cannot be used.
    """

    def __init__(self, url: str, name: str) -> None:
        self._file = database_file(url)
        self._name = name
        with self.lock():
            self._storage = _open_with_retries(lambda: _open(url), url)
        self._reader: optuna.Study | None = None

    def create(self, *, direction: str, objective: str, invariants: Mapping[str, Any]) -> None:
        """Create the study unless it exists; dashboards show the name of the objective.

        If its invariants changed, trials would not be comparable.

        Raises:
            ValueError: the study exists with other invariants.
        """
        invariants = {**invariants, "direction": direction}
        with self.lock():
            study = optuna.create_study(
                study_name=self._name,
                storage=self._storage,
                direction=direction,
                load_if_exists=True,
            )
            known = study.user_attrs.get(_INVARIANTS)
            if known is None:
                study.set_user_attr(_INVARIANTS, invariants)
                _name_objective(study, objective)
                known = invariants
        for key in sorted(known.keys() | invariants.keys()):
            if known.get(key) != invariants.get(key):
                raise ValueError(
                    f"{key} must be {known.get(key, 'unset')} as in the study {self._name}, "
                    f"got {invariants.get(key, 'unset')}; set study_name to start another study"
                )

    def load(
        self, *, sampler: BaseSampler | None = None, pruner: BasePruner | None = None
    ) -> optuna.Study:
        """Load the study from its storage."""
        return optuna.load_study(
            study_name=self._name, storage=self._storage, sampler=sampler, pruner=pruner
        )

    def trials(self) -> list[FrozenTrial]:
        """Return the current state of all trials, ordered by number."""
        self._reader = self._reader or self.load()
        return self._reader.get_trials(deepcopy=False)

    def trial(self, number: int, *, pruner: BasePruner | None = None) -> Trial:
        """Return a running trial, to report to."""
        return Trial(self.load(pruner=pruner), self.trials()[number]._trial_id)

    def finish(
        self, number: int, state: TrialState, *, value: float | None = None, reason: str = ""
    ) -> bool:
        """Finish a trial; return whether it was running.

        A complete one has a value, its objective. A reason that the trial recorded itself stays.
        """
        trial = self.trials()[number]
        if trial.state != TrialState.RUNNING:
            return False
        if reason and "reason" not in trial.user_attrs:
            self.annotate(number, reason=reason)
        self.load().tell(number, value, state)
        return True

    def annotate(self, number: int, **attributes: Any) -> None:
        """Set user attributes of a trial, if it is running."""
        if self.trials()[number].state == TrialState.RUNNING:
            for name, value in attributes.items():
                self.trial(number).set_user_attr(name, value)

    def lock(self) -> AbstractContextManager[None]:
        """Wait for the lock of a database file and hold it; do nothing for a server.

        SQLite would let two processes create the same table or take the same trial.
        """
        if self._file is None:
            return nullcontext()
        return file_lock(self._file.with_name(f"{self._file.name}.lock"))


def _name_objective(study: optuna.Study, name: str) -> None:
    if hasattr(study, "set_metric_names"):  # from Optuna 3.2 on
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names([name])
    else:  # as optuna_dashboard.set_objective_names does
        study.set_system_attr("dashboard:objective_names", [name])


def _open(url: str) -> RDBStorage:
    # do not pool connections: jobs may be forks, and an epoch may outlast a server timeout
    kwargs: dict[str, Any] = {"poolclass": NullPool}
    if url.startswith("sqlite"):
        kwargs["connect_args"] = {"timeout": _LOCK_SECONDS}
    try:
        # braces would be fields of a template for Optuna
        return RDBStorage(url.replace("{", "{{").replace("}", "}}"), engine_kwargs=kwargs)
    except ImportError as error:
        raise ValueError(
            f"study must be in a database with an installed driver, got {mask_password(url)}: "
            f"{error.__cause__ or error}"
        ) from error


def _open_with_retries(open_storage: Callable[[], RDBStorage], url: str) -> RDBStorage:
    """Open a storage; retry if several processes create its tables at once.

    Raises:
        ValueError: it cannot be opened.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return open_storage()
        except (SQLAlchemyError, AssertionError, RuntimeError) as error:
            if attempt == _ATTEMPTS:
                reason = str(getattr(error, "orig", None) or error).splitlines() or [repr(error)]
                raise ValueError(
                    f"study must be in a usable database, got {mask_password(url)}: {reason[0]}"
                ) from error
        time.sleep(_WAIT_SECONDS)
    raise AssertionError("unreachable")
