"""Range checks of settings: a ValueError names the setting, the rule and the value in one line."""

import math
from collections.abc import Sequence

LARGEST = 1e9  # steps of the longest run are fewer, and weights as large train nothing
LARGEST_PX = 32768
LARGEST_FACTOR = 100


def check_range(settings: object, interval: str, *names: str) -> None:
    """Check that attributes lie in an interval such as "[0, 1)"; NaN lies outside."""
    for name in names:
        if not is_in(interval, value := getattr(settings, name)):
            raise ValueError(f"{name} must be in {interval}, got {value}")


def is_in(interval: str, value: float) -> bool:
    """Return whether a number lies in an interval such as "[0, 1)"; NaN lies in none."""
    low, high = map(float, interval[1:-1].split(","))
    is_above = value > low or (value == low and interval[0] == "[")
    is_below = value < high or (value == high and interval[-1] == "]")
    return is_above and is_below


def check_at_least(settings: object, least: int, *names: str) -> None:
    """Check that attributes are not below a number, nor so large that sums would overflow."""
    for name in names:
        if not least <= (value := getattr(settings, name)) <= LARGEST:
            rule = f"<= {LARGEST:.0e}" if value > LARGEST else f">= {least}"
            raise ValueError(f"{name} must be {rule}, got {value}")


def check_seed(settings: object, *names: str) -> None:
    """Check that attributes are seeds: whole numbers of 63 bits."""
    for name in names:
        if not 0 <= (value := getattr(settings, name)) < 2**63:
            rule = ">= 0" if value < 0 else "< 2**63"
            raise ValueError(f"{name} must be {rule}, got {value}")


def check_positive(settings: object, *names: str) -> None:
    """Check that attributes are above 0, and not so large that sums would overflow."""
    for name in names:
        if not 0 < (value := getattr(settings, name)) <= LARGEST:
            rule = f"<= {LARGEST:.0e}" if value > LARGEST else "> 0"
            raise ValueError(f"{name} must be {rule}, got {value}")


def check_px(settings: object, least: int, *names: str) -> None:
    """Check that attributes are lengths in pixels that an image can have."""
    for name in names:
        if not least <= (value := getattr(settings, name)) <= LARGEST_PX:
            rule = f"<= {LARGEST_PX}" if value > LARGEST_PX else f">= {least}"
            raise ValueError(f"{name} must be {rule}, got {value}")


def check_factors(settings: object, *names: str) -> None:
    """Check that attributes are pairs: the least and the largest factor of a range above 0."""
    for name in names:
        pair = list(getattr(settings, name))
        if len(pair) != 2 or not 0.0 < pair[0] <= pair[1] < math.inf:
            raise ValueError(
                f"{name} must be the least and the largest factor, above 0, got {pair}"
            )
        if pair[1] > LARGEST_FACTOR or pair[0] < 1 / LARGEST_FACTOR:
            raise ValueError(
                f"{name} must be in [{1 / LARGEST_FACTOR}, {LARGEST_FACTOR}], got {pair}"
            )


def check_choice(settings: object, choices: Sequence[str], *names: str) -> None:
    """Check that attributes are one of some words."""
    for name in names:
        if (value := getattr(settings, name)) not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
