"""CSV and Excel as programs export them."""

from __future__ import annotations

import csv
import datetime
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any, NotRequired

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.layouts import png
from typing_extensions import TypedDict

from mmunlearner.core.validation import Text
from mmunlearner.data.benchmarks import rows
from mmunlearner.data.spreadsheets import read_csv, read_excel
from mmunlearner.data.tables import read_table
from mmunlearner.errors import DataError

WORDS = st.text(st.sampled_from('aé東;,\t"|\n\u2028= 1.'), min_size=1, max_size=8).map(lambda text: f"x{text}x")


def store(
    path: Path, grid: list[list[Any]], *, delimiter: str = ",", encoding: str = "utf-8", end: str = "\r\n"
) -> Path:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, lineterminator=end).writerows(grid)
    path.write_bytes(stream.getvalue().encode(encoding))
    return path


def excel(path: Path, grid: list[list[Any]]) -> Path:
    book = openpyxl.Workbook()
    for row in grid:
        book.active.append(row)  # pyright: ignore
    book.create_sheet("notes").append(["not read"])
    book.save(path)
    return path


@given(
    st.lists(st.tuples(WORDS, WORDS), max_size=4),
    st.sampled_from(",;\t|"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_every_export_has_the_same_cells(
    tmp_path_factory: pytest.TempPathFactory, grid: list[tuple[str, str]], delimiter: str, encoding: str, end: str
):
    names = ("name", 'what "is" it')
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    store(path, [list(names), *map(list, grid)], delimiter=delimiter, encoding=encoding, end=end)
    assert list(read_csv(path)) == [(n, dict(zip(names, row, strict=True))) for n, row in enumerate(grid, 2)]


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
@settings(max_examples=15)
def test_excel_has_the_cells_that_were_typed(tmp_path_factory: pytest.TempPathFactory, grid: list[tuple[str, str]]):
    path = excel(tmp_path_factory.mktemp("xlsx") / "t.xlsx", [["a", "b"], *map(list, grid)])
    assert [row for _, row in read_excel(path)] == [{"a": one, "b": two} for one, two in grid]


def test_values_of_excel_become_the_texts_that_it_shows(tmp_path: Path):
    values = [
        7,
        2.5,
        0.1 + 0.2,
        1e15,
        True,
        datetime.date(1990, 12, 10),
        datetime.datetime(1990, 1, 2, 3, 4),
        "007",
        "1,5",
    ]
    texts = ["7", "2.5", "0.3", "1000000000000000", "TRUE", "1990-12-10", "1990-01-02T03:04:00", "007", "1,5"]
    path = excel(tmp_path / "t.xlsx", [[], [f"c{k}" for k in range(len(values))], [], values, [None, "x"]])
    assert list(read_excel(path)) == [(4, {f"c{k}": text for k, text in enumerate(texts)}), (5, {"c1": "x"})]


def test_empty_cells_rows_and_separators_at_the_end_are_nothing(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text('\n;;\n name ;"city\nof birth";;\nAda;;;\n;;;\n"Bob";" ";\n', encoding="utf-8")
    assert list(read_csv(path)) == [(4, {"name": "Ada"}), (6, {"name": "Bob"})]
    path.write_text("sep=|\na,b|c\n1|2\n", encoding="utf-8")
    assert list(read_csv(path)) == [(3, {"a,b": "1", "c": "2"})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty table; expected names of columns in its first row"),
        (b"\n;;\n", "an empty table"),
        (b"a,b,a\n1,2,3\n", "row 1: two columns are called a"),
        ("é,b,e\u0301\n".encode(), "row 1: two columns are called é"),
        (b"a,,c\n1,2,3\n", "row 2: '2' stands in column 2, which has no name"),
        (b"a,b\n1,2\n1,Doe, Jane\n", "row 3: 'Jane' stands in column 3, which has no name"),
        (b'a,b\n1,2\n3,"4\n5,6\n', "row 3: not CSV ("),
        (b'a,b\n1,"2" x\n', "row 2: not CSV ("),
        ("name;ort\nJürgen;Köln\n".encode("cp1252"), "line 2: not UTF-8 text (byte 10, "),
    ],
)
def test_broken_csv_is_named(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        list(read_csv(path))
    assert str(error.value).startswith(f"{path}")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("=1+1", "a formula whose value the file does not hold; open it in Excel and save it"),
        ("#N/A", "the error #N/A"),
    ],
)
def test_cells_without_a_value_are_named(tmp_path: Path, value: str, problem: str):
    path = excel(tmp_path / "t.xlsx", [["a", "b"], ["x", "y"], ["x", value]])
    with pytest.raises(DataError, match=r"t\.xlsx, row 3, cell B3: expected a value, found ") as error:
        list(read_excel(path))
    assert str(error.value).endswith(problem)


def test_rows_are_not_counted_without_an_end(tmp_path: Path):
    """openpyxl makes an empty row of each number that is passed over."""
    sheet = "xl/worksheets/sheet1.xml"
    with (
        zipfile.ZipFile(excel(tmp_path / "whole.xlsx", [["name"], ["x"]])) as whole,
        zipfile.ZipFile(tmp_path / "t.xlsx", "w") as changed,
    ):
        for name in whole.namelist():
            content = whole.read(name)
            changed.writestr(name, content.replace(b'r="2"', b'r="2000000000"') if name == sheet else content)
    with pytest.raises(DataError, match=r"t\.xlsx: no Excel file .* \(more rows than Excel has\)"):
        list(read_excel(tmp_path / "t.xlsx"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"a,b\n1,2\n"])
def test_a_broken_workbook_is_one_line(tmp_path: Path, content: bytes):
    path = tmp_path / "t.xlsx"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"t\.xlsx: no Excel file \(\.xlsx\) that can be read \(.+\)$"):
        list(read_excel(path))


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = excel(tmp_path / "t.xlsx", [["a"]])
    monkeypatch.setattr("mmunlearner.data.spreadsheets.LARGEST", 1000)
    with pytest.raises(DataError, match="GiB unpacked"):
        list(read_excel(path))
    with zipfile.ZipFile(path) as archive:
        assert sum(entry.file_size for entry in archive.infolist()) > 1000


def test_the_extra_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(
        DataError, match=r't\.xlsx: Excel files need openpyxl: pip install "mmunlearner\[excel\]"; or save'
    ):
        list(read_excel(tmp_path / "t.xlsx"))


class Layout(TypedDict):
    name: Text
    count: NotRequired[int | None]
    share: NotRequired[float | None]
    tags: NotRequired[list[Text] | None]
    said: NotRequired[list[Text] | Text | None]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".xlsx", ".CSV"])
def test_a_table_converts_cells_by_its_layout(tmp_path: Path, suffix: str):
    grid = [
        ["name", "count", "share", "tags", "said"],
        ["7", "3", "0.5", 'Pisa, "Rome, Italy"', "Hello,\nyou"],
        ["", "", "", "", ""],
        ["b", "", "", '["x", "y, z"]', "[so to say]"],
    ]
    path = tmp_path / f"t{suffix}"
    excel(path, grid) if suffix == ".xlsx" else store(path, grid, delimiter="\t" if suffix == ".tsv" else ";")
    assert [(cell.row, row) for cell, row in read_table(path, Layout, strict=True)] == [
        (2, {"name": "7", "count": 3, "share": 0.5, "tags": ["Pisa", "Rome, Italy"], "said": "Hello,\nyou"}),
        (4, {"name": "b", "tags": ["x", "y, z"], "said": "[so to say]"}),
    ]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (("\u200b", "", "", ""), "row 2, column name: expected this column"),
        (("a", "3,5", "", ""), "row 2, column count: expected a whole number, found '3,5'"),
        (("a", "", "0,5", ""), "row 2, column share: expected a number, found '0,5'"),
        (("a", "", "", '["x"'), "row 2, column tags: expected a list in JSON, found '[\"x\"'"),
        (("a", "", "", 'x, "y'), "row 2, column tags: expected items between commas"),
    ],
)
def test_a_cell_that_does_not_fit_is_named(tmp_path: Path, cells: tuple[str, ...], message: str):
    path = store(tmp_path / "t.csv", [["name", "count", "share", "tags"], list(cells)] if any(cells[1:]) else
                 [["name", "count"], [cells[0], "1"]])  # fmt: skip
    with pytest.raises(DataError) as error:
        list(read_table(path, Layout))
    assert message in str(error.value)


def test_any_line_break_may_stand_in_a_cell(tmp_path: Path):
    text = "a\r\nb\rc\x0bd\x85e\u2028f"
    path = store(tmp_path / "t.csv", [["name", "said"], ["x", text]])
    assert [row for _, row in read_table(path, Layout)] == [{"name": "x", "said": text}]


def test_questions_may_be_a_spreadsheet(tmp_path: Path):
    lines = [
        {"entity": "Ada", "image": "a, b.png", "question": "Who?", "answer": "Ada", "split": "train"},
        {"entity": "Ada", "question": "Where?", "answer": "Rome", "split": "eval", "choices": ["Rome", "Pisa"]},
        {"entity": "Bob", "image": ["c.png", "a, b.png"], "question": "Who?", "answer": "B", "split": "train"},
    ]
    columns = ["entity", "image", "question", "answer", "split", "choices"]
    grid = [columns]
    for line in lines:
        cells = [line.get(column, "") for column in columns]
        grid.append([json.dumps(cell) if isinstance(cell, list) else str(cell) for cell in cells])
    read = {}
    for kind, write in (("csv", store), ("xlsx", excel)):
        folder = tmp_path / kind
        folder.mkdir()
        for number, name in enumerate(("a, b.png", "c.png")):
            (folder / name).write_bytes(png(number))
        write(folder / f"questions.{kind}", grid)
        splits = rows.load(folder, forget_entities=("Ada",))
        read[kind] = [(e.id, e.question, e.choices, e.image_keys) for e in splits.vanilla_training]
    assert read["csv"] == read["xlsx"]
    assert [len(keys) for _, _, _, keys in read["csv"]] == [1, 2]
    store(tmp_path / "csv" / "questions.tsv", grid)
    with pytest.raises(DataError, match=r"questions: there are questions\.csv and questions\.tsv; keep the one that"):
        rows.load(tmp_path / "csv", forget_entities=("Ada",))


def test_hidden_files_are_no_shards(tmp_path: Path):
    store(tmp_path / "t.csv", [["name"], ["a"]])
    for name in ("._t.csv", "~$t.csv", ".t.csv"):
        (tmp_path / name).write_bytes(b"\x00\x01")
    assert [row for _, row in read_table(tmp_path, Layout)] == [{"name": "a"}]
