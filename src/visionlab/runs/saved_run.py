"""What a run left: its settings, its classes and the weights of its models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from visionlab.config.saved import check_saved
from visionlab.engine.checkpoints import check_model_name, evaluated_weights, saved_models
from visionlab.files.run_folder import read_config, read_record
from visionlab.files.tensors import read_tensors


class SavedRun(NamedTuple):
    """What a run left: its settings, its classes, and weights by model name.

    The ids of the classes in the files of its data set count from 0 if it does not know them.
    """

    config: dict[str, Any]
    class_names: Sequence[str]
    class_ids: Sequence[int]
    models: Mapping[str, Mapping[str, Tensor]]


def read_run(folder: Path, *, models: Sequence[str] | None, parts: Sequence[str]) -> SavedRun:
    """Return what a run left in its folder, whose configuration may name these `parts`.

    Its models are those of `saved_models`.

    Raises:
        FileNotFoundError: the folder is none of a run, or has no checkpoint.
        ValueError: a file is damaged, or asks for other parts.
    """
    check_is_run(folder)
    config = read_config(folder)
    check_saved(config, origin=folder / "config.yaml", parts=parts)
    record, origin = read_record(folder), folder / "run.json"
    class_names = _names(record.get("labels"), origin=Path(f"{origin}: labels"))
    class_ids = _ids(record.get("class_ids"), class_names, origin=origin)
    return SavedRun(config, class_names, class_ids, saved_models(folder / "checkpoints", models))


def check_is_run(folder: Path) -> None:
    """Refuse what is not the folder of a run.

    Raises:
        FileNotFoundError: it has no settings of one.
    """
    if not (folder / "config.yaml").is_file():
        raise FileNotFoundError(f"run must be the folder of a run, got {folder}")


def read_model(path: Path, *, parts: Sequence[str]) -> SavedRun:
    """Return the one model of a checkpoint, outside of its run's folder.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, none of a run, or asks for other parts.
    """
    content = read_tensors(path, require_checksum=False)
    if "config" not in content or not isinstance(content.get("model"), Mapping):
        raise ValueError(f"checkpoint must be a file of a visionlab run, got {path}")
    check_saved(content["config"], origin=path, parts=parts)
    class_names = _names(content.get("class_names"), origin=path)
    name = str(content.get("name", "model"))
    check_model_name(name, origin=path)
    class_ids = _ids(content.get("class_ids"), class_names, origin=path)
    weights = {name: evaluated_weights(content)}
    return SavedRun(content["config"], class_names, class_ids, weights)


def _names(content: Any, *, origin: Path) -> list[str]:
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        raise ValueError(f"{origin} must be a list of class names, got a {type(content).__name__}")
    return content


def _ids(content: Any, class_names: Sequence[str], *, origin: Path) -> list[int]:
    if content is None:  # of a run before they were recorded
        return list(range(len(class_names)))
    is_list = isinstance(content, list) and all(type(number) is int for number in content)
    if not is_list or len({*content}) != len(class_names):
        raise ValueError(
            f"{origin} must hold class_ids, {len(class_names)} different whole numbers, "
            f"got {content!r:.60}"
        )
    return content  # type: ignore[no-any-return]
