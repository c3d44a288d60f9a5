"""What is said about a file of COCO results."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

MAX_PER_IMAGE = 100  # what COCO's evaluation counts


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a check found.

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
        for rule, examples in self.problems.items():
            yield f"WRONG in {self.counts[rule]} of {self.num_entries} entries: {rule}"
            yield from (f"  {example}" for example in examples)
            if self.counts[rule] > len(examples):
                yield f"  and {self.counts[rule] - len(examples)} more"
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
