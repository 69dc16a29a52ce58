"""Recipes: YAML and flags in, `RunConfig` out, and back. Errors name the file or flag, the option and the remedy."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import reduce
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from mmunlearner.config import RunConfig
from mmunlearner.core.names import did_you_mean
from mmunlearner.core.validation import OPTIONS, InvalidError, one_line, shorten, validate
from mmunlearner.errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")
NO_YAML = (yaml.YAMLError, ValueError, RecursionError)
"""Errors of the reader of YAML: `!!int x` is a ValueError, lists in thousands of lists are a RecursionError."""
NOT_CONTENT = frozenset(
    {
        "name", "out", "jobs", "bounds", "grid", "folds", "choosing_folds", "seeds", "evaluate.batch_size",
        "methods.*.title", "methods.*.role", "methods.*.family",
        *(f"model.{option}" for option in ("device", "device_map", "attention", "trust_remote_code")),
        *(
            f"{group}.{option}"
            for group in ("train", "finetune", "methods.*.train")
            for option in ("tokens_per_batch", "checkpointing", "keep_features", "save_every", "report_to")
        ),
    }
)  # fmt: skip
"""Options that decide how results are computed, where they are written and what they are called, but not what they are
(up to the last digits of sums): a run goes on when they change. `*` is any method."""


def load_config(recipe: Path | str, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Read a recipe: a file, or the name of a shipped one. `overrides` maps dotted names to values, which win.

    Raises:
        ConfigError: the file, an option's name, its type or its range is wrong.
    """
    path = find_recipe(recipe)
    overrides = overrides or {}
    content = read_recipe(path)
    try:
        # Before the content is validated, so that a flag can correct an error in the file.
        for name, value in overrides.items():
            _override(content, name, value)
        return validate(content, RunConfig, OPTIONS)
    except InvalidError as error:
        # A flag may set a whole group, or one option of a group that is wrong as a whole.
        overridden = any(_within(error.path, name) or _within(name, error.path) for name in overrides)
        raise ConfigError(f"--{error}" if overridden else f"{path}: {error}") from None


def build(kind: type[T], content: Mapping[str, Any]) -> T:
    """Return a configuration of plain values, in which texts are converted by type; absent options keep their defaults.

    Raises:
        ConfigError: an option is unknown, of a wrong type or out of range.
    """
    try:
        return validate(content, kind, OPTIONS)
    except InvalidError as error:
        raise ConfigError(str(error)) from None


def check(config: T) -> T:
    """Return a configuration that was built in Python, with every type and range checked.

    Raises:
        ConfigError: an option is of a wrong type or out of range.
    """
    return build(type(config), plain(config))


def check_value(name: str, value: Any, kind: TypeForm[T]) -> T:
    """Return the value of one argument, checked as the option of its type is.

    Raises:
        ConfigError: it is of a wrong type or out of range.
    """
    try:
        return validate(value, kind, OPTIONS)
    except InvalidError as error:
        raise ConfigError(f"{name}: {error.problem}") from None


def plain(value: Any) -> Any:
    """Return what YAML and JSON can hold: dataclasses and named tuples as dicts, sequences as lists, paths as texts."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, frozenset):
        return sorted(value)  # equal sets as equal files
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())  # pyright: ignore[reportAttributeAccessIssue]
    return [plain(item) for item in value] if isinstance(value, tuple | list) else value


def to_yaml(config: Any) -> str:
    """Return a whole configuration as YAML, defaults included; `load_config` reads it back equal."""
    return yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True, width=120)


def content(config: RunConfig) -> dict[str, Any]:
    """Return the options that decide the results of a run, by their dotted names.

    With the defaults: a run that was made under other defaults is not mistaken for this one.
    """
    return {
        ".".join(path): value
        for path, value in _flat(plain(config))
        # `*` stands for any method's name.
        if NOT_CONTENT.isdisjoint(
            accumulate(("methods", "*", *path[2:]) if path[0] == "methods" else path, "{}.{}".format)
        )
    }


def config_hash(config: RunConfig) -> str:
    """Return twelve hexadecimal digits that differ between runs whose results may differ."""
    return hashlib.sha256(json.dumps(content(config), sort_keys=True).encode()).hexdigest()[:12]


def _flat(value: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping):  # of an empty group, nothing
            yield from _flat(item, (*path, key))
        else:
            yield (*path, key), item


def shipped_recipes() -> dict[str, Path]:
    """Return name -> file of the recipes of the package: inside it in a wheel, beside `src` in a checkout."""
    here = Path(__file__).resolve()
    folders = (here.parents[1] / "recipes", here.parents[3] / "recipes")
    folder = next((folder for folder in folders if folder.is_dir()), here.parent)  # `here.parent` holds no recipe
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_recipe(recipe: Path | str) -> Path:
    """Return a recipe's file, given its path or the name of a shipped one.

    Raises:
        ConfigError: there is no such recipe.
    """
    if Path(recipe).is_file():  # a file of the user's wins over a shipped recipe of the same name
        return Path(recipe)
    shipped = shipped_recipes()
    if str(recipe) not in shipped:
        similar = did_you_mean(str(recipe), shipped)
        raise ConfigError(f"{recipe}: no such recipe; {similar} (your own: a YAML file; all: `mmunlearner list`)")
    return shipped[str(recipe)]


def read_recipe(path: Path) -> dict[str, Any]:
    """Return a recipe's content, merged over the recipes that it `extends`: a path relative to it, or a list of them.

    Raises:
        ConfigError: a file cannot be read, is not YAML of options, or extends itself.
    """
    return reduce(_merge, (content for _, content in recipe_files(path)), {})


def recipe_files(path: Path, readers: tuple[Path, ...] = ()) -> list[tuple[Path, dict[str, Any]]]:
    """Return the files of a recipe with their own contents: those that it extends, each before what is laid over it.

    `readers` are the files that extend this one.

    Raises:
        ConfigError: the file cannot be read, is not YAML of options, or extends itself.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _TextLoader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except NO_YAML as error:
        raise ConfigError(f"{path}: not valid YAML ({one_line(error, 300)})") from None
    # Compared with the chain of readers only: two bases of one recipe may extend a third.
    if path.resolve() in readers:
        raise ConfigError(f"{path}: extends itself")
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: a recipe is `option: value` lines, this is {type(content).__name__}")
    extended = content.pop("extends", [])
    files: list[tuple[Path, dict[str, Any]]] = []
    for base in extended if isinstance(extended, list) else [extended]:
        if not isinstance(base, str) or not (path.parent / base).is_file():
            raise ConfigError(f"{path}: extends: {base}: no such file beside it")
        files += recipe_files(path.parent / base, (*readers, path.resolve()))  # the later base wins
    return [*files, (path, content)]


class _TextLoader(yaml.SafeLoader):
    """Loader of YAML whose scalars stay texts: the option's type decides that `1e-5` is a number and `no` is Norway.

    A repeated key of a mapping is an error.
    """

    # Of YAML's rules for types only those for null and for the merge key `<<` remain.
    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own attribute)
        first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]  # PyYAML itself would silently let the last one win
        if repeated := next((key for key in keys if keys.count(key) > 1), None):
            raise yaml.constructor.ConstructorError(None, None, f"the key {repeated} is repeated", node.start_mark)
        return super().construct_mapping(node, deep)


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return two recipes merged: options of `over` win, groups of options are merged, lists are replaced."""
    both_mappings = {key for key in over if isinstance(over[key], Mapping) and isinstance(base.get(key), Mapping)}
    return base | {key: _merge(base[key], item) if key in both_mappings else item for key, item in over.items()}


def _override(content: dict[str, Any], name: str, value: Any) -> None:
    """Set an option of a recipe's content by its dotted name; missing groups are made, except methods."""
    *groups, last = name.split(".")
    for depth, group in enumerate(groups):
        # A misspelt method would be a new method, with the default loss.
        if groups[:depth] == ["methods"] and group not in content:
            raise InvalidError(f"methods.{group}", f"no such method in the recipe; {did_you_mean(group, content)}")
        if not isinstance(content.get(group), dict):
            content[group] = {}
        content = content[group]
    try:
        content[last] = parse_text(value) if isinstance(value, str) else value
    except ConfigError as error:
        raise InvalidError(name, str(error)) from None


def parse_text(text: str) -> Any:
    """Return what a flag's text means: a list or a group in YAML's own notation, any other text as it is.

    So `--methods.NAME.trials '[{steps: 10}]'` is written.

    Raises:
        ConfigError: the text begins like a list or a group, and is none.
    """
    if text[:1] not in ("[", "{"):
        return text
    try:
        return yaml.load(text, _TextLoader)
    except (yaml.YAMLError, RecursionError):
        raise ConfigError(f"expected a list or a group as YAML writes them, found {shorten(text)}") from None


def _within(option: str, group: str) -> bool:
    return option == group or option.startswith((f"{group}.", f"{group}["))
