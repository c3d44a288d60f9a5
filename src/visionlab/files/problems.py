"""Reports of problems in a submission file."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

MAX_EXAMPLES = 10


def group_problems(
    problems: Iterable[tuple[str, str]],
) -> tuple[dict[str, list[str]], Counter[str]]:
    """Group problems by the broken rule; return the first examples and the count of each.

    Args:
        problems: pairs of the rule and what the file has instead.
    """
    examples: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    for rule, example in problems:
        counts[rule] += 1
        if counts[rule] <= MAX_EXAMPLES:
            examples.setdefault(rule, []).append(example)
    return examples, counts


def format_problems(
    examples: Mapping[str, Sequence[str]], counts: Mapping[str, int], *, unit: str
) -> Iterator[str]:
    """Yield the lines of a problem report.

    Args:
        examples: the first few, by rule.
        counts: violations of each rule.
        unit: plural noun for what is counted, for example "places".
    """
    for rule, shown in examples.items():
        yield f"WRONG in {counts[rule]} {unit}: {rule}"
        yield from (f"  {example}" for example in shown)
        if counts[rule] > len(shown):
            yield f"  and {counts[rule] - len(shown)} more"
