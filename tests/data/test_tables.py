from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmunlearner.data.schema import Text
from mmunlearner.data.tables import has_table, read_table
from mmunlearner.errors import DataError


class Layout(TypedDict):
    name: Text
    numbers: list[int]


ROWS = [{"name": f"n{i}", "numbers": [i, i + 1]} for i in range(7)]


def write_parquet(path: Path, rows: list[dict[str, Any]], group: int = 3) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group, compression="none")
    return path


def write(path: Path, rows: list[Any]) -> Path:
    if path.suffix == ".parquet":
        return write_parquet(path, rows)
    text = json.dumps(rows) if path.suffix == ".json" else "".join(f"{json.dumps(row)}\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


SUFFIXES = pytest.mark.parametrize("suffix", [".parquet", ".json", ".jsonl"])


@SUFFIXES
def test_every_kind_of_file_gives_the_same_numbered_rows(tmp_path: Path, suffix: str):
    found = list(read_table(write(tmp_path / f"t{suffix}", ROWS), Layout))
    assert [row for _, row in found] == ROWS
    assert [cell.row for cell, _ in found] == list(range(1, 8))


@SUFFIXES
def test_shards_in_a_folder_are_read_in_order(tmp_path: Path, suffix: str):
    write(tmp_path / f"b{suffix}", ROWS[4:])
    write(tmp_path / f"a{suffix}", ROWS[:4])
    assert [row for _, row in read_table(tmp_path, Layout)] == ROWS


@SUFFIXES
def test_a_split_may_be_a_file_beside_its_folder(tmp_path: Path, suffix: str):
    write(tmp_path / f"Full_Set{suffix}", ROWS)
    assert [row for _, row in read_table(tmp_path / "Full_Set", Layout)] == ROWS
    assert has_table(tmp_path / "Full_Set")
    assert not has_table(tmp_path / "Test_Set")


@SUFFIXES
@pytest.mark.parametrize("bad", [0, 3, 6])
def test_the_first_bad_row_is_named(tmp_path: Path, suffix: str, bad: int):
    rows = [row | {"name": ""} if i >= bad else row for i, row in enumerate(ROWS)]
    path = write(tmp_path / f"t{suffix}", rows)
    with pytest.raises(DataError) as error:
        list(read_table(path, Layout))
    assert str(error.value) == f"{path}, row {bad + 1}, column name: expected a text, found an empty one"


@SUFFIXES
def test_a_hint_tells_of_other_layouts(tmp_path: Path, suffix: str):
    path = write(tmp_path / f"t{suffix}", [{"title": "x", "numbers": [1]}])
    with pytest.raises(DataError, match=r"row 1, column name: expected this column.*title.*\. Rename it\.$"):
        list(read_table(path, Layout, hints={"title": "Rename it.", "numbers": "no", "other": "no"}))


@SUFFIXES
def test_strict_tables_have_no_strange_columns(tmp_path: Path, suffix: str):
    path = write(tmp_path / f"t{suffix}", [ROWS[0] | {"nubmers": 1}])
    assert len(list(read_table(path, Layout))) == 1
    with pytest.raises(DataError, match=r"row 1, column nubmers: expected no such column.*did you mean numbers"):
        list(read_table(path, Layout, strict=True))


def test_lines_that_are_not_json_are_named_by_their_number(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"name": "a", "numbers": []}\n\n{"name": \n', encoding="utf-8")
    with pytest.raises(DataError, match=r"t\.jsonl, row 3: expected one JSON object on the line, found str"):
        list(read_table(path, Layout))


def test_lines_end_at_line_feeds_alone(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"name": "a\u2028b\x85c", "numbers": []}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [row["name"] for _, row in read_table(path, Layout)] == ["a\u2028b\x85c"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.json", b'{"name": 1}', "expected a list of rows, found dict"),
        ("t.json", b"[1,", "not valid JSON"),
        ("t.json", b"[1]", "row 1: expected the fields name, numbers, found int 1"),
        ("t.jsonl", b'"x"', "row 1: expected the fields name, numbers, found str 'x'"),
        ("t.jsonl", b"\xff\xfe", "not UTF-8 text"),
        ("t.parquet", b"PAR1 but no more", "row 1 or later: broken parquet"),
        ("t.parquet", b"", "row 1 or later: broken parquet"),
        ("t.csv", b"a,b", "not a table this package reads; give .parquet, .jsonl, .json"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: bytes, message: str):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        list(read_table(path, Layout))
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_parquet_damaged_in_the_middle_says_up_to_where_it_was_read(tmp_path: Path):
    path = write_parquet(tmp_path / "t.parquet", [{"name": "x" * 500, "numbers": [1]} for _ in range(9)])
    content = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
    content[start : start + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"t\.parquet, row 4 or later: broken parquet"):
        list(read_table(path, Layout))


def test_a_missing_table_is_named(tmp_path: Path):
    with pytest.raises(
        DataError, match=r"gone: no such table; expected a folder or file of \.parquet, \.jsonl, \.json"
    ):
        list(read_table(tmp_path / "gone", Layout))


@given(
    rows=st.lists(
        st.fixed_dictionaries({"name": st.text(min_size=1).filter(str.strip), "numbers": st.lists(st.integers(-9, 9))})
    )
)
def test_jsonl_reads_what_was_written(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]):
    path = write(tmp_path_factory.mktemp("rows") / "t.jsonl", rows)
    assert [row for _, row in read_table(path, Layout)] == rows
