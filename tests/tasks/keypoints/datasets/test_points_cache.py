import json
import logging
import os
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visionlab.tasks.keypoints.datasets import points_table
from visionlab.tasks.keypoints.datasets.points_table import PointsTable, cache_path, read_points

TEXT = (
    "file_name\tPoint_0_X\tPoint_0_Y\tPoint_1_X\tPoint_1_Y\na.jpg\t1\t2.1\t3\t4\nb.jpg\t5\t\t7\t8\n"
)
STARTED_TOGETHER = """
import sys
from pathlib import Path
from visionlab.tasks.keypoints.datasets.points_table import read_points

sys.stdin.readline()
table = read_points(Path(sys.argv[1]), delimiter="\\t")
print(table.points.shape, float(table.points.sum()), len(table.names))
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from visionlab.tasks.keypoints.datasets import points_table
from visionlab.tasks.keypoints.datasets.points_table import read_points

points_table.json.dumps = lambda content: os.kill(os.getpid(), signal.SIGKILL)
read_points(Path(sys.argv[1]), delimiter="\\t")
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "points.csv"
    path.write_text(TEXT)
    return path


@pytest.fixture
def num_parsed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return how often a table was parsed since the last call."""
    calls: list[Path] = []
    parse = points_table.read_blocks

    def counted(path: Path, *args: Any, **settings: Any) -> Any:
        calls.append(path)
        return parse(path, *args, **settings)

    def count() -> int:
        number = len(calls)
        calls.clear()
        return number

    monkeypatch.setattr(points_table, "read_blocks", counted)
    return count


def read(path: Path) -> PointsTable:
    return read_points(path, delimiter="\t")


def same(table: PointsTable, other: PointsTable) -> bool:
    return (
        list(table.names) == list(other.names)
        and list(table.point_names) == list(other.point_names)
        and table.points.shape == other.points.shape
        and table.points.tobytes() == other.points.tobytes()
    )


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    caplog.clear()
    return found


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rewrite_content(cache: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON of a cache, with checksums that match."""
    data = cache.read_bytes()
    _, length, _ = points_table._TAIL.unpack(data[-points_table._TAIL.size :])
    start = len(data) - points_table._TAIL.size - length
    content = json.loads(data[start : start + length])
    changed = change(content)
    text = json.dumps(content if changed is None else changed).encode()
    tail = points_table._TAIL.pack(points_table._MARK, len(text), zlib.crc32(text))
    cache.unlink()
    cache.write_bytes(data[:start] + text + tail)


def test_an_unchanged_table_is_not_read_again(
    table: Path, num_parsed: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    first = read(table)
    assert num_parsed() == 1
    again = read(table)
    assert num_parsed() == 0
    assert same(first, again)
    assert first.points.flags.writeable is again.points.flags.writeable is False
    assert type(first.points) is type(again.points) is np.ndarray
    assert names_in(table.parent) == ["points.csv", "points.csv.visionlab-cache"]
    assert messages(caplog) == []


@pytest.mark.parametrize("is_larger", [True, False])
def test_a_changed_table_is_read_again(
    table: Path,
    num_parsed: Callable[[], int],
    caplog: pytest.LogCaptureFixture,
    is_larger: bool,
) -> None:
    read(table)
    table.write_text(TEXT.replace("2.1", "2.11" if is_larger else "2.9"))
    changed = read(table)
    assert num_parsed() == 2
    assert changed.points[0, 0, 1] == np.float32(2.11 if is_larger else 2.9)
    assert same(read(table), changed)
    assert num_parsed() == 0
    assert messages(caplog) == []


def test_a_table_that_has_just_changed_is_read_a_tick_later(table: Path) -> None:
    table.write_text(TEXT)  # once more within this tick, and its time would be the same
    changed_s = table.stat().st_mtime
    points_table.cache_origin(table, delimiter="\t")
    assert time.time() - changed_s >= points_table._TICK_S


def test_another_delimiter_is_another_table(table: Path) -> None:
    read(table)
    with pytest.raises(ValueError, match="must name columns separated by ','"):
        read_points(table, delimiter=",")


@pytest.mark.parametrize("kind", ["cut", "flipped", "longer"])
def test_a_cache_that_is_damaged_anywhere_is_made_anew_and_said(
    table: Path, num_parsed: Callable[[], int], caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    expected = read(table)
    cache = cache_path(table)
    data = cache.read_bytes()
    for place in range(len(data)):
        flipped = bytes([data[place] ^ (1 << place % 8)])
        cache.unlink()  # what is mapped must not be cut short
        cache.write_bytes(
            {
                "cut": data[:place],
                "flipped": data[:place] + flipped + data[place + 1 :],
                "longer": data + data[: place + 1],
            }[kind]
        )
        num_parsed()
        assert same(read(table), expected), place
        assert num_parsed() == 1, place
        (message,) = messages(caplog)
        assert message.startswith(f"{cache} is damaged ("), place
        assert message.endswith(f"); {table} is read anew"), place
        assert cache.read_bytes() == data, place


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("names"),
        lambda content: content.pop("crc32"),
        lambda content: content.pop("origin"),
        lambda content: content["names"].pop(),
        lambda content: content["point_names"].append("2"),
        lambda content: content.update(names="ab"),
        lambda content: [],
    ],
)
def test_a_cache_of_other_entries_is_made_anew_and_said(
    table: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[dict[str, Any]], object],
) -> None:
    expected = read(table)

    def changed(content: dict[str, Any]) -> object:
        result = change(content)
        return result if result == [] else None

    rewrite_content(cache_path(table), changed)
    assert same(read(table), expected)
    (message,) = messages(caplog)
    assert "is damaged (" in message


def test_a_cache_of_another_version_is_made_anew(
    table: Path, num_parsed: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(points_table, "_VERSION", 0)
        read(table)
    read(table)
    assert num_parsed() == 2


def test_a_folder_that_refuses_is_said_once_and_does_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, table: Path
) -> None:
    long = tmp_path / f"{'x' * 226}.csv"  # what is written aside would have too long a name
    shutil.copyfile(table, long)
    found = read(long)
    (message,) = messages(caplog)
    assert message == (
        f"{cache_path(long)} cannot be written (File name too long); continuing without it"
    )
    assert same(found, read(table))
    assert not found.points.flags.writeable


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_said_once_and_does_without(
    table: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table.parent.chmod(0o555)
    try:
        read(table)
    finally:
        table.parent.chmod(0o755)
    (message,) = messages(caplog)
    assert message == (
        f"{cache_path(table)} cannot be written (Permission denied); continuing without it"
    )
    assert names_in(table.parent) == ["points.csv"]


def test_a_full_disk_is_said_once_and_does_without(
    table: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        found = read(table)
    assert messages(caplog) == [
        f"{cache_path(table)} cannot be written (No space left on device); continuing without it"
    ]
    assert names_in(table.parent) == ["points.csv"]
    assert same(found, read(table))


def test_a_folder_in_the_place_of_the_cache_does_no_harm(
    table: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache_path(table).mkdir()
    assert len(read(table).names) == 2
    cache = cache_path(table)
    assert messages(caplog) == [
        f"{cache} cannot be read (Is a directory); {table} is read anew",
        f"{cache} cannot be written (Is a directory); continuing without it",
    ]


def test_what_was_mapped_stays_when_the_table_changes(table: Path) -> None:
    first = read(table)
    before = first.points.tobytes()
    table.write_text(TEXT.replace("2.1", "9.9"))
    read(table)
    assert first.points.tobytes() == before


@pytest.mark.integration
def test_processes_that_start_together_read_the_same(table: Path) -> None:
    table.write_text(TEXT + "".join(f"{row}.jpg\t1\t2\t3\t4\n" for row in range(20_000)))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", STARTED_TOGETHER, str(table)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    results = [process.communicate(timeout=60) for process in processes]
    assert len({output for output, _ in results}) == 1
    assert results[0] == ("(20002, 2, 2) nan 20002\n", "")
    assert names_in(table.parent) == ["points.csv", "points.csv.visionlab-cache"]


@pytest.mark.integration
def test_a_killed_process_leaves_no_broken_cache(
    table: Path, num_parsed: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    result = subprocess.run([sys.executable, "-c", KILLED, str(table)], check=False, timeout=60)
    assert result.returncode == -9
    (aside,) = [path for path in table.parent.iterdir() if path != table]
    assert aside.name.startswith(".points.csv.visionlab-cache.")
    read(table)
    assert aside.exists()  # it might belong to a process that still writes
    assert messages(caplog) == []
    long_ago = time.time() - 7200
    os.utime(aside, (long_ago, long_ago))
    cache_path(table).unlink()
    read(table)
    assert names_in(table.parent) == ["points.csv", "points.csv.visionlab-cache"]
