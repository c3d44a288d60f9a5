"""Range checks of settings: a ValueError names the setting, the rule and the value in one line."""

import math
from collections.abc import Sequence


def check_range(settings: object, interval: str, *names: str) -> None:
    """Check that attributes lie in an interval such as "[0, 1)"; NaN lies outside."""
    low, high = map(float, interval[1:-1].split(","))
    for name in names:
        value = getattr(settings, name)
        is_above = value > low or (value == low and interval[0] == "[")
        is_below = value < high or (value == high and interval[-1] == "]")
        if not (is_above and is_below):
            raise ValueError(f"{name} must be in {interval}, got {value}")


def check_at_least(settings: object, least: int, *names: str) -> None:
    """Check that attributes are finite and not below a number."""
    for name in names:
        if not least <= (value := getattr(settings, name)) < math.inf:
            raise ValueError(f"{name} must be >= {least}, got {value}")


def check_positive(settings: object, *names: str) -> None:
    """Check that attributes are finite and above 0."""
    for name in names:
        if not 0 < (value := getattr(settings, name)) < math.inf:
            raise ValueError(f"{name} must be > 0, got {value}")


def check_factors(settings: object, *names: str) -> None:
    """Check that attributes are pairs: the least and the largest factor of a range above 0."""
    for name in names:
        pair = list(getattr(settings, name))
        if len(pair) != 2 or not 0.0 < pair[0] <= pair[1] < math.inf:
            raise ValueError(
                f"{name} must be the least and the largest factor, above 0, got {pair}"
            )


def check_choice(settings: object, choices: Sequence[str], *names: str) -> None:
    """Check that attributes are one of some words."""
    for name in names:
        if (value := getattr(settings, name)) not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
