"""Spaces in Hydra's syntax."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from visionlab.sweeps.tuning.space import Choices, Interval, Space, split_overrides


def split(*overrides: str) -> tuple[Space, dict[str, str]]:
    return split_overrides(OverridesParser.create().parse_overrides(list(overrides)))


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("interval(0.1,1)", Interval(low=0.1, high=1.0)),
        ("tag(log, interval(0.01, 1))", Interval(low=0.01, high=1.0, log=True)),
        ("int(interval(1,5))", Interval(low=1, high=5)),
        ("range(8,33,6)", Interval(low=8, high=32, step=6)),
        ("range(3)", Interval(low=0, high=2, step=1)),
        ("range(0,0.3,0.1)", Interval(low=0.0, high=0.2, step=0.1)),
        ("range(0,1,0.3)", Interval(low=0.0, high=0.9, step=0.3)),
        ("cosine,linear", Choices(values=["cosine", "linear"])),
        ("0.1,null", Choices(values=["0.1", "null"])),
        ("[0.9,0.99],[]", Choices(values=["[0.9,0.99]", "[]"])),
        ("'a b','c,d'", Choices(values=["'a b'", "'c,d'"])),
    ],
)
def test_a_space_is_read(text: str, axis: Choices | Interval) -> None:
    assert split(f"key={text}") == ({"key": axis}, {})


def test_what_is_one_value_is_fixed() -> None:
    space, fixed = split("a=1", "b='x y'", "c=[1,2]", "~d", "+e=null")
    assert space == {}
    assert fixed == {"a": "1", "b": "'x y'", "c": "[1,2]", "~d": "", "+e": "null"}


def test_of_a_key_given_twice_the_last_counts() -> None:
    assert split("a=1,2", "a=3") == ({}, {"a": "3"})
    assert split("+a=3", "a=1,2") == ({"a": Choices(values=["1", "2"])}, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("interval(1,0.1)", "an interval from a lower to a higher finite number"),
        ("interval(1,1)", "an interval from a lower to a higher finite number"),
        ("tag(log,interval(0,1))", "an interval above 0 to be tagged log"),
        ("tag(log,choice(1,2))", "an interval to be tagged log"),
        ("range(5,1)", "a range from a lower to a higher finite number"),
        ("range(5,1,-1)", "a range from a lower to a higher finite number"),
        *(
            (f"interval({ends})", "an interval from a lower to a higher finite number")
            for ends in ("0.1,inf", "-inf,1", "nan,1", "0.1,nan")
        ),
        *(
            (f"range({ends})", "a range from a lower to a higher finite number")
            for ends in ("1,inf", "-inf,1", "1,5,nan", "1,5,inf", "nan,5", "1,nan")
        ),
        ("1,1", "a choice of different values"),
    ],
)
def test_a_wrong_space_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^key must be") as caught:
        split(f"key={text}")
    assert str(caught.value) == f"key must be {message}, got {text}"
