"""What Hydra's launchers for many machines do with jobs that are lost: the rest is waited for.

Both ask for results one job after another, and the first job whose worker died raises: nobody waits
for the others, and Ray even ends them. Here a lost job is a failed one like any other.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from hydra.core.utils import JobReturn, JobStatus


def lost_jobs_as_failures(launcher: str) -> Any:
    """Return a context in which a launcher, by its name in Hydra, goes on when it loses a job."""
    if launcher.startswith("submitit"):
        return _submitit()
    return _ray() if launcher == "ray" else nullcontext()


@contextmanager
def _submitit() -> Iterator[None]:
    from submitit.core.core import Job
    from submitit.core.utils import FailedJobError, UncompletedJobError

    lost = (UncompletedJobError, FailedJobError)
    results = _failing_alone(Job.results, lost, lambda failed: [failed])
    with _replaced(Job, "results", results):
        yield


@contextmanager
def _ray() -> Iterator[None]:
    import ray

    get = _failing_alone(ray.get, (ray.exceptions.RayError,), lambda failed: failed)
    with _replaced(ray, "get", get):
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _failing_alone(
    ask: Callable[..., Any], lost: tuple[type[Exception], ...], wrap: Callable[[JobReturn], Any]
) -> Callable[..., Any]:
    """Return a function that asks for a result, and returns a failure where the job was lost."""

    def asked(*arguments: Any, **options: Any) -> Any:
        try:
            return ask(*arguments, **options)
        except lost as error:
            return wrap(JobReturn(status=JobStatus.FAILED, _return_value=error))

    return asked
