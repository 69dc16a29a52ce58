"""Spreadsheets as people export them: CSV with any of the usual separators, and Excel. Every cell is a text."""

from __future__ import annotations

import csv
import datetime
import io
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from mmunlearner.core.files import read_text
from mmunlearner.core.texts import canonical, is_blank
from mmunlearner.core.validation import one_line
from mmunlearner.errors import DataError, reason

SEPARATORS = ("\t", ";", ",", "|")
"""In the order in which a tie is decided: a name of a column rather holds a comma than a tab. Semicolons are Excel's
where the decimal sign is a comma."""
MOST_ROWS = 2**20
"""Rows of a sheet in Excel."""
LARGEST = 2**30
"""Bytes of an unpacked Excel file; a small file could else fill the memory."""


def read_csv(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (row as a spreadsheet counts it, column -> text) of a CSV file; empty cells and rows are left out.

    The separator is the one that the header has most of, outside quotes, or the one of Excel's first line `sep=;`.

    Raises:
        DataError: the file cannot be read, is not UTF-8 or UTF-16, or a quote is not closed.
    """
    text, skipped = read_text(file), 0
    if stated := re.match(r"sep=(.)\r?\n", text):
        text, skipped = text[stated.end() :], 1
    # The header up to its line end, without what is quoted. Possessive (`*+`): no search is tried again.
    header = re.match(r'\s*((?:"(?:[^"]|"")*+"|[^"\n])*+)', text)
    unquoted = re.sub(r'"[^"]*"', "", header[1] if header else "")
    separator = stated[1] if stated else max(SEPARATORS, key=unquoted.count)
    records = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    yield from _named(file, _numbered(file, records, skipped + 1))


def _numbered(file: Path, records: Iterator[list[str]], first: int) -> Iterator[tuple[int, list[str]]]:
    number = first
    try:
        for record in records:
            yield number, record
            number += 1
    except csv.Error as error:
        raise DataError(f"{file}, row {number}: not CSV ({error}); is a quote not closed?") from None


def read_excel(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (row, column -> text) of the first sheet of an Excel file; empty cells and rows are left out.

    Raises:
        DataError: the file cannot be read, a cell holds an error or a formula without its value, or openpyxl is absent.
    """
    try:
        import openpyxl
    except ImportError:
        raise DataError(
            f'{file}: Excel files need openpyxl: pip install "mmunlearner[excel]"; or save the sheet as CSV (UTF-8)'
        ) from None
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > LARGEST:
            raise ValueError(f"{size / 2**30:.0f} GiB unpacked")
        # Twice: of a formula, the one has the value that Excel saved, and the other shows that there is a formula.
        with (
            warnings.catch_warnings(action="ignore"),  # about colours and menus of the sheet
            closing(openpyxl.load_workbook(file, read_only=True, data_only=True)) as saved,
            closing(openpyxl.load_workbook(file, read_only=True)) as written,
        ):
            sheets: list[Any] = [book.worksheets[0] for book in (saved, written)]
            for sheet in sheets:
                sheet.reset_dimensions()  # some programs write wrong ones
            pairs = zip(sheets[0].iter_rows(), sheets[1].iter_rows(values_only=True), strict=True)
            # openpyxl gives an empty row for each number that the file passes over, without an end.
            rows = list(islice(pairs, MOST_ROWS + 1))
            if len(rows) > MOST_ROWS:
                raise ValueError("more rows than Excel has")
    except Exception as error:  # of a broken file openpyxl raises errors of every kind
        raise DataError(f"{file}: no Excel file (.xlsx) that can be read ({one_line(reason(error))})") from None
    records = ((number, _cells(file, number, *pair)) for number, pair in enumerate(rows, 1))
    yield from _named(file, records)


def _cells(file: Path, number: int, values: Sequence[Any], formulas: Sequence[Any]) -> list[str]:
    """Return the cells of a row as texts."""
    for cell, formula in zip(values, formulas, strict=False):
        if cell.value is None and formula is not None:
            problem = "a formula whose value the file does not hold; open it in Excel and save it"
        elif cell.value is not None and cell.data_type == "e":
            problem = f"the error {cell.value}"
        else:
            continue
        raise DataError(f"{file}, row {number}, cell {cell.coordinate}: expected a value, found {problem}")
    return [_in_words(cell.value) for cell in values]


def _in_words(value: Any) -> str:
    """Return a cell's value as a text: whole numbers without a point, dates as 1815-12-10."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        return f"{value:.15g}"  # digits that Excel itself shows
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return "" if value is None else str(value)


def _named(file: Path, records: Iterable[tuple[int, Sequence[str]]]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows below the header, the first row that is not empty, with the header's names.

    Raises:
        DataError: a name is repeated, a cell has no name above it, or there is no header.
    """
    names: list[str] = []
    for number, record in records:
        cells = {at: text for at, text in enumerate(record) if not is_blank(text)}
        if not names:
            names = [canonical(cells.get(at, "")) for at in range(max(cells, default=-1) + 1)]
            if repeated := next((name for name in names if name and names.count(name) > 1), ""):
                raise DataError(f"{file}, row {number}: two columns are called {repeated}")
        elif cells:
            if strange := [at for at in cells if at >= len(names) or not names[at]]:
                text = one_line(cells[strange[0]])
                raise DataError(f"{file}, row {number}: {text!r} stands in column {strange[0] + 1}, which has no name")
            yield number, {names[at]: text for at, text in cells.items()}
    if not names:
        raise DataError(f"{file}: an empty table; expected names of columns in its first row")
