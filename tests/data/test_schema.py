from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Annotated, Literal, NotRequired, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.layouts import png

from mmunlearner.data import ImageRef
from mmunlearner.data.schema import Cell, Json, Pictures, Text, check_names, fit, shown
from mmunlearner.errors import DataError


class Inner(TypedDict):
    word: Text


class Layout(TypedDict):
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
    assert fit(GOOD | {"other": 1}, Layout, CELL) == GOOD | {"notes": {"a": "b"}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 7}, "column name: expected a text, found int 7"),
        ({"name": " "}, "column name: expected a text, found an empty one"),
        ({"name": None}, "column name: expected a text, found nothing"),
        ({"count": True}, "column count: expected a whole number, found bool True"),
        ({"count": 1.5}, "column count: expected a whole number, found float 1.5"),
        ({"share": "half"}, "column share: expected a number, found str 'half'"),
        ({"kind": "c"}, "column kind: expected one of a, b, found str 'c'"),
        ({"inner": {}}, "column inner: expected a list, found dict {}"),
        ({"inner": [{"word": "x"}, {"word": 3}]}, "column inner[1].word: expected a text, found int 3"),
        ({"inner": [{}]}, "column inner[0].word: expected this column, found only nothing"),
        ({"inner": [{"wrod": "x"}]}, "column inner[0].word: expected this column, found wrod (did you mean word?)"),
        ({"inner": ["x"]}, "column inner[0]: expected the fields word, found str 'x'"),
        ({"notes": '{"a": '}, "column notes: expected JSON, found str '{\"a\": ' (Expecting value at character 6)"),
        ({"notes": '["a"]'}, "column notes: expected named values, found list ['a']"),
        ({"notes": '{"a": 1}'}, "column notes.a: expected a text, found int 1"),
        ({"extra": 5}, "column extra: expected a text, found int 5"),
    ],
)
def test_the_cell_that_does_not_fit_is_named(change: dict[str, object], message: str):
    with pytest.raises(DataError) as error:
        fit(GOOD | change, Layout, CELL)
    assert str(error.value) == f"people.parquet, row 7, {message}"


@pytest.mark.parametrize("column", ["name", "count", "share", "kind", "inner", "notes"])
def test_a_missing_column_is_named(column: str):
    with pytest.raises(DataError, match=rf"row 7, column {column}: expected this column"):
        fit({key: value for key, value in GOOD.items() if key != column}, Layout, CELL)


def test_optional_columns_may_be_null_or_absent_and_are_then_left_out():
    assert fit(GOOD | {"extra": None}, Layout, CELL) == fit(GOOD, Layout, CELL)
    assert fit(GOOD | {"extra": "x"}, Layout, CELL)["extra"] == "x"


def test_a_python_literal_in_the_place_of_json_is_read():
    assert fit(GOOD | {"notes": "{'a': 'b'}"}, Layout, CELL)["notes"] == {"a": "b"}


def test_nulls_among_free_names_are_left_out():
    assert fit(GOOD | {"notes": {"a": "b", "c": None}}, Layout, CELL)["notes"] == {"a": "b"}


def test_unknown_names_are_errors_where_they_are_checked():
    check_names(GOOD, Layout, CELL)
    with pytest.raises(DataError, match=r"column nmae: expected no such column, found str 'Ann'; did you mean name\?"):
        check_names({"nmae": "Ann"}, Layout, CELL)


class Pictured(TypedDict):
    image: ImageRef


def test_images_are_bytes_cells_or_paths(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(png(1))
    cell = Cell(tmp_path / "rows.jsonl", 2)
    for value in (png(1), {"bytes": png(1), "path": "x.png"}, {"bytes": None, "path": "a.png"}, "a.png"):
        assert fit({"image": value}, Pictured, cell)["image"].open().getpixel((0, 0)) == (37, 91, 1)


class Several(TypedDict):
    image: Pictures


def test_a_list_of_images_may_be_one_without_brackets(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(png(1))
    cell = Cell(tmp_path / "rows.jsonl", 2)
    for value, count in (("a.png", 1), (["a.png"], 1), (["a.png", png(2)], 2), ([], 0), (ImageRef("x", png(1)), 1)):
        assert len(fit({"image": value}, Several, cell)["image"]) == count
    for value, column in (("b.png", "image"), (["a.png", "b.png"], "image[1]"), (3, "image")):
        with pytest.raises(DataError, match=rf"row 2, column {re.escape(column)}: expected an image"):
            fit({"image": value}, Several, cell)


def test_a_pil_image_is_taken_with_its_pixels():
    for mode in ("RGB", "CMYK", "L"):
        image = Image.open(io.BytesIO(png(3))).convert(mode)
        assert fit({"image": image}, Pictured, CELL)["image"].open().tobytes() == image.convert("RGB").tobytes()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "expected an image (bytes, or the path of a file), found nothing"),
        ({"bytes": None, "path": None}, "expected an image (bytes, or the path of a file), found dict"),
        (b"not an image", "expected an image, found not decodable (12 bytes, no known image format)"),
        (png(1)[:-20], "expected an image, found not decodable"),
        ("gone.png", "gone.png: No such file or directory"),
    ],
)
def test_a_bad_image_is_named_by_file_and_row(tmp_path: Path, value: object, message: str):
    with pytest.raises(DataError) as error:
        fit({"image": value}, Pictured, Cell(tmp_path / "rows.jsonl", 2))
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
        fitted, refused = fit(GOOD | change, Layout, CELL), ""
    except DataError as error:
        fitted, refused = None, str(error)
    if fitted is None:
        assert refused.startswith("people.parquet, row 7, column ")
        assert "\n" not in refused
    else:
        assert fit(fitted, Layout, CELL) == fitted


@given(st.dictionaries(st.text(), st.text()))
def test_json_columns_read_what_was_written(notes: dict[str, str]):
    assert fit(GOOD | {"notes": json.dumps(notes)}, Layout, CELL)["notes"] == notes


@given(JSON)
def test_values_are_shown_in_one_short_line(value: object):
    assert len(shown(value)) < 80
    assert "\n" not in shown(value)
