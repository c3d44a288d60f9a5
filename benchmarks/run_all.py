"""Run all benchmarks of a CPU and rewrite their sections of RESULTS.md.

    python benchmarks/run_all.py [--only speed,sweeps,...] [--threads 2] [--results FILE] [--smoke]

Takes under 20 minutes on two quiet cores; `make bench` runs it. Each script runs in a process of
its own, one after another, with data that it makes itself. A section lies between two comments in
RESULTS.md, and what is outside, as the results on a GPU, stays. If a script fails, its section
stays too. gpu.py is not run.
"""

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

import child
from machine import describe_load
from results import describe, read_json, to_markdown

FOLDER = Path(__file__).parent
SCRIPTS = (
    *("start", "speed", "evaluation", "whole_runs", "sweeps", "many_runs"),
    *("detection", "fasterrcnn", "keypoints", "moco", "fuse", "oriented"),
)
QUIET_LOAD = 0.3  # per core


def run_script(name: str, json_file: Path, *, threads: int, smoke: bool) -> child.Measured:
    """Run a benchmark in a process of its own."""
    arguments = [f"--json={json_file}", *(["--smoke"] if smoke else [])]
    if name not in ("fuse", "oriented"):  # which are for one core
        arguments.append(f"--threads={threads}")
    return child.run([str(FOLDER / f"{name}.py"), *arguments], folder=FOLDER.parent)


def section_of(json_file: Path, measured: child.Measured) -> str:
    """Return the Markdown of what a benchmark has measured."""
    machine, results = read_json(json_file)
    machine["command"] = re.sub(r" '?--json=\S+", "", machine["command"])
    taken = f"Took {measured.seconds:.0f} s, {measured.cpu_seconds:.0f} s of CPU time."
    return f"{describe(machine)}\n{taken}\n\n{to_markdown(results)}"


def replace_section(text: str, name: str, section: str) -> str:
    """Return a text with another section between the marks of a benchmark.

    Raises:
        ValueError: the marks are missing.
    """
    begin, end = f"<!-- {name}.py -->\n", f"<!-- end of {name}.py -->\n"
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise ValueError(f"the results must have a section from {begin.strip()} to {end.strip()}")
    return f"{before}{begin}\n{section}\n\n{end}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(SCRIPTS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=FOLDER / "RESULTS.md")
    parser.add_argument("--smoke", action="store_true", help="only show that everything runs")
    arguments = parser.parse_args()
    os.environ.pop("OMP_NUM_THREADS", None)
    if float(describe_load()) > QUIET_LOAD * (os.cpu_count() or 1):
        print(f"load is {describe_load()}: this machine is not quiet", file=sys.stderr)
    failed, rows = [], []
    for name in arguments.only.split(","):
        with tempfile.TemporaryDirectory() as folder:
            json_file = Path(folder) / "results.json"
            try:
                measured = run_script(
                    name, json_file, threads=arguments.threads, smoke=arguments.smoke
                )
            except RuntimeError as error:
                failed.append(f"{name}: {error}")
                continue
            section = section_of(json_file, measured)
        text = replace_section(arguments.results.read_text(), name, section)
        arguments.results.write_text(text)
        rows.append(f"| {name} | {measured.seconds:.0f} | {measured.cpu_seconds:.0f} |")
        print(f"{rows[-1]}", flush=True)
    print("\n".join(["", "| benchmark | seconds | CPU seconds |", "|---|---|---|", *rows]))
    if failed:
        sys.exit("\n".join(["failed, their sections stay:", *failed]))


if __name__ == "__main__":
    main()
