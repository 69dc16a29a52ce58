"""Tables on disk - parquet, JSON, JSONL, one file or several shards - as rows checked against their layout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmunlearner.core.files import read_json
from mmunlearner.data.schema import Cell, check_names, columns, fit, shown
from mmunlearner.errors import DataError

NO_HINTS: Mapping[str, str] = {}


class LayoutError(DataError):
    """A row that does not fit its layout."""

    def __init__(self, message: str, columns: tuple[str, ...]) -> None:
        super().__init__(message)
        self.columns = columns
        """The row's columns that the layout does not know: they tell which layout it has instead."""


class Checked(NamedTuple):
    """A row that fits its layout, and where it stands."""

    cell: Cell
    row: Any


def read_table(
    path: Path | str, kind: type, *, hints: Mapping[str, str] = NO_HINTS, strict: bool = False
) -> Iterator[Checked]:
    """The rows of a file (.parquet, .json: a list, .jsonl), or of all such files in a folder, checked against a layout.

    `strict`: columns that the layout does not know are errors, so that a misspelt one is not passed over.
    `hints`: column of a benchmark's other layout -> a sentence that the error ends with where a row has that column.

    Raises:
        DataError: a file is missing or unreadable.
        LayoutError: a row does not fit; names file, row and column.
    """
    for file in table_files(Path(path)):
        for cell, row in _READERS[file.suffix](file, kind):
            if strict:
                check_names(row, kind, cell)
            yield Checked(cell, _fit_with_hint(row, kind, cell, hints))


def table_files(path: Path) -> list[Path]:
    """The file itself; a folder's shards; or PATH.parquet, PATH.jsonl, PATH.json.

    Raises:
        DataError: there is none.
    """
    if path.is_file() and path.suffix in _READERS:
        return [path]
    for suffix in _READERS:
        beside = path.with_name(path.name + suffix)
        if found := sorted(path.glob(f"*{suffix}")) or ([beside] if beside.is_file() else []):
            return found
    if path.is_file():
        raise DataError(f"{path}: not a table this package reads; give {', '.join(_READERS)}")
    raise DataError(f"{path}: no such table; expected a folder or file of {', '.join(_READERS)}")


def has_table(path: Path) -> bool:
    """Whether `read_table` would find something."""
    try:
        return bool(table_files(path))
    except DataError:
        return False


def _fit_with_hint(row: Any, kind: type, cell: Cell, hints: Mapping[str, str]) -> Any:
    try:
        return fit(row, kind, cell)
    except DataError as error:
        unknown = tuple(name for name in row if name not in columns(kind)) if isinstance(row, dict) else ()
        hint = next((f". {hints[name]}" for name in hints if name in unknown), "")
        raise LayoutError(f"{error}{hint}", unknown) from None


def _read_parquet(file: Path, kind: type) -> Iterator[tuple[Cell, Any]]:
    """Reads only the layout's columns; the others are named, for the errors, and hold nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 1
    try:
        with pq.ParquetFile(file) as table:
            names = table.schema_arrow.names
            wanted = [name for name in names if name in columns(kind)]
            for group in range(table.num_row_groups):
                for row in table.read_row_group(group, columns=wanted).to_pylist():
                    yield Cell(file, number), dict.fromkeys(names) | row
                    number += 1
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}, row {number} or later: broken parquet ({one_line(error)})") from None


def _read_json(file: Path, _: type) -> Iterator[tuple[Cell, Any]]:
    rows = read_json(file)
    if not isinstance(rows, list):
        raise DataError(f"{file}: expected a list of rows, found {shown(rows)}")
    return ((Cell(file, number), row) for number, row in enumerate(rows, 1))


def _read_jsonl(file: Path, _: type) -> Iterator[tuple[Cell, Any]]:
    # Lines end at a line feed alone: JSON texts may hold the other separators of `str.splitlines`.
    for number, line in enumerate(read_text(file).split("\n"), 1):
        if line.strip():
            yield Cell(file, number), _parse_line(line, Cell(file, number))


def _parse_line(line: str, cell: Cell) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise cell.error("one JSON object on the line", f"{shown(line)} ({error.msg})") from None


def read_text(file: Path) -> str:
    """A file's text.

    Raises:
        DataError: it cannot be read, or is not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None


def one_line(error: BaseException) -> str:
    """An error of a library, in one line of moderate length."""
    return " ".join(str(error).split())[:160]


_READERS = {".parquet": _read_parquet, ".jsonl": _read_jsonl, ".json": _read_json}
