"""Tables on disk: rows of parquet, JSON, JSONL, CSV or Excel, checked against their layout when read and when written.

A layout is a TypedDict. Besides plain types it may hold `Text` (not empty), `Annotated[X, Json]` (an X written as JSON
text), `ImageRef` and `Images` (an image or a list of them, under any usual name; checked, always a list). Checked rows
have its type.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar, cast, get_args, get_origin

from pydantic import TypeAdapter, ValidationInfo, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from mmunlearner.core.files import iterate_jsonl, read_json, write_bytes
from mmunlearner.core.validation import (
    CELLS,
    COLUMNS,
    UNIONS,
    InvalidError,
    Json,
    Rules,
    fields,
    one_line,
    shorten,
    validate,
)
from mmunlearner.data import image_columns
from mmunlearner.data.image_columns import filled_columns, holds_images, may_hold_images
from mmunlearner.data.images import ImageRef
from mmunlearner.data.spreadsheets import read_csv, read_excel
from mmunlearner.errors import DataError, reason
from mmunlearner.option_types import split_at_commas

if TYPE_CHECKING:
    import pyarrow as pa
    from typing_extensions import TypeForm

T = TypeVar("T")
NO_HINTS: Mapping[str, str] = {}


def _one_or_list(value: Any, validate_list: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    # A single image has its own adapter, so that its error names the column, and not an entry of a list.
    return validate_list(value) if isinstance(value, list) else [_IMAGE.validate_python(value, context=info.context)]


_IMAGE = TypeAdapter(ImageRef)
Images = Annotated[list[ImageRef], WrapValidator(_one_or_list)]


@dataclass(frozen=True)
class Cell:
    """Address of a value in a table."""

    file: Path
    row: int
    """From 1: the row of a table or of a JSON list, the line of a JSONL file, the row that a spreadsheet shows."""
    column: str = ""
    """Dotted path, e.g. `Classification_Task.Pure_Text_Questions[2].Options`."""

    def inside(self, name: str | int) -> Cell:
        """Return the address of an entry of this value."""
        step = f"[{name}]" if isinstance(name, int) else f".{name}" if self.column else name
        return replace(self, column=self.column + step)

    def error(self, expected: str, found: str) -> DataError:
        """Return the error that names this value, for the caller to raise."""
        return DataError(f"{self}: expected {expected}, found {found}")

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}" + (f", column {self.column}" if self.column else "")


class LayoutError(DataError):
    """A row that does not fit its layout."""

    def __init__(self, message: str, columns: tuple[str, ...]) -> None:
        super().__init__(message)
        self.columns = columns
        """Columns of the row that the layout does not know: they show which other layout it has."""


class Checked(NamedTuple):
    """A row that fits its layout, and its address."""

    cell: Cell
    row: Any


def check(
    value: Any,
    kind: TypeForm[T],
    cell: Cell,
    *,
    hints: Mapping[str, str] = NO_HINTS,
    strict: bool = False,
    rules: Rules = COLUMNS,
) -> T:
    """Return a row, or a value in a row, in its layout's types: JSON texts parsed, images as references.

    A column of type `Images` may have any of the names in `image_columns`. Columns that the layout does not know are
    left out, or errors if `strict` or if they hold images. See `read_table` for `hints`.

    Raises:
        LayoutError: it does not fit; names file, row, column, expected and found value.
    """
    names = fields(kind)
    own = next((name for name, hint in names.items() if _is_images(hint)), "")
    row, used = _under_own_name(value, own, cell) if own and isinstance(value, dict) else (value, own)
    unknown = tuple(name for name in row if name not in names) if isinstance(row, dict) and names else ()
    try:
        checked = validate(row, kind, replace(rules, unknown="forbid") if strict else rules, cell)
    except InvalidError as error:
        hint = next((f". {hints[name]}" for name in hints if name in unknown), "")
        # The user knows the column by the name that the file has for it.
        path = re.sub(rf"^{own}(?![\w-])", used, error.path) if own else error.path
        where = cell.inside(path) if path else cell
        raise LayoutError(f"{where}: {error.problem}{hint}", unknown) from None
    for name in unknown:
        if holds_images(row[name], cell.file.parent):
            column = own or next((name for name, hint in names.items() if _is_images(hint, ImageRef)), "")
            place = f"this layout has them in {column}: rename or remove it" if column else "remove it"
            raise LayoutError(f"{cell.inside(name)}: an unknown column holds images; {place}", unknown)
    return checked


def _is_images(hint: Any, kind: Any = Images) -> bool:
    """Tell whether a column has this type, or may be null or a list beside it."""
    return hint == kind or any(_is_images(inner, kind) for inner in get_args(hint))


def _under_own_name(row: Mapping[str, Any], own: str, cell: Cell) -> tuple[Mapping[str, Any], str]:
    """Return a row with its images under the layout's own name, and the name that they had.

    Raises:
        LayoutError: two columns hold images.
    """
    filled = filled_columns(row, own) or [own]
    if len(filled) > 1:
        raise LayoutError(f"{cell}: two columns hold images, {filled[0]} and {filled[1]}; remove one", ())
    if filled == [own]:
        return row, own
    return {name: item for name, item in row.items() if name != filled[0]} | {own: row[filled[0]]}, filled[0]


def read_table(
    path: Path | str, kind: type, *, hints: Mapping[str, str] = NO_HINTS, strict: bool = False
) -> Iterator[Checked]:
    """Yield the rows of a file, or of all files of one kind in a folder, as `check` does.

    Kinds: .parquet, .jsonl, .json (a list), .csv, .tsv, .xlsx. In the last three every cell is a text: numbers are
    converted by the layout, and a list is written as JSON or as items between commas.
    `strict`: columns that the layout does not know are errors, so that a misspelt one is not ignored.
    `hints`: column of another layout of the benchmark -> last sentence of the error if a row has that column.

    Raises:
        DataError: a file is missing or unreadable.
        LayoutError: a row does not fit; names file, row and column.
    """
    for file in table_files(Path(path)):
        suffix = file.suffix.lower()
        for number, row in _READERS[suffix](file, kind):
            cell = Cell(file, number)
            if suffix in _SPREADSHEETS:
                kinds = dict.fromkeys(image_columns.NAMES, Images) | fields(kind)
                texts = {name: _parse_list(text, kinds.get(name), cell.inside(name)) for name, text in row.items()}
                yield Checked(cell, check(texts, kind, cell, hints=hints, strict=strict, rules=CELLS))
            else:
                yield Checked(cell, check(row, kind, cell, hints=hints, strict=strict))


def table_files(path: Path) -> list[Path]:
    """Return the file itself; a folder's shards; or PATH.parquet, PATH.jsonl, PATH.csv...

    Raises:
        DataError: there is none, or PATH is there in two kinds.
    """
    files = _find_files(path)
    if len(files) > 1 and files[0].parent == path.parent:
        raise DataError(f"{path}: there are {files[0].name} and {files[1].name}; keep the one that should be read")
    if not files and path.is_file():
        raise DataError(f"{path}: not a table this package reads; give {', '.join(_READERS)}")
    if not files:
        raise DataError(f"{path}: no such table; expected a folder or file of {', '.join(_READERS)}")
    return files


def has_table(path: Path) -> bool:
    """Tell whether there is a file for `read_table`."""
    return bool(_find_files(path))


def _find_files(path: Path) -> list[Path]:
    if path.is_file() and path.suffix.lower() in _READERS:
        return [path]
    for suffix in _READERS:
        # Without the hidden files of file systems and the lock files of spreadsheets.
        if shards := sorted(file for file in path.glob(f"*{suffix}") if not file.name.startswith((".", "~$"))):
            return shards
    # Not `with_suffix`: the name of a split may contain a dot.
    return [file for suffix in _READERS if (file := path.with_name(path.name + suffix)).is_file()]


def _parse_list(text: str, kind: Any, at: Cell) -> Any:
    """Return a spreadsheet's cell; where the layout has a list, its items: JSON, or texts between commas.

    Raises:
        DataError: the cell is no such list.
    """
    kinds = [inner for inner in (get_args(kind) if get_origin(kind) in UNIONS else [kind]) if inner is not NoneType]
    # A text, or an image for a list of one, may hold commas of its own.
    only_lists = all(get_origin(inner) is list for inner in kinds)
    if text.lstrip().startswith("[") and any(inner == Images or get_origin(inner) is list for inner in kinds):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            if only_lists:
                raise at.error("a list in JSON", f"{shorten(text)} ({reason(error)})") from None
    try:
        return list(cast(tuple[str, ...], split_at_commas(text))) if only_lists else text
    except PydanticCustomError as error:
        raise at.error(str((error.context or {}).get("expected")), shorten(text)) from None


def _read_parquet(file: Path, kind: type) -> Iterator[tuple[int, Any]]:
    """Yield numbered rows with the layout's columns and those that may hold images; all other columns are None."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 1
    try:
        with pq.ParquetFile(file) as table:
            names = table.schema_arrow.names
            columns = [
                column.name
                for column in table.schema_arrow
                if column.name in fields(kind) or may_hold_images(column.type)
            ]
            # By row groups, since all images of a table at once may not fit into memory.
            for group in range(table.num_row_groups):
                for row in table.read_row_group(group, columns=columns).to_pylist():
                    # Other columns are not read, but errors and hints need their names.
                    yield number, dict.fromkeys(names) | row
                    number += 1
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        OverflowError,
    ) as error:  # the last two: texts and dates that are none
        raise DataError(f"{file}, row {number} or later: broken parquet ({one_line(error, 160)})") from None


def _read_json(file: Path, _: type) -> Iterator[tuple[int, Any]]:
    rows = read_json(file)
    if not isinstance(rows, list):
        raise DataError(f"{file}: expected a list of rows, found {shorten(rows)}")
    return enumerate(rows, 1)


_SPREADSHEETS = {".csv": read_csv, ".tsv": read_csv, ".xlsx": read_excel}
_READERS: Mapping[str, Callable[[Path, type], Iterable[tuple[int, Any]]]] = {
    ".parquet": _read_parquet,
    ".jsonl": lambda file, _: iterate_jsonl(file),
    ".json": _read_json,
    **{suffix: lambda file, _, read=read: read(file) for suffix, read in _SPREADSHEETS.items()},
}


# --- writing --------------------------------------------------------------------------------------------------------


def write_parquet(path: Path, kind: type, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows of a layout as one parquet file, completely or not at all; return it. Equal rows give equal bytes.

    Images are encoded bytes (PNG, JPEG), PIL images or `ImageRef`; `Json` columns are JSON text or values.
    The file has the metadata of Hugging Face `datasets`, so that this library decodes the images.

    Raises:
        DataError: a row does not fit the layout; names row and column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    checked: list[Any] = [check(row, kind, Cell(path, number)) for number, row in enumerate(rows, 1)]
    kinds = fields(kind)
    schema = {name: _arrow_type(inner, [row.get(name) for row in checked]) for name, inner in kinds.items()}
    cells = [{name: _stored(value, kinds[name]) for name, value in row.items()} for row in checked]
    features = {name: _feature(arrow_type) for name, arrow_type in schema.items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    stream = io.BytesIO()  # in memory first: an error while writing leaves the old file as it was
    table = pa.Table.from_pylist(cells, schema=pa.schema(schema, metadata=metadata))
    # Small row groups, as rows hold images: `_read_parquet` has one group in memory at a time.
    pq.write_table(table, stream, compression="zstd", row_group_size=100)
    return write_bytes(path, stream.getvalue())


def _stored(value: Any, kind: Any) -> Any:
    """Return a checked value as the table stores it."""
    if get_origin(kind) is Annotated and Json in get_args(kind):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, ImageRef):
        # The name alone: the folder of this machine says nothing elsewhere, and equal rows must give equal bytes.
        return {"bytes": value.read_bytes(), "path": None if value.data is not None else Path(value.path).name}
    return [_stored(item, object) for item in value] if isinstance(value, list) else value


def _arrow_type(kind: Any, values: Sequence[Any]) -> pa.DataType:
    """Return the Arrow type of a column, or of the entries in its lists and dicts, that holds all `values`."""
    import pyarrow as pa

    values = [value for value in values if value is not None]
    origin, inner = get_origin(kind), get_args(kind)
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    plain = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), ImageRef: image}
    if kind in plain:
        return plain[kind]
    if names := fields(kind):
        return pa.struct({name: _arrow_type(k, [v.get(name) for v in values]) for name, k in names.items()})
    # `X | None` and annotations are stored as X: every Arrow column may hold nulls.
    if origin in (Annotated, *UNIONS) and Json not in inner:
        return _arrow_type(inner[0], values)
    if origin is list:
        return pa.list_(_arrow_type(inner[0], [item for value in values for item in value]))
    if origin is dict:
        # Arrow has no free keys, so a dict becomes a struct with the keys of all rows. Letters of options are at least
        # A to D, as other readers of the benchmark rely on these four.
        keys = {key for value in values for key in value}
        keys |= set(ascii_uppercase[:4]) if keys <= set(ascii_uppercase) else set()
        return pa.struct({name: _arrow_type(inner[1], [v.get(name) for v in values]) for name in sorted(keys)})
    return pa.string()  # texts, literals, JSON texts


def _feature(kind: pa.DataType) -> Any:
    """Return the description of an Arrow type in the metadata of `datasets`."""
    import pyarrow as pa

    if pa.types.is_list(kind):
        return [_feature(kind.value_type)]
    if pa.types.is_struct(kind):
        features = {field.name: _feature(field.type) for field in kind}
        return {"_type": "Image"} if set(features) == {"bytes", "path"} else features
    return {"dtype": {"double": "float64"}.get(str(kind), str(kind)), "_type": "Value"}
