import pytest

from visionlab.core.class_names import distinct_names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({1: "a", 2: "b"}, ["a", "b"]),
        ({1: "a", 2: "b", 5: "a"}, ["a (1)", "b", "a (5)"]),
        ({1: "a", 2: "a", 3: "a (1)"}, ["a (1)", "a (2)", "a (1) (3)"]),
        ({"n1": "a (n2)", "n2": "a", "n3": "a"}, ["a (n2) (n1)", "a (n2)", "a (n3)"]),
    ],
)
def test_names_become_distinct(names: dict[int, str], expected: list[str]) -> None:
    assert list(distinct_names(names).items()) == list(zip(names, expected, strict=True))
