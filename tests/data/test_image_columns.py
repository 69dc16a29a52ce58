"""No image is passed over: whatever column it is in, in whatever kind of file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NotRequired

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.layouts import png
from typing_extensions import TypedDict

from mmunlearner.core.validation import Text
from mmunlearner.data import ImageRef
from mmunlearner.data.image_columns import NAMES, holds_images
from mmunlearner.data.images import SUFFIXES
from mmunlearner.data.tables import Cell, Images, check, read_table
from mmunlearner.errors import DataError


class Free(TypedDict):
    word: Text
    image: NotRequired[Images | None]


class Fixed(TypedDict):
    word: Text
    portrait: ImageRef


class Words(TypedDict):
    word: Text


HELD: tuple[Any, ...] = (
    "faces/ada.PNG", "my ada.jpg", ["a.webp", "b.tiff"], png(1), {"bytes": png(1), "path": None},
    {"bytes": None, "path": "ada.jpeg"}, [{"bytes": png(1), "path": None}], ImageRef("x", png(1)),
    Image.new("RGB", (2, 2)), {"path": "ada.jpg", "width": 3},
)  # fmt: skip
NOT_HELD: tuple[Any, ...] = (
    "see ada.jpg", "ada", "", None, 3, 1.5, True, [], {}, b"bytes", "https://a.org/ada.jpg",
    {"bytes": None, "path": None}, {"file": "ada.jpg", "width": 3}, "ada.png.", "a.txt", "\0 .png",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my ada.jpg").write_bytes(png(1))
    return tmp_path


# By number: the text of a picture has its address in memory, which two workers do not share.
@pytest.mark.parametrize("value", HELD, ids=range(len(HELD)))
def test_images_are_seen(folder: Path, value: Any):
    assert holds_images(value, folder)
    for kind, place in ((Free, "has them in image"), (Words, "remove it")):
        with pytest.raises(DataError, match=rf"row 3, column scan: an unknown column holds images; .*{place}"):
            check({"word": "a", "scan": value}, kind, Cell(folder / "a.json", 3))


@pytest.mark.parametrize("value", NOT_HELD, ids=repr)
def test_other_values_are_none(folder: Path, value: Any):
    assert not holds_images(value, folder)
    assert check({"word": "a", "scan": value}, Free, Cell(folder / "a.json", 3)) == {"word": "a"}


@given(st.text(), st.sampled_from(SUFFIXES))
def test_a_text_of_several_words_is_no_path(text: str, suffix: str):
    assert not holds_images(f"a b{text}{suffix}", Path("nowhere"))


def test_a_fixed_layout_names_its_column(folder: Path):
    row = {"word": "a", "portrait": png(1), "image": png(2)}
    with pytest.raises(DataError, match="column image: an unknown column holds images; .* has them in portrait"):
        check(row, Fixed, Cell(folder / "a.json", 3))


@pytest.mark.parametrize("name", NAMES)
def test_one_of_the_usual_names_is_taken(folder: Path, name: str):
    cell = Cell(folder / "a.json", 3)
    empty = {"image": None, "images": [], "img": ""}
    for row in ({name: png(1)}, empty | {name: [png(1)]}):
        checked = check({"word": "a", **row}, Free, cell)
        assert [image.data for image in checked["image"]] == [png(1)]
    second = "photo" if name == "image" else "image"
    with pytest.raises(DataError, match="row 3: two columns hold images, .*; remove one"):
        check({"word": "a", name: png(1), second: png(2)}, Free, cell)
    with pytest.raises(DataError, match=rf"row 3, column {name}(\[1\])?: expected an image"):
        check({"word": "a", name: [png(1), "gone.png"]}, Free, cell)


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=1)
    else:
        file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@pytest.mark.parametrize("value", ["ada.png", ["ada.png"], {"bytes": None, "path": "ada.png"}])
def test_an_image_in_a_late_row_is_seen(tmp_path: Path, suffix: str, value: Any):
    rows = [{"word": "a", "scan": None}, {"word": "b", "scan": value}]
    file = write(tmp_path / f"t{suffix}", rows)
    with pytest.raises(DataError, match="row 2, column scan: an unknown column holds images"):
        list(read_table(file, Free))
    assert len(list(read_table(write(tmp_path / f"u{suffix}", [row | {"scan": None} for row in rows]), Free))) == 2


def test_parquet_with_bytes_under_another_name(tmp_path: Path):
    file = write(tmp_path / "t.parquet", [{"word": "a", "photo": {"bytes": png(1), "path": "a.png"}}])
    assert [row["image"][0].data for _, row in read_table(file, Free)] == [png(1)]
