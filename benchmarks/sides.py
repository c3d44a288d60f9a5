"""Timing of several ways to do the same thing, in alternation, and what is claimed of it."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Several sides, measured in alternation.

    Attributes:
        title: of the table.
        seconds: of each round, by side; the first side is what the others are compared with.
        count: how many units a side does in a round.
        unit: what is counted.
    """

    title: str
    seconds: Mapping[str, Sequence[float]]
    count: int
    unit: str = "images"

    def ratios(self, side: str, other: str) -> list[float]:
        """Return the time of a side in units of another one's, a value per round."""
        pairs = zip(self.seconds[side], self.seconds[other], strict=True)
        return [ours / theirs for ours, theirs in pairs]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Anything else that was measured."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim with the values of its rounds: ratios, or values in a unit.

    At most one of `at_most` and `at_least` is given; without both, there is no goal.
    """

    text: str
    values: Sequence[float]
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None


Result = Comparison | Table | Claim


def alternate(sides: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each side in each round; a first round is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, run in sides.items():
            started = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def compare(
    title: str,
    sides: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    count: int,
    unit: str = "images",
) -> Comparison:
    """Measure sides in alternation."""
    return Comparison(title=title, seconds=alternate(sides, rounds=rounds), count=count, unit=unit)


def slowdown(
    comparison: Comparison, side: str, other: str, text: str, *, at_most: float | None
) -> Claim:
    """Return a claim about the time of a side, in units of another one's."""
    return Claim(text=text, values=comparison.ratios(side, other), at_most=at_most)


def speedup(
    comparison: Comparison, side: str, other: str, text: str, *, at_least: float | None
) -> Claim:
    """Return a claim about how many times as fast a side is as another one."""
    return Claim(text=text, values=comparison.ratios(other, side), at_least=at_least)


def describe_ratio(ratios: Sequence[float]) -> str:
    """Return the median ratio and its range, or that the rounds differ by more than the sides.

    The rounds differ by the quotient of the largest and the smallest ratio, the sides by the median
    ratio or its inverse.
    """
    if len(ratios) == 1:
        return f"{ratios[0]:.3f} in one round"
    middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
    if low == high:
        return f"{middle:.3f}"
    if high / low > max(middle, 1.0 / middle):
        return f"no difference within the spread ({low:.3f}-{high:.3f})"
    return f"{middle:.3f} ({low:.3f}-{high:.3f})"


def describe_claim(claim: Claim) -> str:
    """Return what was measured, and whether every round meets the goal, or none does."""
    measured = _describe_values(claim.values, claim.unit)
    met = [_meets(claim, value) for value in claim.values]
    if claim.at_most is None and claim.at_least is None:
        return measured
    verdict = "met" if all(met) else "undecided" if any(met) else "missed"
    return f"{measured}, {verdict}"


def describe_goal(claim: Claim) -> str:
    for word, goal in (("at most", claim.at_most), ("at least", claim.at_least)):
        if goal is not None:
            return f"{word} {goal:g} {claim.unit}".strip()
    return "none"


def _meets(claim: Claim, value: float) -> bool:
    is_low = claim.at_most is None or value <= claim.at_most
    return is_low and (claim.at_least is None or value >= claim.at_least)


def _describe_values(values: Sequence[float], unit: str) -> str:
    if not unit:
        return describe_ratio(values)
    middle, low, high = (f"{f(values):,.2f}" for f in (statistics.median, min, max))
    return f"{middle} {unit}" if low == high else f"{middle} {unit} ({low}-{high})"
