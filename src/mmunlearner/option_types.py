"""Types of options: what a text in a recipe or on the command line becomes, and what is refused."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

FLAG_TEXTS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def parse_flag(value: object) -> object:
    """Return a text that means true or false as a boolean; any other value as it is, which a strict type refuses."""
    # pydantic's own conversion would accept `1`, `t` and `y` too.
    return FLAG_TEXTS.get(str(value).lower(), value)


def split_at_commas(value: object) -> object:
    """Return a list, or a text of items between commas, as a tuple; any other value as it is.

    An item that holds a comma stands in double quotes, and a quote within these is doubled: `"Doe, Jane",Bob`.

    Raises:
        PydanticCustomError: a quote is not closed, or text stands beside it.
    """
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, str):
        return value
    try:  # the rules of CSV, which a quote within a word obeys too: Dwayne "The Rock" Johnson
        row = next(csv.reader([value.replace("\n", " ")], skipinitialspace=True, strict=True), [])
    except csv.Error:
        expected = 'items between commas, with "..." around an item that holds a comma'
        raise PydanticCustomError("refusal", "{expected}", {"expected": expected, "found": repr(value)}) from None
    return tuple(item.strip() for item in row if item.strip())


def flatten_trial(value: object) -> object:
    """Return a trial `{train: {steps: 2}}` as `{train.steps: 2}`; any other value as it is."""
    if not isinstance(value, Mapping):
        return value
    flat: dict[str, object] = {}
    for name, setting in value.items():
        # Written so where training and the method have an option of the same name.
        nested = name in ("train", "options") and isinstance(setting, Mapping)
        flat |= {f"{name}.{option}": number for option, number in setting.items()} if nested else {name: setting}
    return flat


@dataclass(frozen=True)
class PartOf:
    """Marker of a mapping that holds some of the options of a dataclass, without its defaults."""

    kind: type

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> Any:
        """Return pydantic's schema of such a mapping: each option as the dataclass annotates it, none required."""
        # A TypedDict, not the dataclass: absent options stay absent, so that those of `train` show through.
        options = get_type_hints(self.kind, include_extras=True)
        part = TypedDict(self.kind.__name__, options, total=False)  # pyright: ignore
        part.__module__ = self.kind.__module__  # where pydantic finds the help text of each option: below it, in source
        return handler.generate_schema(part)


def check_folder_name(name: str) -> str:
    """Return a name that becomes a folder, unchanged.

    Raises:
        PydanticCustomError: some operating system would take it for a path, hide it or refuse it.
    """
    expected = ""
    if not name or not all(character.isalnum() or character in "_-." for character in name):
        expected = "letters, digits, `_`, `-` and `.` inside"
    elif name[0] in ".-" or name[-1] == ".":
        expected = "a name that does not begin with `.` or `-`, nor end with `.`"
    elif len(name.encode()) > LONGEST_NAME:
        expected = f"a name of at most {LONGEST_NAME} bytes"
    elif name.partition(".")[0].upper() in RESERVED_NAMES:
        expected = "a name that Windows does not reserve for a device"
    if expected:
        found = repr(name if len(name) < 60 else f"{name[:57]}...")
        raise PydanticCustomError("refusal", "{expected}", {"expected": expected, "found": found})
    return name


def check_folder_names(values: dict[str, Any]) -> dict[str, Any]:
    """Return named values unchanged.

    Raises:
        PydanticCustomError: a name cannot be that of a folder.
    """
    for name in values:
        check_folder_name(name)
    return values


def check_names(values: dict[Any, Any], names: tuple[str, ...]) -> dict[Any, Any]:
    """Return named values unchanged.

    Raises:
        PydanticCustomError: a name is not among `names`.
    """
    for name in values:
        if name not in names:
            expected = f"values of {', '.join(names)}"
            raise PydanticCustomError("refusal", "{expected}", {"expected": expected, "found": repr(name)})
    return values


def check_distinct(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a list unchanged.

    Raises:
        PydanticCustomError: it has no item, or one twice.
    """
    if items and len(set(items)) == len(items):
        return items
    twice = next((item for item in items if items.count(item) > 1), None)
    found = f"{twice} twice" if twice else "an empty list"
    raise PydanticCustomError("refusal", "{expected}", {"expected": "one or more different items", "found": found})


LAYERS = re.compile(r"(?P<end>first|last) (?P<size>\d+)(?P<percent>%?)|(?P<low>\d+)(?P<unit>%?)-(?P<high>\d+)(?P=unit)")
"""Form of a choice of layers: `last 10`, `first 33%`, `20-29`, `50%-100%`."""


def check_layers(text: str) -> str:
    """Return a choice of a part's layers unchanged.

    Raises:
        PydanticCustomError: it is none.
    """
    if not LAYERS.fullmatch(text):
        expected = "layers as `last 10`, `first 4`, `20-29` (the first is 0), or by depth as `last 33%`, `50%-100%`"
        raise PydanticCustomError("refusal", "{expected}", {"expected": expected, "found": repr(text)})
    return text


LONGEST_NAME = 100  # bytes: a folder's name may have 255, and while it is written it gets a prefix and a suffix
DEVICES = ("COM", "LPT")
RESERVED_NAMES = frozenset({"CON", "PRN", "AUX", "NUL", *(f"{name}{i}" for name in DEVICES for i in range(10))})
FolderName = Annotated[str, AfterValidator(check_folder_name)]
# Far beyond any use, and within what libraries store: a misplaced digit is refused here, not within a training.
MOST = 10**9
AtLeastOne = Annotated[int, Field(ge=1, le=MOST)]
Count = Annotated[int, Field(ge=0, le=MOST)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # numpy takes no larger one
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
LearningRate = Annotated[float, Field(ge=0, le=10)]  # above: a sign that is missing in `1e-4`
PartRate = Annotated[float, Field(gt=0, le=10)]
Layers = Annotated[str, AfterValidator(check_layers)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
Flag = Annotated[bool, Field(strict=True), BeforeValidator(parse_flag)]
SPLIT_AT_COMMAS = BeforeValidator(split_at_commas)
"""Marker of a list that may be written as one text, as on the command line: `vision,projector`, `"Doe, Jane",Bob`."""
