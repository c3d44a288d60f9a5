"""Holdout of a part of the training set by file names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from visionlab.images.holdout import Holdout


@dataclass(frozen=True, kw_only=True)
class NameHoldout:
    r"""A share of the samples, a share of their groups, or the samples of a list.

    Attributes:
        split: the share in [0, 1).
        seed: draws the share.
        pattern: a regular expression that matches the beginning of every name. Names with the same
            first group, or the same match if there is no group, stay together, and `split` is the
            share of these groups. `(.+)_\d+` keeps `Ann_Lee_07.jpg` with the other Ann Lees.
        list: instead of a share, a file with one name per line; empty lines are ignored.

    Raises:
        ValueError: a value is invalid, or `list` is given along with a share or a pattern.
    """

    split: float
    seed: int
    pattern: str | None
    list: str | None

    def __post_init__(self) -> None:
        Holdout(split=self.split, seed=self.seed)
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise ValueError(
                    f"pattern must be a regular expression, got {self.pattern!r} ({error})"
                ) from error
        if self.list is not None and (self.pattern is not None or self.split > 0):
            raise ValueError(
                f"list must be null where split or pattern hold out, got {self.list!r} with split "
                f"{self.split} and pattern {self.pattern!r}"
            )

    def rows(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the row numbers of the training and of the validation part, int64 each.

        The validation part has int(num_samples * split) rows, or the rows of
        int(num_groups * split) groups, or those of the list. It may be empty. Names are distinct.

        Raises:
            FileNotFoundError: the list does not exist.
            ValueError: the pattern does not match a name, the list has a name that is not in
                `names`, or nothing is left to train on.
        """
        share = Holdout(split=self.split, seed=self.seed)
        if self.list is not None:
            train, val = _divide(names, _read_list(Path(self.list).expanduser(), names))
        elif self.pattern is not None:
            groups = _groups(names, self.pattern)
            ordered = sorted(set(groups))
            _, drawn = share.rows(len(ordered))
            train, val = _divide(groups, {ordered[row] for row in drawn.tolist()})
        else:
            train, val = share.rows(len(names))
        if not len(train):
            setting = "split" if self.list is None else "list"
            raise ValueError(
                f"dataset.val.{setting} must leave samples to train on, got {len(val)} of "
                f"{len(names)} held out"
            )
        return train, val


def _divide(groups: Sequence[str], held_out: set[str]) -> tuple[Tensor, Tensor]:
    is_held_out = torch.tensor([group in held_out for group in groups], dtype=torch.bool)
    return (~is_held_out).nonzero().flatten(), is_held_out.nonzero().flatten()


def _groups(names: Sequence[str], pattern: str) -> list[str]:
    expression = re.compile(pattern)
    groups = []
    for name in names:
        match = expression.match(name)
        group = match[1 if expression.groups else 0] if match else None
        if group is None:
            raise ValueError(
                f"dataset.val.pattern must match every name, got {pattern!r} and {name!r}"
            )
        groups.append(group)
    return groups


def _read_list(path: Path, names: Sequence[str]) -> set[str]:
    if not path.is_file():
        raise FileNotFoundError(
            f"dataset.val.list must be a file with a name a line, looked for {path}"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"dataset.val.list must be UTF-8 text, got {path} ({error})") from error
    known, listed = frozenset(names), set[str]()
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if name and name not in known:
            raise ValueError(
                f"dataset.val.list must name samples, got {name!r} in line {number} of {path}, "
                f"which is none of the {len(names)}"
            )
        listed.add(name)
    return listed - {""}
