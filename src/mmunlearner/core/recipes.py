"""Recipes: YAML and flags in, `RunConfig` out, and back; errors name the option, where it stands and the remedy."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from mmunlearner.config import Bounds, PartOf, RunConfig
from mmunlearner.core.names import did_you_mean
from mmunlearner.errors import ConfigError

T = TypeVar("T")
NOT_CONTENT = ("name", "out", "jobs")
"""Options that say where and how a run is made; its results do not depend on them."""
TRUE, FALSE = ("true", "yes", "on"), ("false", "no", "off")


def load_config(recipe: Path | str, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Read a recipe (a file, or the name of a shipped one); `overrides` maps dotted names to values and wins.

    Raises:
        ConfigError: the file, an option's name, its type or its range is wrong.
    """
    path = find_recipe(recipe)
    overrides = overrides or {}
    content = read_recipe(path)
    try:
        for name, value in overrides.items():
            _override(content, name, value)
        return _build(RunConfig, content, "")
    except _OptionError as error:
        given = any(_within(error.option, name) or _within(name, error.option) for name in overrides)
        where = f"--{error.option}" if given else f"{path}: {error.option}"
        raise ConfigError(f"{where}: {error.problem}") from None


def build(kind: type[T], content: Mapping[str, Any]) -> T:
    """Make a configuration from plain values (texts are converted by type); what is absent keeps its default.

    Raises:
        ConfigError: an option is unknown, of a wrong type or out of range.
    """
    try:
        return _build(kind, content, "")
    except _OptionError as error:
        raise ConfigError(f"{error.option}: {error.problem}") from None


def check(config: T) -> T:
    """The same configuration, every type and range checked: for those built in Python.

    Raises:
        ConfigError: an option is of a wrong type or out of range.
    """
    return build(type(config), plain(config))


def plain(value: Any) -> Any:
    """Dataclasses as dicts and tuples as lists, all the way down: what YAML and JSON can hold."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple | list) else value


def to_yaml(config: Any) -> str:
    """The whole configuration, defaults included; `load_config` reads it back equal."""
    return yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True, width=120)


def config_hash(config: RunConfig) -> str:
    """Twelve hexadecimal digits that differ between runs whose results may differ."""
    content = {key: value for key, value in plain(config).items() if key not in NOT_CONTENT}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of the recipes that come with the package: inside a wheel, or beside `src` in a checkout."""
    here = Path(__file__).resolve()
    folder = next((f for f in (here.parents[1] / "recipes", here.parents[3] / "recipes") if f.is_dir()), here.parent)
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_recipe(recipe: Path | str) -> Path:
    """A recipe's file, by its path or by the name of a shipped one.

    Raises:
        ConfigError: there is no such recipe.
    """
    if Path(recipe).is_file():
        return Path(recipe)
    shipped = shipped_recipes()
    if (found := shipped.get(str(recipe))) is None:
        raise ConfigError(f"{recipe}: no such recipe; give a YAML file or one of {', '.join(shipped)}")
    return found


def read_recipe(path: Path, readers: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's content, laid over those which it `extends`, if any: a path relative to it, or several in order.

    Raises:
        ConfigError: the file cannot be read, is not YAML of options, or extends itself.
    """
    if path.resolve() in readers:
        raise ConfigError(f"{path}: extends itself")
    content = _read_yaml(path)
    extended = content.pop("extends", [])
    merged: dict[str, Any] = {}
    for base in extended if isinstance(extended, list) else [extended]:
        if not isinstance(base, str) or not (path.parent / base).is_file():
            raise ConfigError(f"{path}: extends: {base}: no such file beside it")
        merged = _merge(merged, read_recipe(path.parent / base, (*readers, path.resolve())))
    return _merge(merged, content)


class _OptionError(Exception):
    """What is wrong with which option; who catches it knows where the option stands."""

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(option, problem)
        self.option = option
        self.problem = problem


class _TextLoader(yaml.SafeLoader):
    """YAML whose scalars stay texts, to be converted by the option's type: `1e-5` is a number, `no` is Norway."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own attribute)
        first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise yaml.constructor.ConstructorError(None, None, f"{twice} stands there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _TextLoader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: a recipe is `option: value` lines, this is {type(content).__name__}")
    return content


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `over` win; options that hold others are merged, lists are replaced."""
    both_mappings = {key for key in over if isinstance(over[key], Mapping) and isinstance(base.get(key), Mapping)}
    return base | {key: _merge(base[key], item) if key in both_mappings else item for key, item in over.items()}


def _override(content: dict[str, Any], name: str, value: Any) -> None:
    """Set the option of a dotted name in a recipe's content."""
    *groups, last = name.split(".")
    for depth, group in enumerate(groups):
        if groups[:depth] == ["methods"] and group not in content:
            raise _OptionError(f"methods.{group}", f"no such method in the recipe; {did_you_mean(group, content)}")
        if not isinstance(content.get(group), dict):
            content[group] = {}
        content = content[group]
    content[last] = yaml.load(value, _TextLoader) if isinstance(value, str) and value[:1] in ("[", "{") else value


def _build(kind: Any, content: Any, option: str) -> Any:
    """An instance of dataclass `kind`; null leaves an option out, so that it keeps its default."""
    return kind(**_options(kind, content, option))


def _options(kind: Any, content: Any, option: str) -> dict[str, Any]:
    """Some of the options of dataclass `kind`, converted."""
    if not isinstance(content, Mapping):
        raise _OptionError(option, f"{content!r} should be options: {', '.join(_hints(kind))}")
    hints = _hints(kind)
    for name in content:
        if name not in hints:
            raise _OptionError(_join(option, name), f"unknown option; {did_you_mean(str(name), hints)}")
    return {
        name: _convert(hints[name], item, _join(option, name))
        for name, item in content.items()
        if item is not None or _is_optional(hints[name])
    }


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _join(option: str, name: object) -> str:
    return f"{option}.{name}" if option else str(name)


def _within(option: str, group: str) -> bool:
    return option == group or option.startswith((f"{group}.", f"{group}["))


def _is_optional(kind: Any) -> bool:
    return type(None) in get_args(kind)


def _convert(kind: Any, value: Any, option: str) -> Any:
    """`value` as annotation `kind` demands it."""
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, option)
    converter = _CONVERTERS.get(get_origin(kind) or kind)
    if converter is None:
        raise TypeError(f"{option}: options of type {kind} have no conversion")
    return converter(kind, value, option)


def _convert_annotated(kind: Any, value: Any, option: str) -> Any:
    base, mark = get_args(kind)
    if isinstance(mark, PartOf):
        return _options(mark.kind, value, option)
    number = _convert(base, value, option)
    if isinstance(mark, Bounds) and not mark.hold(number):
        raise _OptionError(option, f"{value} is out of range; it must be {mark}")
    return number


def _convert_union(kind: Any, value: Any, option: str) -> Any:
    inner = next(part for part in get_args(kind) if part is not type(None))
    return None if value is None else _convert(inner, value, option)


def _convert_literal(kind: Any, value: Any, option: str) -> Any:
    if value not in get_args(kind):
        raise _OptionError(option, f"{value!r} is not one of {', '.join(filter(None, get_args(kind)))}")
    return value


def _convert_tuple(kind: Any, value: Any, option: str) -> tuple[Any, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple):
        raise _OptionError(option, f"{value!r} should be a list")
    return tuple(_convert(get_args(kind)[0], item, f"{option}[{index}]") for index, item in enumerate(value))


def _convert_mapping(kind: Any, value: Any, option: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _OptionError(option, f"{value!r} should be `name: value` pairs")
    inner = get_args(kind)[1]
    return {str(key): _convert(inner, item, _join(option, key)) for key, item in value.items() if item is not None}


def _convert_bool(_: Any, value: Any, option: str) -> bool:
    text = str(value).lower()
    if text not in (*TRUE, *FALSE):
        raise _OptionError(option, f"{value!r} is neither true nor false")
    return text in TRUE


def _convert_number(kind: Any, value: Any, option: str) -> Any:
    try:
        number = kind(value)
        exact = math.isfinite(number) and not isinstance(value, bool) and (isinstance(value, str) or number == value)
    except (TypeError, ValueError, OverflowError):
        number, exact = None, False
    if not exact:
        raise _OptionError(option, f"{value!r} is not a {'whole number' if kind is int else 'number'}")
    return number


def _convert_text(_: Any, value: Any, option: str) -> str:
    if not isinstance(value, str | int | float):
        raise _OptionError(option, f"{value!r} should be one text")
    return str(value)


_CONVERTERS: dict[Any, Callable[[Any, Any, str], Any]] = {
    Annotated: _convert_annotated,
    Union: _convert_union,
    types.UnionType: _convert_union,
    Literal: _convert_literal,
    tuple: _convert_tuple,
    dict: _convert_mapping,
    Mapping: _convert_mapping,
    bool: _convert_bool,
    int: _convert_number,
    float: _convert_number,
    str: _convert_text,
    object: lambda _, value, __: value,
}
