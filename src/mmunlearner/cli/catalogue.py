"""Catalogue of methods, benchmarks, metrics and recipes. Loads no torch."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from mmunlearner.core.recipes import load_config, plain, shipped_recipes
from mmunlearner.data.load import FORMATS, find_loader
from mmunlearner.evaluate import METRICS
from mmunlearner.methods import METHODS, Budget, Method


@dataclass(frozen=True)
class Entry:
    """A line of the catalogue."""

    name: str
    options: str  # a method's with their defaults
    description: str


def everything() -> dict[str, list[Entry]]:
    """Return the entries of each group, by the group's title."""
    return {
        "methods (--method NAME, --options.NAME VALUE)": [_method(method) for method in METHODS.values()],
        "benchmarks (--data.format NAME)": [_benchmark(name) for name in FORMATS],
        "metrics": [Entry(metric.name, "", metric.meaning) for metric in METRICS.values()],
        "recipes (mmunlearner run NAME)": [
            Entry(name, "", f"{recipe.data.format}, goal {recipe.goal}: {', '.join(recipe.methods)}")
            for name in shipped_recipes()
            if (recipe := load_config(name))
        ],
    }


def _method(method: Method) -> Entry:
    source = method.paper or _first_line(method.retain or method.edit)  # a method of no paper, by its function
    options = ", ".join(f"{name}={default}" for name, default in method.options.items())
    own, default = plain(method.budget), plain(Budget())
    budget = [
        f"{name} {' and '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in own.items()
        if value != default[name]
    ]
    clauses = [
        source,
        "needs a mask" if method.needs_mask else "",
        "compares with the vanilla model's outputs, which are computed first" if method.needs_reference else "",
        f"its budget: {', '.join(budget)}" if budget else "",
    ]
    return Entry(method.name, options, "; ".join(clause for clause in clauses if clause))


def _benchmark(name: str) -> Entry:
    loader = find_loader(name)
    # The loader's keywords are the data options that it reads.
    keywords = [p.name for p in inspect.signature(loader).parameters.values() if p.kind is p.KEYWORD_ONLY]
    # A file that holds one benchmark calls its loader `load` and describes it at the top.
    described = loader if loader.__name__ != "load" else inspect.getmodule(loader)
    return Entry(name, ", ".join(f"data.{keyword}" for keyword in keywords), _first_line(described))


def _first_line(documented: object) -> str:
    return next(iter((inspect.getdoc(documented) or "").splitlines()), "")
