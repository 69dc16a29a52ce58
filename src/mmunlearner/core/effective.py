"""The whole configuration of a recipe with the origin of every value, and the JSON schema of recipes for editors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, TypeAdapter

from mmunlearner.config import RunConfig
from mmunlearner.core.recipes import find_recipe, load_config, parse_text, plain, recipe_files

Layers = list[tuple[str, Mapping[str, Any]]]


def effective_yaml(recipe: Path | str, overrides: Mapping[str, Any] | None = None) -> str:
    """Return a recipe's whole configuration as YAML; behind each value stands the file, flag or default it is from.

    Raises:
        ConfigError: the recipe or a flag is wrong.
    """
    config = load_config(recipe, overrides)
    layers: Layers = [(file.name, content) for file, content in recipe_files(find_recipe(recipe))]
    for name, value in (overrides or {}).items():
        content = parse_text(value) if isinstance(value, str) else value
        for key in reversed(name.split(".")):
            content = {key: content}
        layers.append((f"--{name}", content))
    return "\n".join(_lines(plain(config), layers)) + "\n"


def _lines(content: Mapping[str, Any], layers: Layers, path: tuple[str, ...] = ()) -> Iterator[str]:
    indent = "  " * len(path)
    for key, value in content.items():
        here = (*path, key)
        if isinstance(value, Mapping) and value:
            yield f"{indent}{_scalar(key)}:"
            yield from _lines(value, layers, here)
        else:
            yield f"{indent}{_scalar(key)}: {_scalar(value)}  # {_origin(here, layers)}"


def _scalar(value: Any) -> str:
    """Return a value in one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _origin(path: tuple[str, ...], layers: Layers) -> str:
    """Return the last layer that names the option, or a group that it is in as a whole."""
    for name, content in reversed(layers):
        value: Any = content
        for key in path:
            if not isinstance(value, Mapping) or key not in value:
                break
            value = value[key]
            if not isinstance(value, Mapping):  # the option itself, or what stands for its whole group
                return name
        else:
            return name
    return "default"


def recipe_schema() -> str:
    """Return the JSON schema of recipes with the help text of each option; `recipes/recipe.schema.json` holds it."""
    kind: Any = RunConfig | None  # pydantic takes no configuration for a bare dataclass
    rules = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    schema = TypeAdapter[Any](kind, config=rules).json_schema(ref_template="#/$defs/{model}")
    definitions: dict[str, Any] = schema["$defs"]
    run = definitions["RunConfig"]
    text = {"type": "string"}
    run["properties"]["extends"] = {
        "description": "Recipes that this one is laid over: paths relative to it, the later one wins.",
        "anyOf": [text, {"type": "array", "items": text}],
    }
    methods = run["properties"]["methods"]
    # A method of an extended recipe is left out by null.
    methods["additionalProperties"] = {"anyOf": [methods["additionalProperties"], {"type": "null"}]}
    for definition in definitions.values():
        for option in definition.get("properties", {}).values():
            if option.get("type") == "array":  # a list may be one text, with commas
                option["type"] = ["array", "string"]
    top = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Recipe of mmunlearner"}
    return json.dumps({**top, "$ref": "#/$defs/RunConfig", "$defs": definitions}, indent=1, sort_keys=True) + "\n"
