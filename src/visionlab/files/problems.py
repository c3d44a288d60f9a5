"""What is said about a file that is to be handed in."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

MAX_EXAMPLES = 10


def gather(problems: Iterable[tuple[str, str]]) -> tuple[dict[str, list[str]], Counter[str]]:
    """Return the first few examples of what is wrong, by rule, and how often each rule is broken.

    Args:
        problems: the rule, and what there was instead.
    """
    examples: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    for rule, example in problems:
        counts[rule] += 1
        if counts[rule] <= MAX_EXAMPLES:
            examples.setdefault(rule, []).append(example)
    return examples, counts


def problem_lines(
    examples: Mapping[str, Sequence[str]], counts: Mapping[str, int], *, unit: str
) -> Iterator[str]:
    """Yield what is wrong as lines.

    Args:
        examples: the first few, by rule.
        counts: how often each rule is broken.
        unit: what is counted, for example "places".
    """
    for rule, some in examples.items():
        yield f"WRONG in {counts[rule]} {unit}: {rule}"
        yield from (f"  {example}" for example in some)
        if counts[rule] > len(some):
            yield f"  and {counts[rule] - len(some)} more"
