"""What there is to choose from: methods, benchmarks, metrics, recipes. Loads no torch."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from mmunlearner.core.recipes import load_config, shipped_recipes
from mmunlearner.data.load import FORMATS, find_loader
from mmunlearner.evaluate import METRICS
from mmunlearner.methods import METHODS, Method


@dataclass(frozen=True)
class Entry:
    """One thing to choose."""

    name: str
    options: str
    """Its options; a method's with their defaults."""
    what: str
    """One line."""


def everything() -> dict[str, list[Entry]]:
    """Title -> what there is."""
    return {
        "methods (--method NAME, --options.NAME VALUE)": [_method(method) for method in METHODS.values()],
        "benchmarks (--data.format NAME)": [_benchmark(name) for name in FORMATS],
        "metrics": [Entry(metric.name, "", metric.meaning) for metric in METRICS.values()],
        "recipes (mmunlearner run NAME)": [_recipe(name) for name in shipped_recipes()],
    }


def _method(method: Method) -> Entry:
    needs = [
        word for word, needed in (("a mask", method.needs_mask), ("a reference", method.needs_reference)) if needed
    ]
    what = method.paper or _first_line(method.retain)
    options = ", ".join(f"{name}={default}" for name, default in method.options.items())
    return Entry(method.name, options, f"{what}; needs {' and '.join(needs)}" if needs else what)


def _benchmark(name: str) -> Entry:
    loader = find_loader(name)
    keywords = [p.name for p in inspect.signature(loader).parameters.values() if p.kind is p.KEYWORD_ONLY]
    told = loader if loader.__name__ != "load" else inspect.getmodule(loader)  # a file of its own says what it reads
    return Entry(name, ", ".join(f"data.{keyword}" for keyword in keywords), _first_line(told))


def _recipe(name: str) -> Entry:
    recipe = load_config(name)
    return Entry(name, "", f"{recipe.data.format}, goal {recipe.goal}: {', '.join(recipe.methods)}")


def _first_line(thing: object) -> str:
    return next(iter((inspect.getdoc(thing) or "").splitlines()), "")
