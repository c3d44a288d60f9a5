"""Results of a benchmark as Markdown and JSON: every script shows them in the same form."""

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from machine import describe_load, describe_machine
from sides import Claim, Comparison, Result, Table, describe_claim, describe_goal, describe_ratio

KINDS = {kind.__name__: kind for kind in (Comparison, Table, Claim)}


def options(
    description: str | None, *, threads: int = 2, rounds: int = 5
) -> argparse.ArgumentParser:
    """Return the options that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--smoke", action="store_true", help="only show that everything runs")
    return parser


def publish(
    results: Iterable[Result], *, threads: int, json_file: Path | None, gpu: str | None = None
) -> None:
    """Print results as they come, claims last; write them to a file after each."""
    machine, shown = describe_machine(threads), list[Result]()
    if gpu:
        machine |= {"machine": f"{gpu}, {machine['machine']}"}
    print(describe(machine))
    for result in results:
        shown.append(result)
        if not isinstance(result, Claim):
            print(f"\n{to_markdown([result])}", flush=True)
        if json_file:  # after each, should the time be over
            write_json(json_file, machine, shown)
    machine |= {"load": f"{machine['load']} before, {describe_load()} after"}
    if json_file:
        write_json(json_file, machine, shown)
    if claims := [each for each in shown if isinstance(each, Claim)]:
        print(f"\n{to_markdown(claims)}")
    print(f"\nload {machine['load']}")
    sys.stdout.flush()


def write_json(path: Path, machine: Mapping[str, str], results: Sequence[Result]) -> None:
    rows = [{"kind": type(result).__name__, **asdict(result)} for result in results]
    path.write_text(json.dumps({"machine": machine, "results": rows}, indent=1) + "\n")


def read_json(path: Path) -> tuple[dict[str, str], list[Result]]:
    content = json.loads(path.read_text())
    return content["machine"], [KINDS[row.pop("kind")](**row) for row in content["results"]]


def describe(machine: Mapping[str, str]) -> str:
    """Return command and machine as Markdown."""
    return (
        f"    {machine['command']}\n\n"
        f"{machine['date']}, commit {machine['commit']}; {machine['machine']}, flags "
        f"{machine['flags']};\n{machine['versions']}; threads {machine['threads']}, load "
        f"{machine['load']}."
    )


def to_markdown(results: Sequence[Result]) -> str:
    """Return the claims as one table, and a table for each of the other results."""
    claims = [each for each in results if isinstance(each, Claim)]
    parts = [_claims(claims)] if claims else []
    for each in results:
        if isinstance(each, Comparison):
            parts.append(_comparison(each))
        if isinstance(each, Table):
            parts.append(f"### {each.title}\n\n{_table(each.columns, each.rows)}")
    return "\n\n".join(parts)


def _claims(claims: Sequence[Claim]) -> str:
    rows = [(each.text, describe_goal(each), describe_claim(each)) for each in claims]
    return _table(["claim", "goal", "measured"], rows)


def _comparison(comparison: Comparison) -> str:
    first, rows = next(iter(comparison.seconds)), []
    for side, seconds in comparison.seconds.items():
        speeds = [comparison.count / each for each in seconds]
        middle, low, high = (_speed(f(speeds)) for f in (statistics.median, min, max))
        ratio = describe_ratio(comparison.ratios(side, first)) if side != first else "1"
        rows.append((side, f"{middle} ({low}-{high})", ratio))
    columns = ["side", f"{comparison.unit}/s, median (min-max)", "time against the first"]
    return f"### {comparison.title}\n\n{_table(columns, rows)}"


def _speed(value: float) -> str:
    return f"{value:,.1f}" if value >= 10 else f"{value:.3g}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    text = ["| " + " | ".join(line) + " |" for line in lines]
    text[1] = "|" + "---|" * len(columns)
    return "\n".join(text)
