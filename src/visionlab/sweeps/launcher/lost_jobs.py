"""Lost jobs under Hydra's submitit and Ray launchers count as failed.

Both launchers fetch results one job after another and raise at the first job whose worker died.
They do not wait for the other jobs, and Ray even kills them. Here a lost job is an ordinary failed
job, and the launcher waits for the rest.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from hydra.core.utils import JobReturn, JobStatus


def lost_jobs_as_failures(launcher: str) -> Any:
    """Return a context in which the named Hydra launcher reports lost jobs as failed ones."""
    if launcher.startswith("submitit"):
        from submitit.core.core import Job
        from submitit.core.utils import FailedJobError, UncompletedJobError

        lost = (UncompletedJobError, FailedJobError)
        results = _returning_failures(Job.results, lost, lambda failed: [failed])
        return _replaced(Job, "results", results)
    if launcher == "ray":
        import ray

        get = _returning_failures(ray.get, (ray.exceptions.RayError,), lambda failed: failed)
        return _replaced(ray, "get", get)
    return nullcontext()


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _returning_failures(
    fetch: Callable[..., Any], lost: tuple[type[Exception], ...], wrap: Callable[[JobReturn], Any]
) -> Callable[..., Any]:
    """Wrap a function that fetches a result: return a failure if the job was lost."""

    def fetch_or_fail(*arguments: Any, **options: Any) -> Any:
        try:
            return fetch(*arguments, **options)
        except lost as error:
            return wrap(JobReturn(status=JobStatus.FAILED, _return_value=error))

    return fetch_or_fail
