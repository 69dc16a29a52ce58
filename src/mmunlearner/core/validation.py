"""Plain values (YAML, JSON, rows of tables) made into typed ones by pydantic, with one form of error.

The types are the package's own dataclasses and TypedDicts. Errors read `PATH: expected X, found Y`, with a suggestion
where a name is misspelt. A union must be of the form `X | None`: others would put pydantic's tags into the path.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Literal, NotRequired, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError
from typing_extensions import is_typeddict

from mmunlearner.config import PartOf
from mmunlearner.core.names import did_you_mean

T = TypeVar("T")
Path = Sequence[str | int]


@dataclasses.dataclass(frozen=True)
class Rules:
    """How strictly values are taken."""

    noun: str
    """Name of an entry in errors."""
    unknown: Literal["forbid", "ignore"] = "ignore"
    """Whether entries that the type does not have are errors or left out."""
    source: Literal["texts", "python", "json"] = "python"
    """`texts`: numbers and switches may be texts. `python`, `json`: no conversions, but that JSON has lists alone."""


OPTIONS = Rules("option", unknown="forbid", source="texts")
COLUMNS = Rules("column")
COLUMNS_ALONE = Rules("column", unknown="forbid")
FIELDS = Rules("field", source="json")


class InvalidError(Exception):
    """A value that does not fit its type. Whoever catches it knows the file or the flag that it came from."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


def validate(value: Any, kind: type[T], rules: Rules, context: Any = None) -> T:
    """Return the value as its type has it; a null entry counts as absent.

    `context` reaches the validators of fields (pydantic's `info.context`).

    Raises:
        InvalidError: it does not fit; the first problem is told.
    """
    content = without_nulls(value, texts=rules.source == "texts")
    adapter = _adapter(kind, rules)
    try:
        if content is None:  # the adapter itself takes None, see `_adapter`
            raise InvalidError("", f"expected {_expected(kind, rules)}, found nothing")
        if rules.source == "json":
            return adapter.validate_json(json.dumps(content), context=context)
        return adapter.validate_python(content, context=context)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidError(dotted(first["loc"]), _problem(first, content, kind, rules)) from None


def without_nulls(value: Any, *, texts: bool = False) -> Any:
    """Return a copy without the entries of mappings that are null; with `texts`, booleans as YAML writes them.

    As texts, they fit no number: `True` is no 1.
    """
    if isinstance(value, Mapping):
        return {str(key): without_nulls(item, texts=texts) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(item, texts=texts) for item in value]
    return str(value).lower() if texts and isinstance(value, bool) else value


def refusal(expected: str, found: str) -> PydanticCustomError:
    """Return the error that a validator of a field raises."""
    return PydanticCustomError("refusal", "{expected}", {"expected": expected, "found": found})


@cache
def fields(kind: Any) -> dict[str, Any]:
    """Return the entries of a dataclass, NamedTuple or TypedDict with their annotations; of any other type, none."""
    if not (dataclasses.is_dataclass(kind) or is_typeddict(kind) or hasattr(kind, "_fields")):
        return {}
    hints = get_type_hints(kind, include_extras=True)
    return {name: get_args(hint)[0] if get_origin(hint) is NotRequired else hint for name, hint in hints.items()}


def dotted(path: Path) -> str:
    """Return a path in one text: `methods.a.mask.parts[0]`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{one_line(step)}" for step in path)
    return "".join(steps).removeprefix(".")


def shortened(value: Any) -> str:
    """Return a value as errors show it, in one short line."""
    if value is None:
        return "nothing"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return one_line(repr(value))


def one_line(value: object) -> str:
    """Return a value's text without line breaks, in at most 60 characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


@cache
def _adapter(kind: Any, rules: Rules) -> TypeAdapter[Any]:
    config = ConfigDict(
        extra=rules.unknown,
        strict=rules.source != "texts",
        coerce_numbers_to_str=True,
        allow_inf_nan=rules.source == "python",
    )
    # A union, since pydantic takes no configuration for a bare dataclass; the types within inherit this one.
    annotation: Any = kind | None
    return TypeAdapter(annotation, config=config)


def _problem(error: ErrorDetails, content: Any, kind: Any, rules: Rules) -> str:
    *parents, name = error["loc"] or ("",)
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown {rules.noun}; {did_you_mean(str(name), fields(_annotation(kind, parents)))}"
    if error["type"] in ("missing", "missing_argument"):
        there = [entry for entry in error["input"] if entry not in fields(_annotation(kind, parents))]
        if similar := get_close_matches(str(name), there, n=1):
            return f"expected this {rules.noun}, found {one_line(similar[0])} (did you mean {name}?)"
        return f"expected this {rules.noun}, found only {one_line(', '.join(error['input'])) or 'nothing'}"
    if error["type"] == "refusal":
        return "expected {expected}, found {found}".format_map(error.get("ctx", {}))
    if limit := BOUNDS.get(error["type"]):
        return f"expected {limit.format_map(error.get('ctx', {}))}, found {shortened(error['input'])}"
    expected = _expected(_annotation(kind, error["loc"]), rules)
    return f"expected {expected or error['msg']}, found {shortened(error['input'])}"


BOUNDS = {
    "greater_than_equal": "{ge:g} or more",
    "less_than_equal": "{le:g} or less",
    "too_short": "{min_length} or more",
}
"""Error of pydantic -> what it expects."""
KINDS = {
    bool: "true or false",
    dict: "named values",
    float: "a finite number",
    frozenset: "a list",
    int: "a whole number",
    list: "a list",
    str: "a text",
    tuple: "a list",
}
"""Type -> what it is called."""


def _expected(kind: Any, rules: Rules) -> str:
    """Return what a type is called in errors."""
    if names := fields(kind):
        return f"the {rules.noun}s {', '.join(names)}"
    if get_origin(kind) is Literal:
        return f"one of {', '.join(filter(None, get_args(kind)))}"
    origin = get_origin(kind) or kind
    return KINDS.get(dict if origin is Mapping else origin, "")


def _annotation(kind: Any, path: Path) -> Any:
    """Return the type that an entry below `kind` should have."""
    kind = _bare(kind)
    for step in path:
        inner = [argument for argument in get_args(kind) if argument is not Ellipsis]
        kind = _bare(fields(kind)[str(step)] if fields(kind) else inner[-1])
    return kind


def _bare(kind: Any) -> Any:
    """Return a type without its marks and without `| None`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        part = next((mark.kind for mark in arguments[1:] if isinstance(mark, PartOf)), None)
        return part or _bare(arguments[0])
    if origin in (Union, types.UnionType):
        return _bare(next(argument for argument in arguments if argument is not type(None)))
    return kind
