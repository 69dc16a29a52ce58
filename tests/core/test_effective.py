"""The whole configuration with its origins, and the schema of recipes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmunlearner.core.effective import effective_yaml, recipe_schema
from mmunlearner.core.recipes import load_config, shipped_recipes


def origin(text: str, line: str) -> str:
    [found] = [rest for start, _, rest in (each.partition("  # ") for each in text.splitlines()) if start == line]
    return found


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_it_reads_back_equal(name: str, tmp_path: Path) -> None:
    (tmp_path / "again.yaml").write_text(effective_yaml(name), encoding="utf-8")
    assert load_config(tmp_path / "again.yaml") == load_config(name)


def test_each_value_names_where_it_is_from(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("train: {steps: 5, clip: 2}\nmethods: {npo: {method: npo}, ga: {method: ga}}")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\ntrain: {clip: 3}\nmethods: {npo: {options: {beta: 1}}}")
    flags = {"seed": "4", "methods.ga.train": "{learning_rate: 1e-3}", "data.forget_entities": ["a # b", "Doe, Jane"]}
    text = effective_yaml(tmp_path / "mine.yaml", flags)
    assert origin(text, "  steps: 5") == "base.yaml"
    assert origin(text, "  clip: 3.0") == "mine.yaml"
    assert origin(text, "seed: 4") == "--seed"
    assert origin(text, "      beta: 1.0") == "mine.yaml"
    assert origin(text, "      learning_rate: 0.001") == "--methods.ga.train"
    assert origin(text, "    method: ga") == "base.yaml"
    assert origin(text, "out: runs") == "default"
    (tmp_path / "again.yaml").write_text(text)
    assert load_config(tmp_path / "again.yaml") == load_config(tmp_path / "mine.yaml", flags)


def names(content: Any, schema: dict[str, Any], node: dict[str, Any]) -> Iterator[str]:
    """Yield the options of a recipe that its schema does not have."""
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    for choice in node.get("anyOf", ()):
        if choice.get("type") != "null" and isinstance(content, dict):
            yield from names(content, schema, choice)
    if not isinstance(content, dict) or "anyOf" in node:
        return
    for key, value in content.items():
        inner = node.get("properties", {}).get(key, node.get("additionalProperties"))
        if inner is False or inner is None:
            yield key
        elif isinstance(inner, dict):
            yield from names(value, schema, inner)


def test_the_schema_has_every_option_of_the_shipped_recipes_and_no_other() -> None:
    schema = json.loads(recipe_schema())
    folder = next(iter(shipped_recipes().values())).parent
    for path in folder.rglob("*.yaml"):
        assert list(names(yaml.safe_load(path.read_text()), schema, schema)) == [], path
        first = path.read_text().splitlines()[0].partition("$schema=")[2]
        assert (path.parent / first).resolve() == folder.resolve() / "recipe.schema.json"
    assert list(names({"trian": {}, "train": {"step": 1}}, schema, schema)) == ["trian", "step"]


def test_the_file_is_that_of_the_code() -> None:
    """`make docs` writes it."""
    folder = next(iter(shipped_recipes().values())).parent
    assert (folder / "recipe.schema.json").read_text(encoding="utf-8") == recipe_schema()


def test_the_schema_explains_each_option() -> None:
    definitions = json.loads(recipe_schema())["$defs"]
    train = definitions["RunConfig"]["properties"]["train"]["$ref"].rpartition("/")[2]
    options = definitions[train]["properties"]
    assert all(option.get("description") for option in options.values())
