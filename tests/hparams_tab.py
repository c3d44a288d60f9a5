"""What TensorBoard's HParams tab lists, by TensorBoard's own reader."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, get_experiment, list_session_groups
from tensorboard.plugins.hparams.backend_context import Context


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One row.

    Attributes:
        settings: by name; numbers are floats.
        metrics: the last number of each curve that the tab knows.
        status: success, failure, running or unknown.
    """

    settings: dict[str, float | str]
    metrics: dict[str, float]
    status: str


def differing(folder: Path) -> set[str]:
    """Return the settings that the tab shows first, as they differ."""
    experiment = get_experiment.Handler(
        RequestContext(), _context(folder), "", api_pb2.GetExperimentRequest()
    ).run()
    return {info.name for info in experiment.hparam_infos if info.differs}


def listed(folder: Path) -> dict[str, Listed]:
    """Return the rows of the tab for the runs below a folder, by run."""
    request = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=api_pb2.Status.values(), slice_size=1000
    )
    answer = list_session_groups.Handler(RequestContext(), _context(folder), "", request).run()
    rows = {}
    for group in answer.session_groups:
        (session,) = group.sessions
        rows[session.name] = Listed(
            settings={name: _value(value) for name, value in group.hparams.items()},
            metrics={each.name.tag: each.value for each in session.metric_values},
            status=api_pb2.Status.Name(session.status).removeprefix("STATUS_").lower(),
        )
    return rows


def num_written(folder: Path) -> Counter[str]:
    """Return how often each tag is in the event files of a run, hidden points too."""
    return Counter(
        value.tag
        for path in folder.glob("events.out.tfevents.*")
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    )


def _context(folder: Path) -> Context:
    runs = EventMultiplexer().AddRunsFromDirectory(str(folder))
    runs.Reload()
    return Context(TBContext(data_provider=MultiplexerDataProvider(runs, str(folder))))


def _value(value: Any) -> float | str:
    kind = value.WhichOneof("kind")
    assert kind in ("number_value", "string_value"), kind
    found: float | str = getattr(value, kind)
    return found
