import errno
import hashlib
import io
import json
import os
import pickle
import random
import re
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from visionlab.files.atomic import write_json, write_text
from visionlab.files.data_paths import check_data_paths
from visionlab.files.tensors import read_tensors, write_tensors

CONTENT = {
    "model": OrderedDict(weight=torch.arange(12.0).reshape(3, 4), counter=torch.tensor(3)),
    "optimizer": {"state": {0: {"step": torch.tensor(2.0)}}, "lr": 0.1, "betas": (0.9, 0.999)},
    "names": ["ema_0.9", "uniform"],
    "nothing": None,
    "flags": torch.tensor([True, False]),
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "empty": torch.zeros(0, 3),
    "step": 2**40,
}
SUFFIX_LENGTH = len("sha256:") + 64

LIMITED_WRITER = """
import json, resource, signal, sys
from pathlib import Path
import torch
from visionlab.files.atomic import write_text
from visionlab.files.data_paths import check_data_paths
from visionlab.files.tensors import write_tensors

folder = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that a write fails, as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
last, kept = folder / "last.pt", folder / "kept.pt"
errors = []
for write in (
    lambda: write_tensors(last, {"a": torch.ones(1_000_000)}),
    lambda: write_tensors(last, {"a": torch.ones(1_000_000)}, backup=kept),
    lambda: write_tensors(last, {"a": torch.ones(24_900)}, backup=kept),
    lambda: write_tensors(folder / "new.pt", {"a": torch.ones(30_000)}),
    lambda: write_text(folder / "config.yaml", "x" * 200_000),
):
    try:
        write()
        errors.append(["nothing", ""])
    except Exception as error:
        errors.append([type(error).__name__, str(error)])
print(json.dumps(errors))
"""

KILLED_WRITERS = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from visionlab.files.data_paths import check_data_paths
from visionlab.files.tensors import read_tensors, write_tensors

folder = Path(sys.argv[1])
path, kept = folder / "last.pt", folder / "kept.pt"

def write(number):
    content = {"number": number, "values": torch.full((500_000,), float(number))}
    write_tensors(path, content, backup=kept)

def read(file):
    content = read_tensors(file, require_checksum=True)
    assert (content["values"] == content["number"]).all()
    return content["number"]

write(0)
write(1)
numbers = [1]
parent = os.getpid()
for delay in random.Random(0).sample(range(60), 10):
    then = path.stat().st_mtime_ns
    child = os.fork()
    if child == 0:
        while os.getppid() == parent:
            write(read(path) + 1)
        os._exit(0)
    while path.stat().st_mtime_ns == then:
        time.sleep(0.001)
    time.sleep(delay / 1000)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    numbers.append(read(path))
    assert numbers[-1] - read(kept) in (0, 1)
print(json.dumps(numbers))
"""


class MakesFolder:
    """An object whose pickle makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def run_script(script: str, folder: Path) -> Any:
    result = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def same(content: Any, other: Any) -> bool:
    if isinstance(content, torch.Tensor):
        return content.dtype == other.dtype and torch.equal(content, other)
    if isinstance(content, dict):
        return list(content) == list(other) and all(same(content[key], other[key]) for key in other)
    return type(content) is type(other) and content == other


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def flip(data: bytes, place: int) -> bytes:
    mask = random.Random(place).randrange(1, 256)
    return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]


@pytest.mark.parametrize("sealed", [True, False])
def test_what_was_written_is_read(tmp_path: Path, sealed: bool) -> None:
    write_tensors(tmp_path / "last.pt", CONTENT)
    assert same(read_tensors(tmp_path / "last.pt", require_checksum=sealed), CONTENT)
    assert names_in(tmp_path) == ["last.pt"]


def test_content_of_a_megabyte_is_read_as_written(tmp_path: Path) -> None:
    content = {"a": torch.randn(400_000), "b": torch.randn(400_001).double()}
    write_tensors(tmp_path / "last.pt", content)
    assert same(read_tensors(tmp_path / "last.pt", require_checksum=True), content)


def test_torch_and_zip_tools_read_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    write_tensors(path, CONTENT)
    assert same(torch.load(path, weights_only=True), CONTENT)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        comment = archive.comment
    digest = hashlib.sha256(path.read_bytes()[: -len(comment) - 2]).hexdigest()
    assert comment == f"sha256:{digest}".encode()


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    write_tensors(path, CONTENT)
    data = path.read_bytes()
    message = f"^{re.escape(str(path))} is cut short: its checksum is missing$"
    for length in [*range(0, len(data), 7), *range(len(data) - 80, len(data))]:
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=message):
            read_tensors(path, require_checksum=True)


def test_a_file_cut_short_is_read_whole_or_refused_without_seal(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    write_tensors(path, CONTENT)
    data = path.read_bytes()
    for length in range(0, len(data) - SUFFIX_LENGTH, 11):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))} is not a whole checkpoint"):
            read_tensors(path, require_checksum=False)


def test_a_file_that_goes_on_after_its_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    write_tensors(path, CONTENT)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="cut short: its checksum is missing"):
        read_tensors(path, require_checksum=True)


@pytest.mark.parametrize("sealed", [True, False])
def test_a_byte_altered_anywhere_in_the_content_is_refused(tmp_path: Path, sealed: bool) -> None:
    path = tmp_path / "last.pt"
    write_tensors(path, CONTENT)
    data = path.read_bytes()
    message = f"^{re.escape(str(path))} was altered: its checksum does not match its content$"
    for place in range(0, len(data) - SUFFIX_LENGTH - 2, 7):  # coprime to all alignments
        path.write_bytes(flip(data, place))
        with pytest.raises(ValueError, match=message):
            read_tensors(path, require_checksum=sealed)


def test_a_byte_altered_anywhere_in_the_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    write_tensors(path, CONTENT)
    data = path.read_bytes()
    for place in range(len(data) - SUFFIX_LENGTH, len(data)):
        path.write_bytes(flip(data, place))
        with pytest.raises(ValueError, match=r"was altered|is cut short"):
            read_tensors(path, require_checksum=True)


@pytest.mark.parametrize("place", [0, 1])
def test_an_altered_length_of_the_checksum_is_refused(tmp_path: Path, place: int) -> None:
    path = tmp_path / "last.pt"
    write_tensors(path, CONTENT)
    data = path.read_bytes()
    path.write_bytes(flip(data, len(data) - SUFFIX_LENGTH - 2 + place))
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_tensors(path, require_checksum=True)


def test_a_file_of_torch_is_read_only_if_no_seal_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "foreign.pt"
    torch.save(CONTENT, path)
    assert same(read_tensors(path, require_checksum=False), CONTENT)
    with pytest.raises(ValueError, match="is cut short: its checksum is missing"):
        read_tensors(path, require_checksum=True)


def old_file_of_torch() -> bytes:
    """Return a file as torch wrote it before version 1.6."""
    file = io.BytesIO()
    torch.save({"weight": torch.ones(3)}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def test_an_old_file_of_torch_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    path.write_bytes(old_file_of_torch())
    assert same(read_tensors(path, require_checksum=False), {"weight": torch.ones(3)})


def test_an_old_file_of_torch_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    data = old_file_of_torch()
    for length in range(0, len(data), 3):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=re.escape(str(path))):
            read_tensors(path, require_checksum=False)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_an_altered_file_of_torch_is_read_or_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "foreign.pt"
    torch.save({"weight": torch.ones(3)}, path)
    data = path.read_bytes()
    other_errors = []
    for place in range(0, len(data), 7):
        path.write_bytes(flip(data, place))
        try:
            read_tensors(path, require_checksum=False)
        except Exception as error:
            if type(error) is not ValueError or str(path) not in str(error):
                other_errors.append(f"byte {place}: {error!r}")
    assert other_errors == []


@pytest.mark.parametrize("data", [b"", b"hello world", b"PK\x03\x04", b"\0" * 100, b"\x80\x02}q\0"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "readme.pt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_tensors(path, require_checksum=False)
    with pytest.raises(ValueError, match="is cut short: its checksum is missing"):
        read_tensors(path, require_checksum=True)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    with pytest.raises(
        FileNotFoundError, match=f"^{re.escape(str(path))} must be a file, got nothing$"
    ):
        read_tensors(path, require_checksum=True)
    with pytest.raises(FileNotFoundError, match="must be a file, got a folder"):
        read_tensors(tmp_path, require_checksum=False)


def test_a_file_without_a_dictionary_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.pt"
    torch.save([torch.ones(2)], path)
    with pytest.raises(ValueError, match=r"must hold a dictionary, got list$"):
        read_tensors(path, require_checksum=False)


@pytest.mark.parametrize("kind", ["pickle", "torch", "old torch", "sealed"])
def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path, kind: str) -> None:
    path, marker = tmp_path / "evil.pt", tmp_path / "was-run"
    content = {"model": MakesFolder(marker)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    elif kind == "sealed":
        write_tensors(path, content)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "torch")
    message = "must hold tensors and plain containers only; it holds posix.mkdir"
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} {message}"):
        read_tensors(path, require_checksum=kind == "sealed")
    assert not marker.exists()
    pickle.loads(pickle.dumps(content))
    assert marker.exists()  # whoever reads it without care does run it


def test_keep_holds_the_file_before(tmp_path: Path) -> None:
    path, kept = tmp_path / "last.pt", tmp_path / "previous.pt"
    for number in range(4):
        write_tensors(path, {"number": number}, backup=kept)
        assert read_tensors(path, require_checksum=True) == {"number": number}
        assert kept.exists() == (number > 0)
        if number:
            assert read_tensors(kept, require_checksum=True) == {"number": number - 1}
    write_tensors(path, {"number": 9})
    assert read_tensors(kept, require_checksum=True) == {"number": 2}
    assert names_in(tmp_path) == ["last.pt", "previous.pt"]


def test_keep_works_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path, kept = tmp_path / "last.pt", tmp_path / "previous.pt"
    for number in range(3):
        write_tensors(path, {"number": number}, backup=kept)
    assert read_tensors(path, require_checksum=True) == {"number": 2}
    assert read_tensors(kept, require_checksum=True) == {"number": 1}
    assert names_in(tmp_path) == ["last.pt", "previous.pt"]


def test_a_file_is_on_the_disk_before_it_replaces_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def watch_fsync(descriptor: int) -> None:
        events.append("fsync")
        fsync(descriptor)

    def watch_replace(source: Path, target: Path) -> Path:
        events.append(f"replace {target.name}")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", watch_fsync)
    monkeypatch.setattr(Path, "replace", watch_replace)
    write_tensors(tmp_path / "last.pt", {"step": 1})
    write_text(tmp_path / "config.yaml", "step: 1\n")
    assert events[:3] == ["fsync", "replace last.pt", "fsync"]  # the file, then its folder
    assert events[3:5] == ["fsync", "replace config.yaml"]


@pytest.mark.integration
def test_a_full_disk_leaves_the_old_files_whole_and_nothing_else(tmp_path: Path) -> None:
    write_tensors(tmp_path / "last.pt", {"a": torch.zeros(10)}, backup=tmp_path / "kept.pt")
    write_tensors(tmp_path / "last.pt", {"a": torch.ones(10)}, backup=tmp_path / "kept.pt")
    write_text(tmp_path / "config.yaml", "lr: 0.1\n")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    errors = run_script(LIMITED_WRITER, tmp_path)
    names = ["last.pt", "last.pt", "last.pt", "new.pt", "config.yaml"]
    assert [kind for kind, _ in errors] == ["OSError"] * 5
    for name, (_, message) in zip(names, errors, strict=True):
        assert message.startswith(f"{tmp_path / name} cannot be written, ")
        assert "\n" not in message
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.integration
def test_a_writer_killed_at_any_moment_leaves_whole_files(tmp_path: Path) -> None:
    numbers = run_script(KILLED_WRITERS, tmp_path)
    assert len(numbers) == 11
    assert numbers == sorted(numbers)
    assert numbers[-1] > 10  # each writer did write


def test_what_a_killed_process_left_does_not_hinder_the_next(tmp_path: Path) -> None:
    path, kept = tmp_path / "last.pt", tmp_path / "previous.pt"
    for name in ("last.pt", "previous.pt"):
        (tmp_path / f".{name}.tmp").write_bytes(b"half")
    write_tensors(path, {"number": 1}, backup=kept)
    write_tensors(path, {"number": 2}, backup=kept)
    assert read_tensors(path, require_checksum=True) == {"number": 2}
    assert read_tensors(kept, require_checksum=True) == {"number": 1}
    assert names_in(tmp_path) == ["last.pt", "previous.pt"]


def test_content_that_cannot_be_pickled_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="pickle"):
        write_tensors(tmp_path / "last.pt", {"rule": lambda: 0})
    assert names_in(tmp_path) == []


def test_text_that_cannot_be_encoded_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "config.yaml", "\ud800")
    assert names_in(tmp_path) == []


def test_a_zip_that_ends_in_another_way_is_not_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "save", lambda _, file: file.write(b"no zip"))
    path = tmp_path / "last.pt"
    reason = "torch.save no longer ends its zip with an empty comment"
    with pytest.raises(OSError, match=f"^{re.escape(str(path))} cannot be written, {reason}$"):
        write_tensors(path, CONTENT)
    assert names_in(tmp_path) == []


def test_a_missing_folder_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "last.pt"
    message = f"^{re.escape(str(path))} cannot be written, No such file or directory$"
    with pytest.raises(OSError, match=message):
        write_tensors(path, CONTENT)
    with pytest.raises(OSError, match=message):
        write_text(path, "lr: 0.1\n")


def test_text_is_written_as_it_is_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    for text in ("a longer first text\n", "Z\u00fcrich\n", ""):
        write_text(path, text)
        assert path.read_bytes() == text.encode()
    assert names_in(tmp_path) == ["notes.txt"]


def test_json_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    for content in ({"status": "running", "step": 3, "best": {"value": 0.1 + 0.2}}, {"x": [None]}):
        write_json(path, content)
        assert json.loads(path.read_text()) == content
        assert path.read_text().endswith("}\n")
    assert names_in(tmp_path) == ["run.json"]


def test_json_has_null_where_a_number_is_not_finite(tmp_path: Path) -> None:
    content = {"a": [1.5, float("nan")], "b": {"c": float("inf"), "d": None}, "e": "nan"}
    write_json(tmp_path / "x.json", content)
    assert json.loads((tmp_path / "x.json").read_text(), parse_constant=pytest.fail) == {
        "a": [1.5, None],
        "b": {"c": None, "d": None},
        "e": "nan",
    }


def data_settings(folder: Path, **changes: Any) -> dict[str, Any]:
    names = {"train": "train.json", "val": None}
    target = "visionlab.tasks.detection.Coco"
    return {"_target_": target, "root": str(folder), "annotations": names} | changes


def test_wrong_paths_of_a_data_set_are_named_before_torch_is_imported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^dataset.annotations.train must exist, looked f"):
        check_data_paths(data_settings(tmp_path))
    (tmp_path / "train.json").touch()
    check_data_paths(data_settings(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"^dataset.root must be a folder, looked for"):
        check_data_paths(data_settings(tmp_path / "nowhere"))
    for other in ({"download": True}, {"_target_": "mine.Data"}, {"root": None}):
        check_data_paths(data_settings(tmp_path / "nowhere", **other))
