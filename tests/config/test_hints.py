"""Types of settings: a table of annotations, and laws."""

import ast
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionlab.config.hints import describe, evaluate, matches, mismatch
from visionlab.config.signatures import read_signature

Write = Callable[[Mapping[str, str]], None]
TYPES: dict[str, tuple[list[Any], list[Any], str]] = {
    "int": ([1, -3], [1.0, 3.5, True, "1", None, [1]], "a whole number"),
    "float": ([1, 1e-4, float("inf")], [True, "1e-4", None, [0.1]], "a number"),
    "bool": ([True], [1, 0, "true", None], "true or false"),
    "str": (["a", ""], [1, None, ["a"]], "text"),
    "float | None": ([1, None], [True, "a"], "a number or null"),
    "Optional[int]": ([1, None], [1.5], "a whole number or null"),
    "Sequence[float]": (
        [[], [1, 2.5], (1,)],
        ["12", 1, [True], ["a"], {}],
        "a list (each a number)",
    ),
    "tuple[int, ...]": ([[1, 2]], [["a"]], "a list (each a whole number)"),
    "Mapping[str, int]": ([{"a": 1}, {}], [{"a": "b"}, []], "settings by name"),
    "Literal['step', 'epoch']": (["step"], ["Step", None], "one of step, epoch"),
    "Norm | None": ([None, "b"], ["c"], "one of a, b or null"),
    "'Local'": ([{"_target_": "x"}], [None, {}, "a"], "a Local (a part with _target_)"),
    "Callable[[int], str]": ([{"_target_": "x"}], ["a.b"], "anything"),
    "Any": ([None, 1, []], [], "anything"),
    "Nowhere": (["a"], [], "anything"),
    "'not python'": (["a"], [], "anything"),
}
NAMES = """
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Optional
from elsewhere import Norm
class Local: ...
"""


def test_the_wrong_entry_of_a_mapping_is_named() -> None:
    message = mismatch("dataset.images", {"train": 2007, "val": None}, Mapping[str, str | None])
    assert message == "dataset.images.train must be text or null, got 2007"


@pytest.mark.parametrize("annotation", TYPES)
def test_types(annotation: str, write: Write) -> None:
    name = f"typed_{list(TYPES).index(annotation)}"  # modules are read once
    write(
        {
            f"{name}.py": f"{NAMES}\ndef f(value: {annotation}): ...\n",
            "elsewhere.py": "from typing import Literal\nNorm = Literal['a', 'b']\n",
        }
    )
    hint = read_signature(f"{name}.f").parameters["value"].hint
    fitting, wrong, words = TYPES[annotation]
    assert [value for value in fitting if not matches(value, hint)] == []
    assert [value for value in wrong if matches(value, hint)] == []
    assert matches({"_target_": "anything.that.builds.it"}, hint)
    assert describe(hint) == words


ANNOTATIONS = st.recursive(
    st.sampled_from(["int", "float", "bool", "str", "None"]),
    lambda inner: st.one_of(
        inner.map("list[{}]".format),
        inner.map("dict[str, {}]".format),
        st.tuples(inner, inner).map(" | ".join),
    ),
    max_leaves=4,
)
VALUES = st.recursive(
    st.one_of(st.integers(), st.floats(), st.booleans(), st.text(max_size=3), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=5,
)


def hint_of(annotation: str) -> Any:
    return evaluate(ast.parse(annotation, mode="eval").body, lambda name: Any)


@given(first=ANNOTATIONS, second=ANNOTATIONS, value=VALUES)
def test_laws_of_types(first: str, second: str, value: object) -> None:
    fits = matches(value, hint_of(first))
    assert matches(value, hint_of(f"{first} | {second}")) == (
        fits or matches(value, hint_of(second))
    )
    assert matches([value, value], hint_of(f"list[{first}]")) == fits
    assert matches({"a": value}, hint_of(f"dict[str, {first}]")) == fits
