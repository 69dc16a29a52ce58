"""Files that are whole or absent, and the remains of killed processes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmunlearner.core.files import (
    append_jsonl,
    discard,
    iterate_jsonl,
    read_json,
    read_jsonl,
    remove_unfinished,
    repair_jsonl,
    staged_dir,
    staged_file,
    write_json,
    write_jsonl,
)
from mmunlearner.errors import DataError, DiskError


def test_discarded_folders_leave_nothing(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("x")
    discard(tmp_path / "a")
    discard(tmp_path / "never there")
    assert not list(tmp_path.iterdir())


def test_only_files_of_killed_processes_are_removed(tmp_path):
    """Checkpoints of a mask's sums end in .part too, but belong to no process."""
    survivors = [tmp_path / "models" / "whole", tmp_path / ".mask.safetensors.forget.part"]
    gone = [tmp_path / "models" / ".half.123.part", tmp_path / ".scores.json.77.part"]
    for path in (survivors[0], gone[0]):
        path.mkdir(parents=True)
    for path in (survivors[1], gone[1]):
        path.write_text("x")
    remove_unfinished(tmp_path)
    assert all(path.exists() for path in survivors)
    assert not any(path.exists() for path in gone)


TEXTS = st.text() | st.text(st.sampled_from("a\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\r\n\x00\ufeff"))


@given(st.lists(st.dictionaries(TEXTS, TEXTS)))
def test_a_line_ends_at_a_line_feed_and_nowhere_else(tmp_path_factory: pytest.TempPathFactory, values: list[object]):
    folder = tmp_path_factory.mktemp("lines")
    write_jsonl(folder / "whole.jsonl", values)
    (folder / "log.jsonl").touch()
    for value in values:
        append_jsonl(folder / "log.jsonl", value)
    assert read_jsonl(folder / "whole.jsonl") == read_jsonl(folder / "log.jsonl") == values
    assert (folder / "whole.jsonl").read_bytes().count(b"\n") == len(values)
    assert read_json(write_json(folder / "value.json", values)) == values


@given(st.lists(TEXTS, max_size=4), st.integers(0, 30))
def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path_factory: pytest.TempPathFactory, values: list[str], cut: int):
    path = write_jsonl(tmp_path_factory.mktemp("cut") / "log.jsonl", [*values, "\u2028é" * 20])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - cut - 1])  # within a letter, too
    assert repair_jsonl(path) == values
    append_jsonl(path, "next")
    assert read_jsonl(path) == [*values, "next"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_of_encodings_are_no_part_of_a_text(tmp_path: Path, encoding: str, end: str):
    path = tmp_path / "t.jsonl"
    path.write_bytes(end.join(['{"a": "é"}', '"b"', ""]).encode(encoding))
    assert list(iterate_jsonl(path)) == [(1, {"a": "é"}), (2, "b")]


def test_files_that_were_joined_have_marks_in_the_middle(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    path.write_bytes('"a"\n'.encode("utf-8-sig") * 2)
    assert read_jsonl(path) == ["a", "a"]


def test_half_of_a_surrogate_pair_is_written_as_json_writes_it(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    append_jsonl(path, {"said": "\ud83d"})
    write_json(tmp_path / "t.json", ["\udc00"])
    assert read_jsonl(path) == [{"said": "\ud83d"}]
    assert read_json(tmp_path / "t.json") == ["\udc00"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("é,\nü".encode("cp1252"), "line 1: not UTF-8 text (byte 0, "),
        ("e,\nü;".encode("cp1252"), "line 2: not UTF-8 text (byte 3, "),
        (b"[" * 100_000, "not JSON that can be read"),
        (b"9" * 5_000, "not JSON that can be read"),
        (b'{"a":\n}', "not valid JSON (Expecting value: line 2 column 1"),
        (b"", "not valid JSON (Expecting value)"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "t.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_json(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def fill(path, error: Exception) -> None:
    with staged_dir(path) as stage:
        (stage / "half").write_text("x")
        raise error


def fill_file(path, error: Exception) -> None:
    with staged_file(path) as stage:
        stage.write_text("x")
        raise error


@pytest.mark.parametrize("write", [fill, fill_file])
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=repr,
)
def test_full_disk_is_one_line_and_leaves_nothing(tmp_path, write, error):
    (tmp_path / "before").mkdir()
    with pytest.raises(DiskError, match=rf"^{tmp_path}/\w+: the disk is full .*; free some space, the same command"):
        write(tmp_path / "new", error)
    assert [path.name for path in tmp_path.iterdir()] == ["before"]
    if write is fill:
        with pytest.raises(DiskError):
            write(tmp_path / "before", error)
        assert (tmp_path / "before").is_dir()


@pytest.mark.parametrize("write", [fill, fill_file])
def test_other_errors_stay_what_they_are(tmp_path, write):
    with pytest.raises(KeyError):
        write(tmp_path / "new", KeyError("defect"))
    assert not list(tmp_path.iterdir())
