"""Bands and whiskers end where the possible values do."""

import json
from pathlib import Path

import numpy as np
import pytest
from figure_inputs import band, inputs
from run_folders import write_run

from visionlab.analysis.figures.curves import draw_curves
from visionlab.analysis.figures.lines import line_over_seeds
from visionlab.analysis.figures.losses import draw_losses
from visionlab.analysis.figures.value_against import draw_value_against


@pytest.mark.parametrize(
    ("values", "largest", "ends"),  # the deviation of two values is 0.707 of their distance
    [
        ((0.9, 1.0), 1.0, (0.879, 1.0)),
        ((0.0, 0.3), 1.0, (0.0, 0.362)),
        ((0.0, 3.0), np.inf, (0.0, 3.621)),
        ((50.0, 50.0), 1.0, (50.0, 50.0)),  # somebody counts in per cent: no negative length
        ((-1.0, 3.0), np.inf, (-1.828, 3.828)),
    ],
)
def test_a_band_ends_at_possible_values(
    values: tuple[float, float], largest: float, ends: tuple[float, float]
) -> None:
    line = line_over_seeds([(1.0, seed, y) for seed, y in enumerate(values)], largest=largest)
    assert line is not None
    assert (line.low.item(), line.high.item()) == pytest.approx(ends, abs=0.001)


def write_extremes(folder: Path) -> None:
    """Write runs whose accuracies and losses are near the ends of what is possible."""
    for lr in (0.1, 0.2):
        for seed, value in ((1, 0.99), (2, 0.6)):
            path = write_run(folder / f"{lr}_{seed}", lr=lr, seed=seed, num_samples=1)
            rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
            for row in rows:
                row.update({key: value for key in row if key.endswith("top1")})
                row.update({key: 5 * (seed - 1) for key in row if key.endswith("loss")})
            (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            record = json.loads((path / "run.json").read_text())
            for saved in record["results"]["test"].values():
                saved["top1"] = value
            (path / "run.json").write_text(json.dumps(record))


def test_no_accuracy_above_1_and_no_loss_below_0_is_drawn(tmp_path: Path) -> None:
    write_extremes(tmp_path)
    given = inputs(tmp_path)
    (figure,) = draw_curves(*given).values()
    assert max(max(band(axis, 0)[1]) for axis in figure.axes) == 1.0
    (figure,) = draw_losses(*given).values()
    assert min(min(band(axis, 0)[0]) for axis in figure.axes) == 0.0
    figure = draw_value_against(*given)["value_against_optimizer.lr"]
    whiskers = [
        y
        for lines in figure.axes[0].collections
        for path in lines.get_paths()
        for _, y in np.asarray(path.vertices)
    ]
    assert max(whiskers) == 1.0
