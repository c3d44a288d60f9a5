import csv
import math
from pathlib import Path

import numpy as np

from visionlab.files.model_tables import Rows, write_overlap, write_spread, write_values

NAN = math.nan
ROWS = Rows(
    kind="class",
    names=["ant", "bee", "cat"],
    counts=np.array([2, 9, 0]),
    means={"overall_mean": [0, 1, 2], "cat_mean": [2]},
)


def read(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


def test_a_spread_has_quartiles_by_midpoint_and_frequent_classes_first(tmp_path: Path) -> None:
    path = tmp_path / "new" / "spread.csv"
    members = [np.array([value, 0.5, NAN]) for value in (0.1, 0.2, 0.4, 0.9)]
    write_spread(path, members, {"WBF": np.array([0.8, 0.6, NAN])}, ROWS, decimals=2)
    assert read(path) == [
        ["class", "mean", "0.25", "0.75", "min", "max", "nr_occur", "WBF"],
        ["bee", "0.50", "0.50", "0.50", "0.50", "0.50", "9", "0.60"],
        # quartiles are at 0.75 and 2.25 of 0 to 3: half way between 0.1 and 0.2, 0.4 and 0.9
        ["ant", "0.40", "0.15", "0.65", "0.10", "0.90", "2", "0.80"],
        ["cat", "", "", "", "", "", "0", ""],
    ]


def test_values_keep_their_precision_and_means_ignore_what_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "values.csv"
    write_values(path, {"0.5": np.array([1 / 3, 1.0, NAN]), "nr_occur": ROWS.counts}, ROWS)
    assert read(path) == [
        ["class", "0.5", "nr_occur"],
        ["ant", "0.3333333333333333", "2"],
        ["bee", "1.0", "9"],
        ["cat", "", "0"],
        ["overall_mean", "0.6666666666666666", str(11 / 3)],
        ["cat_mean", "", "0.0"],
    ]


def test_of_an_overlap_the_first_index_is_the_row(tmp_path: Path) -> None:
    path = tmp_path / "overlap.csv"
    write_overlap(path, np.array([[1.0, 0.25], [NAN, 1.0]]), names=["one", "two"])
    assert read(path) == [["model", "one", "two"], ["one", "1.0", "0.25"], ["two", "", "1.0"]]
