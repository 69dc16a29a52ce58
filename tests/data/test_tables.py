"""Rows against their layout, files of all kinds, and parquet that is written."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.layouts import png
from typing_extensions import TypedDict

from mmunlearner.core.texts import is_blank
from mmunlearner.core.validation import Json, Text
from mmunlearner.data import ImageRef
from mmunlearner.data.tables import Cell, Images, check, has_table, read_table
from mmunlearner.errors import DataError


class Inner(TypedDict):
    word: Text


class Filled(TypedDict):
    name: Text
    count: int
    share: float
    kind: Literal["a", "b"]
    inner: list[Inner]
    notes: Annotated[dict[str, str], Json]
    extra: NotRequired[str | None]


CELL = Cell(Path("people.parquet"), 7)
GOOD = {"name": "Ann", "count": 1, "share": 0.5, "kind": "a", "inner": [{"word": "x"}], "notes": '{"a": "b"}'}


def test_a_fitting_row_comes_back_parsed_and_without_strange_columns():
    assert check(GOOD | {"other": 1}, Filled, CELL) == GOOD | {"notes": {"a": "b"}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 7}, "column name: expected a text, found 7"),
        ({"name": " "}, "column name: expected a text, found an empty one"),
        ({"name": "\u200b\u3164 "}, "column name: expected a text, found nothing visible in '\\u200b\\u3164 '"),
        ({"name": "a\ud83d"}, "column name: expected Unicode text, found half of a surrogate pair"),
        (
            {"inner": [{"word": "\udc80"}]},
            "column inner[0].word: expected Unicode text, found half of a surrogate pair",
        ),
        ({"notes": '{"a": "\\ud83d"}'}, "column notes: expected Unicode text, found half of a surrogate pair"),
        ({"name": None}, "column name: expected a text, found nothing"),
        ({"count": True}, "column count: expected a whole number, found True"),
        ({"count": 1.5}, "column count: expected a whole number, found 1.5"),
        ({"share": "half"}, "column share: expected a number, found 'half'"),
        ({"kind": "c"}, "column kind: expected one of a, b, found 'c'"),
        ({"inner": {}}, "column inner: expected a list, found {}"),
        ({"inner": [{"word": "x"}, {"word": 3}]}, "column inner[1].word: expected a text, found 3"),
        ({"inner": [{}]}, "column inner[0].word: expected this column, found only nothing"),
        ({"inner": [{"wrod": "x"}]}, "column inner[0].word: expected this column, found wrod (did you mean word?)"),
        ({"inner": ["x"]}, "column inner[0]: expected the columns word, found 'x'"),
        ({"notes": '{"a": '}, "column notes: expected JSON, found '{\"a\": ' (Expecting value at character 6)"),
        ({"notes": '["a"]'}, "column notes: expected named values, found ['a']"),
        ({"notes": '{"a": 1}'}, "column notes.a: expected a text, found 1"),
        ({"extra": 5}, "column extra: expected a text, found 5"),
    ],
)
def test_the_cell_that_does_not_fit_is_named(change: dict[str, object], message: str):
    with pytest.raises(DataError) as error:
        check(GOOD | change, Filled, CELL)
    assert str(error.value) == f"people.parquet, row 7, {message}"


@pytest.mark.parametrize("column", ["name", "count", "share", "kind", "inner", "notes"])
def test_a_missing_column_is_named(column: str):
    with pytest.raises(DataError, match=rf"row 7, column {column}: expected this column"):
        check({key: value for key, value in GOOD.items() if key != column}, Filled, CELL)


def test_optional_columns_may_be_null_or_absent_and_are_then_left_out():
    assert check(GOOD | {"extra": None}, Filled, CELL) == check(GOOD, Filled, CELL)
    assert check(GOOD | {"extra": "x"}, Filled, CELL)["extra"] == "x"


def test_a_python_literal_in_the_place_of_json_is_read():
    assert check(GOOD | {"notes": "{'a': 'b'}"}, Filled, CELL)["notes"] == {"a": "b"}


def test_nulls_among_free_names_are_left_out():
    assert check(GOOD | {"notes": {"a": "b", "c": None}}, Filled, CELL)["notes"] == {"a": "b"}


def test_unknown_names_are_errors_where_they_are_checked():
    assert check(GOOD, Filled, CELL, strict=True)
    with pytest.raises(DataError, match=r"row 7, column nmae: unknown column; did you mean name\?"):
        check(GOOD | {"nmae": "Ann"}, Filled, CELL, strict=True)


class Pictured(TypedDict):
    image: ImageRef


def test_images_are_bytes_cells_or_paths(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(png(1))
    cell = Cell(tmp_path / "rows.jsonl", 2)
    for value in (png(1), {"bytes": png(1), "path": "x.png"}, {"bytes": None, "path": "a.png"}, "a.png"):
        assert check({"image": value}, Pictured, cell)["image"].open().getpixel((0, 0)) == (37, 91, 1)


class Several(TypedDict):
    image: Images


def test_a_list_of_images_may_be_one_without_brackets(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(png(1))
    cell = Cell(tmp_path / "rows.jsonl", 2)
    for value, count in (("a.png", 1), (["a.png"], 1), (["a.png", png(2)], 2), ([], 0), (ImageRef("x", png(1)), 1)):
        assert len(check({"image": value}, Several, cell)["image"]) == count
    for value, column in (("b.png", "image"), (["a.png", "b.png"], "image[1]"), (3, "image")):
        with pytest.raises(DataError, match=rf"row 2, column {re.escape(column)}: expected an image"):
            check({"image": value}, Several, cell)


def test_a_pil_image_is_taken_with_its_pixels():
    for mode in ("RGB", "CMYK", "L"):
        image = Image.open(io.BytesIO(png(3))).convert(mode)
        assert check({"image": image}, Pictured, CELL)["image"].open().tobytes() == image.convert("RGB").tobytes()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "expected this column, found nothing"),
        ({"bytes": None, "path": None}, "expected an image (bytes, or the path of a file), found {"),
        (b"not an image", "expected an image, found not decodable (12 bytes, no known image format; AVIF,"),
        (png(1)[:-20], "expected an image, found not decodable"),
        ("gone.png", "gone.png: No such file or directory"),
    ],
)
def test_a_bad_image_is_named_by_file_and_row(tmp_path: Path, value: object, message: str):
    with pytest.raises(DataError) as error:
        check({"image": value}, Pictured, Cell(tmp_path / "rows.jsonl", 2))
    assert str(error.value).startswith(f"{tmp_path / 'rows.jsonl'}, row 2, column image: ")
    assert message in str(error.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "extra", "other"]), JSON))
def test_any_row_either_fits_or_is_refused_in_one_short_line(change: dict[str, object]):
    try:
        row, message = check(GOOD | change, Filled, CELL), ""
    except DataError as error:
        row, message = None, str(error)
    if row is None:
        assert message.startswith("people.parquet, row 7, column ")
        assert "\n" not in message
    else:
        assert check(row, Filled, CELL) == row


@given(st.dictionaries(st.text(), st.text()))
def test_json_columns_read_what_was_written(notes: dict[str, str]):
    assert check(GOOD | {"notes": json.dumps(notes)}, Filled, CELL)["notes"] == notes


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
    table = list(read_table(write(tmp_path / f"t{suffix}", ROWS), Layout))
    assert [row for _, row in table] == ROWS
    assert [cell.row for cell, _ in table] == list(range(1, 8))


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
    with pytest.raises(DataError, match=r"row 1, column nubmers: unknown column; did you mean numbers"):
        list(read_table(path, Layout, strict=True))


def test_lines_that_are_not_json_are_named_by_their_number(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"name": "a", "numbers": []}\n\n{"name": \n', encoding="utf-8")
    with pytest.raises(DataError, match=r"t\.jsonl, line 3: not valid JSON \(Expecting value\)"):
        list(read_table(path, Layout))


def test_lines_end_at_line_feeds_alone(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"name": "a\u2028b\x85c", "numbers": []}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [row["name"] for _, row in read_table(path, Layout)] == ["a\u2028b\x85c"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.json", b'{"name": 1}', "expected a list of rows, found {"),
        ("t.json", b"[1,", "not valid JSON"),
        ("t.json", b"[1]", "row 1: expected the columns name, numbers, found 1"),
        ("t.jsonl", b'"x"', "row 1: expected the columns name, numbers, found 'x'"),
        ("t.jsonl", b"\xff\xfd", "line 1: not UTF-8 text (byte 0, invalid start byte); save the file as UTF-8"),
        ("t.parquet", b"PAR1 but no more", "row 1 or later: broken parquet"),
        ("t.parquet", b"", "row 1 or later: broken parquet"),
        ("t.txt", b"a,b", "not a table this package reads; give .parquet, .jsonl, .json, .csv, .tsv, .xlsx"),
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


@pytest.mark.parametrize("kind", ["text", "date"])
def test_a_parquet_cell_that_python_cannot_hold_is_told(tmp_path: Path, kind: str):
    no_text = [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]
    columns = {
        "text": pa.Array.from_buffers(pa.string(), 1, no_text),
        "date": pa.array([2**62], pa.timestamp("ms")),
    }
    pq.write_table(pa.table({"name": columns[kind]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet, row 1 or later: broken parquet"):
        list(read_table(tmp_path / "t.parquet", TypedDict("Named", {"name": str})))


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
        st.fixed_dictionaries(
            {"name": st.text().filter(lambda text: not is_blank(text)), "numbers": st.lists(st.integers(-9, 9))}
        )
    )
)
def test_jsonl_reads_what_was_written(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]):
    path = write(tmp_path_factory.mktemp("rows") / "t.jsonl", rows)
    assert [row for _, row in read_table(path, Layout)] == rows
