"""Reports of problems in a submission file."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_EXAMPLES = 10
Problem = tuple[str, str]  # the broken rule, what the file has instead


@dataclass(frozen=True, kw_only=True)
class Report:
    """Result of a check."""

    summary: Sequence[str]  # the first lines
    unit: str  # plural noun for what is counted, for example "places"
    problems: Mapping[str, Sequence[str]]  # the first few violations of each broken rule
    counts: Mapping[str, int]  # violations of each rule
    notes: Sequence[str]  # remarks that do not make the file invalid

    @property
    def is_valid(self) -> bool:
        """Whether no rule is broken."""
        return not self.problems

    def lines(self) -> Iterator[str]:
        """Yield the lines of the report."""
        yield from self.summary
        for rule, shown in self.problems.items():
            yield f"WRONG in {self.counts[rule]} {self.unit}: {rule}"
            yield from (f"  {example}" for example in shown)
            if self.counts[rule] > len(shown):
                yield f"  and {self.counts[rule] - len(shown)} more"
        yield from self.notes
        yield "VALID" if self.is_valid else "NOT VALID"


def report_problems(
    problems: Iterable[Problem], *, summary: Sequence[str], unit: str, notes: Sequence[str]
) -> Report:
    """Return a report with the problems grouped by rule; see `Report` for the rest."""
    examples: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    for rule, example in problems:
        counts[rule] += 1
        if counts[rule] <= MAX_EXAMPLES:
            examples.setdefault(rule, []).append(example)
    return Report(summary=summary, unit=unit, problems=examples, counts=counts, notes=notes)


def print_report(path: Path, check: Callable[[], Report]) -> int:
    """Print the report of a file, or why there is none, and return the exit code."""
    try:
        report = check()
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.writelines(f"{line}\n" for line in (str(path), *report.lines()))
    return 0 if report.is_valid else 1
