"""Rows against the layout that they should have: the first cell that does not fit is named, with what was expected.

A layout is a `TypedDict`, and checked rows have exactly its type. Besides plain types it may hold `Text` (not empty),
`Json` (`Annotated[X, Json]`: an X written as JSON text), `ImageRef` (an image: bytes, a path, both, or PIL's) and
`Pictures` (an image or a list of them; checked, always a list).
"""

from __future__ import annotations

import ast
import json
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from PIL import Image

from mmunlearner.core.names import did_you_mean
from mmunlearner.data.images import ImageRef
from mmunlearner.errors import DataError

T = TypeVar("T")


class Json:
    """Marks a column whose value is written as JSON text."""


class NotEmpty:
    """Marks a text that must say something."""


class OrOne:
    """Marks a list that may be written without brackets where it has one element."""


Text = Annotated[str, NotEmpty]
Pictures = Annotated[list[ImageRef], OrOne]


@dataclass(frozen=True)
class Cell:
    """Where a value stands."""

    file: Path
    row: int
    """From 1: the row of a table or of a JSON list, the line of a JSONL file."""
    column: str = ""
    """Dotted path, e.g. `Classification_Task.Pure_Text_Questions[2].Options`."""

    def inside(self, name: str | int) -> Cell:
        step = f"[{name}]" if isinstance(name, int) else f".{name}" if self.column else name
        return replace(self, column=self.column + step)

    def error(self, expected: str, found: str) -> DataError:
        return DataError(f"{self}: expected {expected}, found {found}")

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}" + (f", column {self.column}" if self.column else "")


def fit(value: Any, kind: type[T], cell: Cell) -> T:
    """The value as its layout has it: JSON texts parsed, images as references, unknown columns left out.

    Raises:
        DataError: it does not fit; names file, row and column, what was expected and what was found.
    """
    return cast(T, _fit(value, kind, cell))


def pictures(value: Any, cell: Cell) -> list[ImageRef]:
    """A value of kind `Pictures`.

    Raises:
        DataError: it is none.
    """
    return _fit(value, Pictures, cell)


def _fit(value: Any, kind: Any, cell: Cell) -> Any:
    if is_typeddict(kind):
        return _fit_record(value, kind, cell)
    fitter = _FITTERS.get(get_origin(kind) or kind)
    return fitter(value, kind, cell) if fitter else _plain(value, kind, _NAMES[kind], cell)


_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", object: "a value"}


def _plain(value: Any, kind: type, name: str, cell: Cell) -> Any:
    number = kind in (int, float)
    if not isinstance(value, (int, float) if kind is float else kind) or (number and isinstance(value, bool)):
        raise cell.error(name, shown(value))
    return value


def _fit_list(value: Any, kind: Any, cell: Cell) -> list[Any]:
    items = _plain(value, list, "a list", cell)
    return [_fit(item, get_args(kind)[0], cell.inside(i)) for i, item in enumerate(items)]


def _fit_names(value: Any, kind: Any, cell: Cell) -> dict[str, Any]:
    """Names are free; tables fill the fields that a row lacks with null, which is left out."""
    record = _plain(value, Mapping, "named values", cell)
    return {str(k): _fit(v, get_args(kind)[1], cell.inside(str(k))) for k, v in record.items() if v is not None}


def _fit_union(value: Any, kind: Any, cell: Cell) -> Any:
    """The first alternative that fits; the last one's error if none does."""
    *alternatives, last = [inner for inner in get_args(kind) if inner is not type(None)]
    if value is None and type(None) in get_args(kind):
        return None
    for inner in alternatives:
        try:
            return _fit(value, inner, cell)
        except DataError:
            continue
    return _fit(value, last, cell)


def _fit_choice(value: Any, kind: Any, cell: Cell) -> Any:
    if value not in get_args(kind):
        raise cell.error(f"one of {', '.join(get_args(kind))}", shown(value))
    return value


def or_one(values: Sequence[T]) -> T | Sequence[T]:
    """A list as `OrOne` lets it be written."""
    return values[0] if len(values) == 1 else values


def _fit_marked(value: Any, kind: Any, cell: Cell) -> Any:
    inner, mark = get_args(kind)
    if mark is Json and isinstance(value, str):
        value = parse_json(value, cell)
    if mark is OrOne and not isinstance(value, list):
        return [_fit(value, get_args(inner)[0], cell)]
    fitted = _fit(value, inner, cell)
    if mark is NotEmpty and not fitted.strip():
        raise cell.error("a text", "an empty one")
    return fitted


def parse_json(text: str, cell: Cell) -> Any:
    """A cell's JSON, or the Python literal that some data sets write in its place."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            raise cell.error("JSON", f"{shown(text)} ({error.msg} at character {error.pos})") from None


@cache
def columns(kind: type) -> dict[str, tuple[Any, bool]]:
    """Column -> (kind, whether it must be there) of a layout."""
    hints = get_type_hints(kind, include_extras=True)
    # Of annotations that are texts, Python 3.11 sees no NotRequired in `__required_keys__`: both are asked.
    required = getattr(kind, "__required_keys__")  # noqa: B009 (of every TypedDict, unknown to pyright)
    return {
        name: (get_args(hint)[0], False) if get_origin(hint) is NotRequired else (hint, name in required)
        for name, hint in hints.items()
    }


def _fit_record(value: Any, kind: type, cell: Cell) -> dict[str, Any]:
    record = _plain(value, Mapping, f"the fields {', '.join(columns(kind))}", cell)
    return {
        name: _fit(record[name], inner, cell.inside(name))
        for name, (inner, required) in columns(kind).items()
        if _is_there(record, name, required, cell)
    }


def _is_there(record: Mapping[str, Any], name: str, required: bool, cell: Cell) -> bool:
    if required and name not in record:
        near = get_close_matches(name, [str(key) for key in record], n=1)
        found = f"{near[0]} (did you mean {name}?)" if near else f"only {', '.join(map(str, record)) or 'nothing'}"
        raise cell.inside(name).error("this column", found)
    return name in record and (required or record[name] is not None)


def check_names(value: Any, kind: type, cell: Cell) -> None:
    """Every column of a row is one of the layout's.

    Raises:
        DataError: one is not; names the nearest that is.
    """
    for name in value if isinstance(value, Mapping) else ():
        if name not in columns(kind):
            suggestion = did_you_mean(str(name), columns(kind))
            raise cell.inside(str(name)).error("no such column", f"{shown(value[name])}; {suggestion}")


def _fit_image(value: Any, _: Any, cell: Cell) -> ImageRef:
    """A table's {bytes, path}, bare bytes, a PIL image, or the path of a file relative to the folder of the table."""
    if isinstance(value, ImageRef):
        return value
    if isinstance(value, Image.Image):
        return ImageRef.from_image(value if value.has_transparency_data else value.convert("RGB"), str(cell))
    data, path = (value.get("bytes"), value.get("path")) if isinstance(value, Mapping) else (value, value)
    if isinstance(data, bytes) and data:
        image = ImageRef(str(cell), data)
    elif isinstance(path, str) and path:
        image = ImageRef(str(cell.file.parent / path))
    else:
        raise cell.error("an image (bytes, or the path of a file)", shown(value))
    if problem := image.problem():
        raise cell.error("an image", problem)
    return image


_FITTERS: dict[Any, Callable[[Any, Any, Cell], Any]] = {
    ImageRef: _fit_image,
    Annotated: _fit_marked,
    Union: _fit_union,
    types.UnionType: _fit_union,
    list: _fit_list,
    dict: _fit_names,
    Literal: _fit_choice,
}


def shown(value: Any) -> str:
    """A value as an error shows it: its kind and its beginning."""
    if value is None:
        return "nothing"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = " ".join(repr(value).split())
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
