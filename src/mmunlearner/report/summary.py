"""summary.json: the headline score of every model and column, in a form that scripts can rely on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmunlearner.report.results import Model, Results


def summary(results: Results) -> dict[str, Any]:
    """`{"models": {NAME: {COLUMN: {"value", "stderr", "n"}}}, "seconds": {STEP: s}, "peak_memory_bytes": {STEP: b}}`.

    Values are fractions. A family's chosen variant stands under the family's name too; a step is `unlearn/NAME`.
    """
    return {
        "models": {name: _scores(model, results) for name, model in named(results).items()},
        "seconds": steps(results, "seconds"),
        "peak_memory_bytes": steps(results, "peak_memory_bytes"),
    }


def named(results: Results) -> dict[str, Model]:
    """Models by name, and the chosen variant of each family by the family's name, unless a model has that name."""
    models = {model.name: model for model in results.models}
    return models | {
        model.family: model for model in results.models if model.chosen and model.family and model.family not in models
    }


def _scores(model: Model, results: Results) -> dict[str, Any]:
    scores = {column.name: model.score(column.name) for column in results.columns}
    return {column: score._asdict() for column, score in scores.items() if score}


def steps(results: Results, kind: str) -> dict[str, float]:
    """What each step cost; a mask that several models share is counted once, under its own name."""
    made: dict[str, float] = {}
    for model in results.models:
        costs: Mapping[str, float] = getattr(model, kind)
        made |= {f"{step}/{(model.mask if step == 'mask' else '') or model.name}": cost for step, cost in costs.items()}
    return made
