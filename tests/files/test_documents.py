"""Damaged and hostile YAML and JSON files end in one line that names the file."""

from pathlib import Path

import pytest

from visionlab.files.atomic import csv_text
from visionlab.files.documents import parse_csv, parse_json, parse_yaml

ORIGIN = Path("a.yaml")


def multiplied(pattern: str) -> str:
    """Return ten lines, each of which stands for the one before nine times."""
    lines = ["a: &a {x: 1}"]
    for before, name in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(f"{name}: &{name} " + pattern.format(", ".join([f"*{before}"] * 9)))
    return "\n".join(lines)


def test_aliases_are_read() -> None:
    assert parse_yaml("a: &a [1]\nb: *a", origin=ORIGIN) == {"a": [1], "b": [1]}


def test_keys_that_are_merged_may_be_overridden() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {c: &c {<<: *a, x: 3}}\nd:\n  <<: *c\n  y: 4"
    content = parse_yaml(text, origin=ORIGIN)
    assert content["b"] == {"c": {"x": 3, "y": 2}}
    assert content["d"]["y"] == 4
    with pytest.raises(ValueError, match="got the key 'x' twice"):
        parse_yaml("a: &a {x: 1}\nb: {<<: *a, x: 2, x: 3}", origin=ORIGIN)


def test_an_unknown_alias_is_named() -> None:
    with pytest.raises(ValueError, match=r"^a\.yaml must be YAML, got found undefined alias"):
        parse_yaml("names: *all", origin=ORIGIN)


@pytest.mark.parametrize(
    "text",
    [multiplied("[{}]"), multiplied("{{<<: [{}]}}"), "a: &a [*a]", "a: &a {b: *a}"],
)
def test_aliases_that_multiply_are_refused(text: str) -> None:
    assert len(text) < 600
    with pytest.raises(ValueError, match=r"^a\.yaml must be YAML, got aliases that stand for more"):
        parse_yaml(text, origin=ORIGIN)


@pytest.mark.parametrize(
    "text",
    [
        "a: \x00",
        "\ta: 1",
        "a: [",
        b"\xff\xfe\x00",
        "a: " + "1" * 5000,
        "a: 2026-99-99",
        "? {}\n: 1",
        "[" * 20000,
        "a: !!python/object/apply:os.getcwd []",
    ],
)
def test_other_text_is_refused_in_one_line(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"^a\.yaml must be YAML, got [^\n]+$"):
        parse_yaml(text, origin=ORIGIN)


@pytest.mark.parametrize("text", ["", "{", "\x00", "[" * 100_000, b"\xff", "1" * 5000])
def test_text_that_is_no_json_is_refused_in_one_line(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"^a\.yaml must be JSON, got [^\n]+$"):
        parse_json(text, origin=ORIGIN)


def test_csv_gives_back_what_was_written() -> None:
    texts = ["-2+3", "=1+1", "@a", "+b", "'quoted'", "a,b", 'say "c"', "two\nlines", "", "-"]
    assert parse_csv(csv_text([texts, [1, -0.5]]), origin=ORIGIN) == [texts, ["1", "-0.5"]]
    assert parse_csv("", origin=ORIGIN) == []


@pytest.mark.parametrize("text", ['"a', '"a"b', "a" * 200_000])
def test_text_that_is_no_csv_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a\.yaml must be CSV, got [^\n]+$"):
        parse_csv(text, origin=ORIGIN)
