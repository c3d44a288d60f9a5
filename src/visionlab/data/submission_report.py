"""What is said about a file that is to be handed in."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

MAX_PER_IMAGE = 100  # what COCO's evaluation counts
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


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a check of COCO results found.

    Attributes:
        num_images: of the annotations.
        num_entries: of the results.
        per_category: entries by name of the category, also of those without any.
        problems: what is wrong, by rule, with the first few examples.
        counts: how many entries break each rule.
        empty_images: how many images have no entry.
        crowded_images: how many have more than `MAX_PER_IMAGE`.
        sizeless_images: how many have no width or height, so that no bounds were checked.
    """

    num_images: int
    num_entries: int
    per_category: Mapping[str, int]
    problems: Mapping[str, Sequence[str]]
    counts: Mapping[str, int]
    empty_images: int
    crowded_images: int
    sizeless_images: int

    @property
    def is_valid(self) -> bool:
        """Whether nothing is wrong; images without entries are not."""
        return not self.problems

    def lines(self) -> Iterator[str]:
        """Yield the lines of the report."""
        yield f"{self.num_entries} entries for {self.num_images} images"
        for name, count in self.per_category.items():
            yield f"  {name}: {count}"
        unit = f"of {self.num_entries} entries"
        yield from problem_lines(self.problems, self.counts, unit=unit)
        if self.empty_images:
            yield f"warning, no failure: {self.empty_images} images have no entry"
        if self.crowded_images:
            yield (
                f"note: {self.crowded_images} images have more than {MAX_PER_IMAGE} entries; "
                f"evaluation counts only the best {MAX_PER_IMAGE}"
            )
        if self.sizeless_images:
            yield f"note: {self.sizeless_images} images have no size; their bounds are not checked"
        yield "VALID" if self.is_valid else "NOT VALID"
