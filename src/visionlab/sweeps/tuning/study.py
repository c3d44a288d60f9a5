"""A study in its storage, which several controllers and their jobs share."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from visionlab.files.locks import file_lock
from visionlab.sweeps.tuning.storage_url import database_file, masked

_ABOUT = "about"
_ATTEMPTS, _WAIT_SECONDS = 12, 0.25
_LOCK_SECONDS = 100

optuna.logging.set_verbosity(logging.WARNING)  # the controller says what happened


class Study:
    """A study by its storage's URL and its name.

    Optuna keeps trials in memory: those that are over, which is well, and those that it handed out
    itself, which is not, since a job in another process writes to them. So one view of the study
    is for reading only, and what is written goes through new ones.

    Args:
        url: of a database, as SQLAlchemy has it.
        name: of the study in it.

    Raises:
        ValueError: the database cannot be used.
    """

    def __init__(self, url: str, name: str) -> None:
        self._file = database_file(url)
        self._name = name
        with self.exclusive():
            self._storage = _persistently(lambda: _open(url), url)
        self._reader: optuna.Study | None = None

    def create(self, *, direction: str, about: Mapping[str, Any]) -> None:
        """Create the study unless it is there.

        Args:
            direction: minimize or maximize.
            about: what must stay as it is, or values cannot be compared.

        Raises:
            ValueError: the study is there, and about something else.
        """
        about = {**about, "direction": direction}
        with self.exclusive():
            study = optuna.create_study(
                study_name=self._name,
                storage=self._storage,
                direction=direction,
                load_if_exists=True,
            )
            known = study.user_attrs.get(_ABOUT)
            if known is None:
                study.set_user_attr(_ABOUT, about)
                known = about
        for key in sorted(known.keys() | about.keys()):
            if known.get(key) != about.get(key):
                raise ValueError(
                    f"{key} must be {known.get(key, 'nothing')} as the study {self._name} has it, "
                    f"got {about.get(key, 'nothing')}; another study_name begins another study"
                )

    def load(
        self, *, sampler: BaseSampler | None = None, pruner: BasePruner | None = None
    ) -> optuna.Study:
        """Return a new view of the study."""
        return optuna.load_study(
            study_name=self._name, storage=self._storage, sampler=sampler, pruner=pruner
        )

    def trials(self) -> list[FrozenTrial]:
        """Return all trials as they are now, by number."""
        self._reader = self._reader or self.load()
        return self._reader.get_trials(deepcopy=False)

    def trial(self, number: int, *, pruner: BasePruner | None = None) -> Trial:
        """Return a trial under way, to report to."""
        return Trial(self.load(pruner=pruner), self.trials()[number]._trial_id)

    def end(
        self, number: int, state: TrialState, *, value: float | None = None, reason: str = ""
    ) -> bool:
        """End a trial, and return whether it was under way.

        Args:
            number: of the trial.
            state: complete, pruned or failed.
            value: of the objective, if the trial is complete.
            reason: why, if its state does not say so; one that it gave itself stays.
        """
        trial = self.trials()[number]
        if trial.state != TrialState.RUNNING:
            return False
        if reason and "reason" not in trial.user_attrs:
            self.note(number, reason=reason)
        self.load().tell(number, value, state)
        return True

    def note(self, number: int, **attributes: Any) -> None:
        """Write something down about a trial, if it is under way."""
        if self.trials()[number].state == TrialState.RUNNING:
            for name, value in attributes.items():
                self.trial(number).set_user_attr(name, value)

    def exclusive(self) -> AbstractContextManager[None]:
        """Wait until no other process has its exclusive, where the database is a file.

        A server keeps order itself; SQLite lets two processes create one table, or take one trial.
        """
        if self._file is None:
            return nullcontext()
        return file_lock(self._file.with_name(f"{self._file.name}.lock"))


def _open(url: str) -> RDBStorage:
    # no connection outlives its use: a job may be a fork, an epoch longer than a server waits
    kwargs: dict[str, Any] = {"poolclass": NullPool}
    if url.startswith("sqlite"):
        kwargs["connect_args"] = {"timeout": _LOCK_SECONDS}
    try:
        return RDBStorage(url, engine_kwargs=kwargs)
    except ImportError as error:
        raise ValueError(
            f"study must be in a database whose driver is installed, got {masked(url)}: "
            f"{error.__cause__ or error}"
        ) from error


def _persistently(open_storage: Callable[[], RDBStorage], url: str) -> RDBStorage:
    """Open a storage, again if several processes create its tables at once.

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
                    f"study must be in a database that can be used, got {masked(url)}: {reason[0]}"
                ) from error
        time.sleep(_WAIT_SECONDS)
    raise AssertionError("unreachable")
