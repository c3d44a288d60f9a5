"""Pictures of the validation samples of runs: for these alone, figures need a data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from visionlab.config.saved import check_saved
from visionlab.files.run_folder import read_config
from visionlab.images.pictures import find
from visionlab.runs.build import build_data, build_experiment, set_dataset_root

_BATCH_SIZE = 500


def sample_pictures(
    folder: Path, keys: Sequence[int], *, dataset_root: str | None, parts: Sequence[str]
) -> list[np.ndarray[Any, Any]]:
    """Return validation samples as the models of a run see them, (H, W, 3) uint8 in true colours.

    They are in the order of their keys; see `config.schemas.Plots` for the other arguments.

    Raises:
        FileNotFoundError: the data set is not there.
        ValueError: it has no such root, no validation part, or not these samples.
    """
    config = read_config(folder)
    check_saved(config, origin=folder / "config.yaml", parts=parts)
    set_dataset_root(config, dataset_root)
    data = build_data(build_experiment(config), torch.device("cpu"))
    if "val" not in data.splits:
        raise ValueError(f"dataset must have a validation part, got none for {folder}")
    found = {
        int(batch.keys[row]): data.to_pixels(batch.inputs[row : row + 1])[0]
        for batch, row in find(data.splits["val"], keys, batch_size=_BATCH_SIZE)
    }
    missing = [key for key in keys if key not in found]
    if missing:
        raise ValueError(f"dataset must have the run's samples, got none with key {missing[0]}")
    return [_bytes(found[key]) for key in keys]


def _bytes(pixels: torch.Tensor) -> np.ndarray[Any, Any]:
    """Return pixels (C, H, W) in [0, 1] as (H, W, 3) uint8; one channel becomes three alike."""
    scaled = (pixels.expand(3, -1, -1) * 255).round().clamp(0, 255).byte()
    picture: np.ndarray[Any, Any] = scaled.permute(1, 2, 0).contiguous().cpu().numpy()
    return picture
