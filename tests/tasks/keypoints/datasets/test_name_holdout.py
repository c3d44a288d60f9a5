import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visionlab.images.holdout import Holdout
from visionlab.tasks.keypoints.datasets.name_holdout import NameHoldout

PEOPLE = r"(.+)_\d+\.jpg"
NAMES = ["Ann_Lee_00.jpg", "Bo_01.jpg", "Ann_Lee_11.jpg", "Cy_00.jpg", "Bo_00.jpg", "Di_07.jpg"]

shares = st.floats(0, 0.999)
seeds = st.integers(0, 2**63 - 1)
people = st.lists(st.integers(0, 12), min_size=1, max_size=60)


def holdout(
    *, split: float = 0.0, seed: int = 0, pattern: str | None = None, list: str | None = None
) -> NameHoldout:
    return NameHoldout(split=split, seed=seed, pattern=pattern, list=list)


def held_out(part: NameHoldout, names: Sequence[str] = NAMES) -> set[str]:
    train, val = part.rows(names)
    assert train.dtype == val.dtype == torch.int64
    assert sorted([*train.tolist(), *val.tolist()]) == [*range(len(names))]
    return {names[row] for row in val.tolist()}


@given(num_samples=st.integers(1, 200), split=shares, seed=seeds)
def test_a_share_is_that_of_holdout(num_samples: int, split: float, seed: int) -> None:
    names = [f"{row}.jpg" for row in range(num_samples)]
    for part, expected in zip(
        holdout(split=split, seed=seed).rows(names),
        Holdout(split=split, seed=seed).rows(num_samples),
        strict=True,
    ):
        assert torch.equal(part, expected)


@given(numbers=people, split=shares, seed=seeds)
def test_no_group_is_in_both_parts(numbers: list[int], split: float, seed: int) -> None:
    names = [f"person {number}_{row:02d}.jpg" for row, number in enumerate(numbers)]
    part = holdout(split=split, seed=seed, pattern=PEOPLE)
    train, val = part.rows(names)
    assert train.dtype == val.dtype == torch.int64
    assert sorted([*train.tolist(), *val.tolist()]) == [*range(len(names))]
    in_train, in_val = ({numbers[row] for row in rows.tolist()} for rows in (train, val))
    assert not in_train & in_val
    assert len(in_val) == int(len(set(numbers)) * split)
    again = part.rows(names)
    assert torch.equal(train, again[0])
    assert torch.equal(val, again[1])


@given(numbers=people, split=shares, seed=seeds)
def test_groups_do_not_depend_on_the_order_or_the_number_of_images(
    numbers: list[int], split: float, seed: int
) -> None:
    names = [f"{number}_{row:02d}.jpg" for row, number in enumerate(numbers)]
    part = holdout(split=split, seed=seed, pattern=PEOPLE)
    expected = {name.split("_")[0] for name in held_out(part, names)}
    more = [*reversed(names), *(f"{number}_99.jpg" for number in set(numbers))]
    assert {name.split("_")[0] for name in held_out(part, more)} == expected


def test_half_of_four_people_are_two() -> None:
    found = {name.rsplit("_", 1)[0] for name in held_out(holdout(split=0.5, pattern=PEOPLE))}
    assert len(found) == 2
    others = (held_out(holdout(split=0.5, seed=seed, pattern=PEOPLE)) for seed in range(9))
    assert len({frozenset(other) for other in others}) > 1


def test_without_a_group_the_whole_match_counts() -> None:
    train, val = holdout(split=0.6, pattern=".").rows(["a1", "b1", "a2", "b2"])
    assert sorted([train.tolist(), val.tolist()]) == [[0, 2], [1, 3]]


def test_a_share_of_nothing_holds_nothing_out() -> None:
    assert held_out(holdout(pattern=PEOPLE)) == set()
    assert held_out(holdout(split=0.2, pattern=PEOPLE)) == set()
    assert held_out(holdout(split=0.1)) == set()


def test_a_list_is_held_out(tmp_path: Path) -> None:
    path = tmp_path / "val.txt"
    path.write_bytes(b"\xef\xbb\xbfDi_07.jpg\r\n\r\n  Bo_01.jpg \nDi_07.jpg")
    part = holdout(list=str(path))
    assert held_out(part) == {"Di_07.jpg", "Bo_01.jpg"}
    assert part.rows(NAMES)[1].tolist() == [1, 5]
    path.write_text("\n")
    assert held_out(part) == set()


def test_a_list_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "val.txt").write_text("Di_07.jpg\n")
    assert held_out(holdout(list="~/val.txt")) == {"Di_07.jpg"}


def test_a_name_that_the_pattern_does_not_match_is_named() -> None:
    message = f"dataset.val.pattern must match every name, got {PEOPLE!r} and 'Cy.jpg'"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        holdout(pattern=PEOPLE).rows(["Bo_01.jpg", "Cy.jpg", "Di.jpg"])
    with pytest.raises(
        ValueError, match=r"^dataset\.val\.pattern must match every name, got 'a\|\(b\)' and 'a'"
    ):
        holdout(pattern="a|(b)").rows(["b", "a"])


def test_a_name_of_the_list_that_is_unknown_is_named(tmp_path: Path) -> None:
    path = tmp_path / "val.txt"
    path.write_text("Di_07.jpg\n\nEd_00.jpg\n")
    message = (
        f"dataset.val.list must name samples, got 'Ed_00.jpg' in line 3 of {path}, "
        "which is none of the 6"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        holdout(list=str(path)).rows(NAMES)


def test_something_must_be_left_to_train_on(tmp_path: Path) -> None:
    path = tmp_path / "val.txt"
    path.write_text("\n".join(NAMES))
    message = r"^dataset\.val\.list must leave samples to train on, got 6 of 6 held out$"
    with pytest.raises(ValueError, match=message):
        holdout(list=str(path)).rows(NAMES)
    with pytest.raises(
        ValueError, match=r"^dataset\.val\.split must leave samples to train on, got 0 of 0 held"
    ):
        holdout().rows([])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": 1.0}, r"split must be in [0, 1), got 1.0"),
        ({"split": float("nan")}, r"split must be in [0, 1), got nan"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
        ({"pattern": "(.+"}, "pattern must be a regular expression, got '(.+' (missing ), "),
        (
            {"list": "v.txt", "split": 0.1},
            "list must be null where split or pattern hold out, got 'v.txt' with split 0.1 and "
            "pattern None",
        ),
        (
            {"list": "v.txt", "pattern": "."},
            "list must be null where split or pattern hold out, got 'v.txt' with split 0.0 and "
            "pattern '.'",
        ),
    ],
)
def test_what_is_not_allowed_is_named(settings: dict[str, float | str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        holdout(**settings)  # type: ignore[arg-type]


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "val.txt"
    message = f"^dataset.val.list must be a file with a name a line, looked for {path}$"
    with pytest.raises(FileNotFoundError, match=message):
        holdout(list=str(path)).rows(NAMES)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=f"^dataset.val.list must be UTF-8 text, got {path} "):
        holdout(list=str(path)).rows(NAMES)
