"""Jobs of multiruns and stages of chains, as their folders list them."""

from pathlib import Path
from typing import NamedTuple

from visionlab.files.documents import parse_json, parse_yaml, read_text

_CHAIN, _JOBS = "chain.yaml", Path(".sweep", "jobs.json")


class Jobs(NamedTuple):
    """The jobs of a multirun, or the stages of a chain or of a multirun of chains."""

    names: list[str]  # of their folders
    are_stages: bool


def read_jobs(folder: Path) -> Jobs | None:
    """Return the jobs or stages in a folder, None if it is neither of a multirun nor a chain.

    Raises:
        ValueError: the list is damaged.
        OSError: it cannot be read.
    """
    chain, multirun = folder / _CHAIN, folder / _JOBS
    try:
        if chain.is_file():
            return Jobs([*parse_yaml(read_text(chain), origin=chain)], are_stages=True)
        if not multirun.is_file():
            return None
        jobs = parse_json(read_text(multirun), origin=multirun)
        names = [str(each["name"]) for each in jobs]
        return Jobs(names, are_stages=any("stage" in each["swept"] for each in jobs))
    except (LookupError, TypeError) as error:
        raise ValueError(f"{folder} must have a list of its jobs, got something else") from error
