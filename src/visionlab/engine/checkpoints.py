"""Checkpoints of a run: `last.pt` to resume from, and one file per saved model."""

import fnmatch
import itertools
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from visionlab.core.processes import rank
from visionlab.engine.epoch_files import (
    Checkpointing,
    epoch_files,
    epoch_name,
    is_of_one_epoch,
    snapshot_name,
)
from visionlab.engine.state import TrainState
from visionlab.files.tensors import read_tensors, write_tensors
from visionlab.optim.averaging import Average
from visionlab.task import evaluated_module

LAST = "last.pt"
PREVIOUS = "previous.pt"  # the `last.pt` before, in case the newest is damaged
_POSITION = ("step", "row_step")
_RESUMABLE = ("state", "model", "optimizer", "averages")
_log = logging.getLogger(__name__)


def best_name(name: str) -> str:
    """Return the file stem of a model's best weights: `best` or `<average>_best`."""
    return "best" if name == "model" else f"{name}_best"


class Checkpoints:
    """Writes the checkpoints of one run, on rank 0 only.

    Args:
        folder: `checkpoints/` of the run.
        metadata: plain containers to store in every file (configuration, class names).
        settings: when they are written, and which stay.
        snapshot_epochs: epochs after which snapshots are kept, ascending.
    """

    def __init__(
        self,
        folder: Path,
        *,
        metadata: Mapping[str, Any],
        settings: Checkpointing,
        snapshot_epochs: Sequence[int],
    ) -> None:
        self._folder = folder
        self._metadata = metadata
        self._settings = settings
        self._snapshot_epochs = list(snapshot_epochs)
        self._saved_at = time.monotonic()

    def due(self) -> bool:
        """Return whether `last.pt` is due to be written again."""
        minutes = (time.monotonic() - self._saved_at) / 60
        limit = self._settings.every_minutes
        return limit is not None and minutes >= limit

    def save_last(
        self, state: TrainState, model: nn.Module, optimizer: Optimizer, averages: Sequence[Average]
    ) -> None:
        """Write `last.pt` and keep the one before, which `rewind` left intact, as `previous.pt`.

        Raises:
            FloatingPointError: a loss of this epoch is not finite; nothing is written.
            OSError: the file cannot be written; the old one is untouched.
        """
        if rank() > 0:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        content = {
            **self._metadata,
            "state": state.state_dict(),
            "model": model.state_dict(),
            "evaluated": _name_of(evaluated_module(model), model),
            "optimizer": optimizer.state_dict(),
            "averages": {average.name: average.state_dict() for average in averages},
        }
        write_tensors(self._folder / LAST, content, backup=self._folder / PREVIOUS)
        self._saved_at = time.monotonic()

    def save_model(self, name: str, model: nn.Module, *, step: int) -> None:
        """Write `<name>.pt` with a model's weights after optimizer step `step`."""
        if rank() == 0:
            self._write(name, model, step=step)

    def save_epoch(
        self, name: str, model: nn.Module, *, epoch: int, step: int, score: float | None
    ) -> None:
        """Write a model's weights after an epoch if they are due; delete those that do not stay.

        They are due as those of an epoch, as a snapshot, or as both. The higher the score, the
        better the weights; it is None if unknown.
        """
        if rank() > 0:
            return
        if epoch in self._snapshot_epochs:
            number = self._snapshot_epochs.index(epoch) + 1
            self._write(snapshot_name(name, number), model, step=step, score=score)
        if not self._settings.is_due(epoch):
            return
        self._write(epoch_name(name, epoch), model, step=step, score=score)
        files = epoch_files(self._folder, name, until=epoch)
        for path in self._settings.superseded(files):
            path.unlink()

    def _write(self, name: str, model: nn.Module, **more: Any) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        content = {**self._metadata, "name": name, **more, "model": model.state_dict()}
        write_tensors(self._folder / f"{name}.pt", content)


def intact_checkpoints(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the intact resume checkpoints with their file names, newest first; log damaged ones.

    Raises:
        ValueError: there are checkpoints, but all are damaged.
    """
    errors = []
    names = [name for name in (LAST, PREVIOUS) if (folder / name).exists()]
    for name in names:
        try:
            content = _read(folder / name, _RESUMABLE)
        except ValueError as error:
            _log.warning("%s", error)
            errors.append(str(error))
        else:
            yield name, content
    if names and len(errors) == len(names):
        raise ValueError("; ".join(errors))


def load_last(folder: Path) -> dict[str, Any] | None:
    """Return the newest intact checkpoint to resume from, or None if none was written.

    Raises:
        ValueError: there are checkpoints, but all are damaged.
    """
    return next((content for _, content in intact_checkpoints(folder)), None)


def restore(
    content: Mapping[str, Any],
    *,
    model: nn.Module,
    optimizer: Optimizer,
    averages: Mapping[str, Average],
) -> TrainState:
    """Restore a checkpoint of `Checkpoints.save_last`; return the training state."""
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    for name, average in averages.items():
        average.load_state_dict(content["averages"][name])
    return TrainState.from_state_dict(content["state"])


def saved_models(folder: Path, names: Sequence[str] | None = None) -> dict[str, dict[str, Tensor]]:
    """Return the weights of saved models of a run by name: those of `names`.

    In a name, * stands for any characters. By default all but those of single epochs and snapshots.

    `model` and the averages hold the final weights (the newest ones of an unfinished run), absent
    without `last.pt`. `best` and `<average>_best` hold those with the best monitored metric,
    `epoch_0010` and `<average>_epoch_0010` those after an epoch, `snapshot_01` and
    `<average>_snapshot_01` those kept for an ensemble.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: all resume checkpoints are damaged, or one of a model, or none has a name.
    """
    models = _last_models(folder)
    paths = {path.stem: path for path in sorted(folder.glob("*.pt"))}
    others = [stem for stem in paths if f"{stem}.pt" not in (LAST, PREVIOUS) and stem not in models]
    if not models and not others:
        raise FileNotFoundError(f"{folder / LAST} does not exist")
    if names is None:
        names = [*models, *(stem for stem in others if not is_of_one_epoch(stem))] or others
    else:
        found = [_matching(name, [*models, *others]) for name in names]
        names = list(dict.fromkeys(itertools.chain(*found)))
    return {
        name: models[name] if name in models else _read(paths[name], ("model",))["model"]
        for name in names
    }


def _last_models(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Return the final weights of the model and its averages; none without resume checkpoints."""
    last = load_last(folder)
    averages = last["averages"] if last else {}
    for name in averages:
        check_model_name(name, origin=folder / LAST)
    final = {"model": evaluated_weights(last)} if last else {}
    return final | {name: average["module"] for name, average in averages.items()}


def _matching(pattern: str, names: Sequence[str]) -> Sequence[str]:
    """Return the names of models that a pattern with * stands for.

    Raises:
        ValueError: there is none.
    """
    found = [
        name for name in names if fnmatch.fnmatchcase(name, re.sub(r"([?\[])", r"[\1]", pattern))
    ]
    if not found:
        raise ValueError(f"models must be of {', '.join(names)}, got {pattern}")
    return found


def evaluated_weights(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of the evaluated module from the content of any checkpoint of ours."""
    prefix = f"{content['evaluated']}." if content.get("evaluated") else ""
    return {
        name.removeprefix(prefix): value
        for name, value in content["model"].items()
        if name.startswith(prefix)
    }


def _name_of(module: nn.Module, model: nn.Module) -> str:
    """Return the dotted name of a module in a model, empty for the model itself."""
    names: list[str] = [name for name, each in model.named_modules() if each is module]
    return names[0]


def check_model_name(name: str, *, origin: Path) -> None:
    """Refuse a model's name from a file if it is no name of a file: results are written under it.

    Raises:
        ValueError: the message names `origin`.
    """
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise ValueError(
            f"{origin} must name models with letters, digits and _.+-, got {name!r:.60}"
        )


def _check_forms(content: Mapping[str, Any], path: Path) -> None:
    """Refuse a checkpoint whose averages, class names or samples have another form than ours.

    Raises:
        ValueError: the message names the file and the entry.
    """
    names = content.get("class_names", [])
    for key, is_right in {
        "averages": _is_mapping_to(_is_average, content.get("averages", {})),
        "samples": _is_mapping_to(_is_count_and_text, content.get("samples", {})),
        "class_names": isinstance(names, list) and all(isinstance(name, str) for name in names),
        "model": _is_mapping_to(_is_tensor, content.get("model", {})),
        "evaluated": isinstance(content.get("evaluated", ""), str),
    }.items():
        if not is_right:
            raise ValueError(f"{path} must hold {key} as a run has them, got something else")


def _is_mapping_to(is_right: Callable[[Any], bool], content: Any) -> bool:
    return isinstance(content, Mapping) and all(
        isinstance(name, str) and is_right(each) for name, each in content.items()
    )


def _is_tensor(content: Any) -> bool:
    return isinstance(content, Tensor)


def _is_average(content: Any) -> bool:
    return isinstance(content, Mapping) and _is_mapping_to(_is_tensor, content.get("module"))


def _is_count_and_text(content: Any) -> bool:
    return isinstance(content, list) and [*map(type, content)] == [int, str]


def _read(path: Path, mappings: Sequence[str]) -> dict[str, Any]:
    """Return the content of a checkpoint that has some mappings.

    Raises:
        ValueError: it is damaged, or lacks one.
    """
    content = read_tensors(path, require_checksum=True)
    if missing := [key for key in mappings if not isinstance(content.get(key), Mapping)]:
        keys = ", ".join(map(str, content)) or "nothing"
        raise ValueError(f"{path} must hold {', '.join(missing)} of a run, got {keys:.200}")
    _check_forms(content, path)
    counters = content.get("state", {})
    if "state" in mappings and not all(type(counters.get(key)) is int for key in _POSITION):
        raise ValueError(f"{path} must hold the {' and '.join(_POSITION)} of a run, got none")
    return content
