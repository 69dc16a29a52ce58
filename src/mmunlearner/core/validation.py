"""Validation of plain values (YAML, JSON, rows of tables) by pydantic, with one form of error.

The types are the package's own dataclasses and TypedDicts. Errors read `PATH: expected X, found Y`, with a suggestion
where a name is misspelt.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NotRequired,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError
from typing_extensions import is_typeddict

from mmunlearner.core.names import did_you_mean
from mmunlearner.core.texts import canonical, is_blank, unwritable
from mmunlearner.option_types import PartOf

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")
Path = Sequence[str | int]
UNIONS = (Union, UnionType)


@dataclasses.dataclass(frozen=True)
class Rules:
    """Strictness of a validation."""

    noun: str
    """Word for an entry in errors."""
    unknown: Literal["forbid", "ignore"] = "ignore"
    """Treatment of entries that the type does not have: `ignore` leaves them out."""
    source: Literal["texts", "python", "json"] = "python"
    """Origin of the values. `texts`: numbers and flags may be texts. `python`, `json`: nothing is converted, except
    lists of JSON to tuples where the type asks for these."""


OPTIONS = Rules("option", unknown="forbid", source="texts")
COLUMNS = Rules("column")
CELLS = Rules("column", source="texts")
FIELDS = Rules("field", source="json")


BROKEN = "half of a surrogate pair"


class InvalidError(Exception):
    """A value that does not fit its type. The caller of `validate` knows which file or flag it came from."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


def validate(value: Any, kind: TypeForm[T], rules: Rules, context: Any = None) -> T:
    """Return a value converted to its type. An entry that is null counts as absent.

    `context` reaches the validators of fields (pydantic's `info.context`), except those of JSON.

    Raises:
        InvalidError: the value does not fit; of several problems, one is named.
    """
    try:
        return _validate(value, kind, rules, context)
    except RecursionError:
        raise InvalidError("", "expected plain values, found brackets in hundreds of brackets") from None


def _validate(value: Any, kind: TypeForm[T], rules: Rules, context: Any) -> T:
    if rules == OPTIONS:  # the cells of a spreadsheet are texts too, but may hold any line break
        _check_characters(value)
    content, adapter = without_nulls(value, texts=rules.source == "texts"), _adapter(kind, rules)
    if content is None:  # the adapter would accept it
        raise InvalidError("", f"expected {_expected(kind, rules)}, found nothing")
    if (broken := unwritable(content)) is not None:  # pydantic would accept it too, and no file could hold it
        raise InvalidError(_dotted(broken), f"expected Unicode text, found {BROKEN}")
    try:
        if rules.source == "json":
            # By way of a text, since only there does strict pydantic take a list for a tuple.
            validated = adapter.validate_json(json.dumps(content))
        else:
            validated = adapter.validate_python(content, context=context)
    except ValidationError as error:
        # Where a union fails there is an error for each of its types; the deepest is of the type that was meant.
        deepest = max(error.errors(include_url=False), key=lambda problem: len(problem["loc"]))
        raise _invalid(deepest, value, kind, rules) from None
    if rules.unknown == "forbid":
        _check_null_names(value, kind, rules)
    return validated


@cache  # building a schema takes longer than a validation, and data sets have thousands of rows
def _adapter(kind: Any, rules: Rules) -> TypeAdapter[Any]:
    config = ConfigDict(
        extra=rules.unknown,
        strict=rules.source != "texts",
        coerce_numbers_to_str=True,  # an answer or a name in a table may be a number
        allow_inf_nan=rules.source == "python",  # no option is NaN, and JSON has none
    )
    # A union, since pydantic accepts no configuration for a bare dataclass; the types within inherit this one.
    annotation: Any = kind | None
    return TypeAdapter(annotation, config=config)


def without_nulls(value: Any, *, texts: bool = False) -> Any:
    """Return a copy without the entries of mappings that are null; with `texts`, booleans become texts as in YAML."""
    if isinstance(value, Mapping):
        return {str(key): without_nulls(item, texts=texts) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(item, texts=texts) for item in value]
    # pydantic would convert True to the number 1, but not the text.
    return str(value).lower() if texts and isinstance(value, bool) else value


def _check_characters(value: Any, path: tuple[str | int, ...] = ()) -> None:
    """Refuse texts that no path, file or terminal takes: with control characters, or bytes that are not UTF-8."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            _check_characters(str(name), (*path, str(name)))
            _check_characters(item, (*path, str(name)))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _check_characters(item, (*path, number))
    # A surrogate stands for a byte of the command line that is not UTF-8.
    elif isinstance(value, str) and any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n" for c in value):
        name = _dotted([step if isinstance(step, int) else repr(step)[1:-1] for step in path])
        raise InvalidError(name, f"expected a text of printable characters, found {shorten(value)}")


def _check_null_names(value: Any, kind: Any, rules: Rules, path: tuple[str | int, ...] = ()) -> None:
    """Refuse unknown names whose entries are null."""
    # pydantic never sees them: `without_nulls` removed them.
    if isinstance(value, Mapping):
        names: Mapping[str, Any] = {}
        with suppress(LookupError):  # free-form content may go deeper than its type
            names = fields(_resolve(kind, path)[1])
        for name, item in value.items():
            if item is None and names and name not in names:
                raise _unknown((*path, name), kind, rules)
            _check_null_names(item, kind, rules, (*path, name))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _check_null_names(item, kind, rules, (*path, number))


# --- types of fields ------------------------------------------------------------------------------------------------


def refusal(expected: str, found: str) -> PydanticCustomError:
    """Return the error that a validator of a field raises."""
    return PydanticCustomError("refusal", "{expected}", {"expected": expected, "found": found})


def _check_not_empty(text: str) -> str:
    if is_blank(text):
        raise refusal("a text", "an empty one" if not text.strip() else f"nothing visible in {text!a}")
    return text


def _as_name(text: str) -> str:
    name = canonical(text)
    if any(unicodedata.category(character) == "Cc" for character in name):  # a terminal would obey them
        raise refusal("a name without control characters", ascii(name))
    return name


def _parse_json(value: Any) -> Any:
    """Return the value of a JSON text, or of the Python literal that some data sets write in its place."""
    if not isinstance(value, str):
        return value
    try:
        content = json.loads(value)
    except (ValueError, RecursionError) as error:
        try:
            content = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            problem = f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise refusal("JSON", f"{shorten(value)} ({problem})") from None
    if unwritable(content) is not None:
        raise refusal("Unicode text", BROKEN)
    return without_nulls(content)  # nulls within the text count as absent, too


WholeNumber = Annotated[int, Field(ge=0)]
"""Number of bytes, weights, tokens or steps in a record: without the upper end that an option has."""
Text = Annotated[str, AfterValidator(_check_not_empty)]
Name = Annotated[Text, AfterValidator(_as_name)]
"""Text that names an entity: spellings that are the same text to Unicode become one."""
Json = BeforeValidator(_parse_json)
"""Marker of a value that is written as JSON text."""


@cache
def fields(kind: Any) -> dict[str, Any]:
    """Return the entries of a dataclass, NamedTuple or TypedDict with their annotations; of any other type, none."""
    if not (dataclasses.is_dataclass(kind) or is_typeddict(kind) or hasattr(kind, "_fields")):
        return {}
    hints = get_type_hints(kind, include_extras=True)
    return {name: get_args(hint)[0] if get_origin(hint) is NotRequired else hint for name, hint in hints.items()}


# --- errors ---------------------------------------------------------------------------------------------------------

# Type of pydantic's error -> the value that it expects.
LIMITS = {
    "finite_number": "a finite number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le:g} or less",
    "too_short": "{min_length} or more",
}
# Names of types in errors: for users who know YAML, not Python.
KINDS = {
    bool: "true or false",
    dict: "named values",
    float: "a number",
    frozenset: "a list",
    int: "a whole number",
    list: "a list",
    str: "a text",
    tuple: "a list",
}


def shorten(value: Any) -> str:
    """Return a value as errors show it, in one short line."""
    if value is None:
        return "nothing"
    return f"{len(value)} bytes" if isinstance(value, bytes) else one_line(repr(value))


def one_line(value: object, limit: int = 60) -> str:
    """Return a value's text without line breaks, cut at a number of characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def out_of_bounds(error: object) -> str:
    """Return the problem of a number that cyclopts had pydantic check; empty for any other error."""
    if not isinstance(error, ValidationError):
        return ""
    first = error.errors(include_url=False)[0]
    if first["type"] == "refusal":
        return "expected {expected}, found {found}".format_map(first.get("ctx", {}))
    limit = LIMITS.get(first["type"])
    return f"expected {limit.format_map(first.get('ctx', {}))}, found {shorten(first['input'])}" if limit else ""


def _invalid(error: ErrorDetails, value: Any, kind: Any, rules: Rules) -> InvalidError:
    """Return pydantic's error about `value` in this module's form."""
    details = error.get("ctx", {})
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return _unknown(error["loc"], kind, rules)
    path, annotation = list(error["loc"]), Any
    with suppress(LookupError):  # pydantic counts the entries of a named tuple that is given as a list
        path, annotation = _resolve(kind, error["loc"])
    expected, found = _expected(annotation, rules) or error["msg"], shorten(error["input"])
    if error["type"] in LIMITS:
        expected = LIMITS[error["type"]].format_map(details)
    elif error["type"] == "refusal":
        expected, found = details["expected"], details["found"]
    elif error["type"] in ("missing", "missing_argument"):
        # At the top, null entries count as present: parquet has them for columns that were not read.
        entries, name = error["input"] if path[1:] else value, str(path[-1])
        if not isinstance(entries, Mapping):  # a named tuple as a list that is too short
            expected, found = f"this {rules.noun}", shorten(entries)
        elif name in entries:
            expected, found = _expected(annotation, rules) or f"this {rules.noun}", "nothing"
        else:
            similar = get_close_matches(name, entries, n=1)
            hint = f"{one_line(similar[0])} (did you mean {name}?)" if similar else ""
            expected, found = f"this {rules.noun}", hint or f"only {one_line(', '.join(entries)) or 'nothing'}"
    return InvalidError(_dotted(path), f"expected {expected}, found {found}")


def _unknown(loc: Path, kind: Any, rules: Rules) -> InvalidError:
    path, parent = _resolve(kind, loc[:-1])
    suggestion = did_you_mean(str(loc[-1]), fields(parent))
    return InvalidError(_dotted([*path, loc[-1]]), f"unknown {rules.noun}; {suggestion}")


def _dotted(path: Path) -> str:
    """Return a path as one text: `methods.a.mask.parts[0]`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{one_line(step)}" for step in path)
    return "".join(steps).removeprefix(".")


def _expected(kind: Any, rules: Rules) -> str:
    """Return a type's name in errors; empty if it has none."""
    # Not of a type with a schema of its own: an image, which no one writes field by field.
    if (names := fields(kind)) and not hasattr(kind, "__get_pydantic_core_schema__"):
        return f"the {rules.noun}s {', '.join(names)}"
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(filter(None, arguments))}"
    if origin in UNIONS:
        return " or ".join(_expected(_bare(argument), rules) for argument in arguments if argument is not NoneType)
    return KINDS.get(dict if origin is Mapping else origin, "")


def _resolve(kind: Any, loc: Path) -> tuple[list[str | int], Any]:
    """Return the path and the type of a value below `kind`; `loc` is pydantic's path to it.

    Raises:
        LookupError: the type has no such entry.
    """
    kind = _bare(kind)
    if not loc:
        return [], kind
    step, rest = loc[0], loc[1:]
    if get_origin(kind) in UNIONS:
        # Here pydantic's path has a name for one of the union's types. We do not know these names: try each type.
        for argument in get_args(kind) if rest else ():
            with suppress(LookupError):
                return _resolve(argument, rest)
        return [], kind
    # Below a mapping or a list the type of the values is the last argument: `Mapping[str, X]`, `tuple[X, ...]`.
    items = [argument for argument in get_args(kind) if argument is not Ellipsis]
    path, last = _resolve(fields(kind)[str(step)] if fields(kind) else items[-1], rest)
    return [step, *path], last


def _bare(kind: Any) -> Any:
    """Return a type without its markers and without `| None`."""
    if get_origin(kind) is Annotated:
        inner, *markers = get_args(kind)
        # Behind `PartOf` the mapping has the options of a dataclass, which suggestions for misspelt names need.
        return next((marker.kind for marker in markers if isinstance(marker, PartOf)), None) or _bare(inner)
    if get_origin(kind) in UNIONS:
        arguments = [argument for argument in get_args(kind) if argument is not NoneType]
        return _bare(arguments[0]) if len(arguments) == 1 else kind
    return kind
