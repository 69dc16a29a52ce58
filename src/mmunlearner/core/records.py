"""Records: JSON that this package wrote and reads again, after a person or a disk may have changed it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mmunlearner.core.files import iterate_jsonl, read_json
from mmunlearner.core.validation import FIELDS, InvalidError, validate
from mmunlearner.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")


def check_record(content: Any, kind: TypeForm[T], source: str) -> T:
    """Return plain values as their type; `source` names them in errors. Entries that are null count as absent.

    Of named values with free entries beside those of the type (a TypedDict), these stay.

    Raises:
        DataError: an entry is missing, or of another type.
    """
    try:
        checked: Any = validate(content, kind, FIELDS)
    except InvalidError as error:
        raise DataError(f"{source}: {error}") from None
    if isinstance(checked, dict):
        checked = {name: value for name, value in {**content, **checked}.items() if value is not None}
    return checked


def read_record(path: Path | str, kind: TypeForm[T]) -> T:
    """Read a JSON file as `check_record` does.

    Raises:
        DataError: it cannot be read, or an entry is missing or of another type.
    """
    return check_record(read_json(path), kind, str(path))


def read_records(path: Path | str, kind: TypeForm[T]) -> list[T]:
    """Read a file with a record in each line.

    Raises:
        DataError: it cannot be read, or an entry of a line is missing or of another type.
    """
    return [check_record(value, kind, f"{path}, line {number}") for number, value in iterate_jsonl(path)]
