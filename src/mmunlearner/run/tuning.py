"""Choosing a method's settings on the validation half: how far a model is from the run's goal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from itertools import product

from mmunlearner.config import Goal, MethodConfig, RunConfig, TrainConfig
from mmunlearner.core.names import did_you_mean
from mmunlearner.errors import ConfigError
from mmunlearner.methods import METHODS, resolve

Values = Mapping[str, float]
"""Column -> accuracy."""

FORGOTTEN: Mapping[Goal, tuple[tuple[str, ...], ...]] = {
    "visual": (("forget_vqa", "forget_vqa_test"),),
    "full": (("forget_vqa", "forget_vqa_test"), ("forget_qa", "forget_qa_test")),
}
"""Groups of columns that should come down to the oracle's level."""
KEPT: Mapping[Goal, tuple[tuple[str, ...], ...]] = {
    "visual": (("forget_qa", "forget_qa_test"), ("retain_vqa", "retain_vqa_test"), ("retain_qa", "retain_qa_test")),
    "full": (("retain_vqa", "retain_vqa_test"), ("retain_qa", "retain_qa_test")),
}
"""Groups of columns that should stay at vanilla's level."""
COLUMNS = tuple(column for group in (*FORGOTTEN["full"], *KEPT["full"]) for column in group)
"""What a trial is judged by: forget and retain people only, never neighbours or general ability."""
TITLES = {"vqa": "VQA", "qa": "QA", "test": "(unseen)"}


def in_words(column: str) -> str:
    """Return the name of a column in words: `forget_vqa_test` -> `forget VQA (unseen)`."""
    return " ".join(TITLES.get(word, word) for word in column.split("_"))


def objective(model: Values, vanilla: Values, floor: Values, goal: Goal) -> float:
    """Distance to the goal, lower is better: |model - floor| of what is to be forgotten, plus what else was lost.

    `floor` is the oracle's accuracy, or chance where there is no oracle. Each group of columns counts once.
    """
    forgotten = [_mean({c: abs(model[c] - floor[c]) for c in model if c in floor}, group) for group in FORGOTTEN[goal]]
    lost = [_mean({c: max(0.0, vanilla[c] - model[c]) for c in model if c in vanilla}, group) for group in KEPT[goal]]
    return sum(forgotten) + sum(lost)


def _mean(values: Values, group: tuple[str, ...]) -> float:
    present = [values[column] for column in group if column in values]
    return sum(present) / len(present) if present else 0.0


TRAINING: Mapping[str, type] = {f.name: type(f.default) for f in fields(TrainConfig) if type(f.default) in (int, float)}
"""Training options that are numbers, and which kind."""


def swept(config: RunConfig) -> RunConfig:
    """The recipe with its grid as the trials of every method: all combinations of what the method has.

    Raises:
        ConfigError: there is no grid, or no method has one of its options.
    """
    if not config.grid:
        raise ConfigError("grid: nothing to try; name options and values, e.g. --grid.learning_rate 1e-5,3e-5")
    has = {name: (*TRAINING, *resolve(m.method, METHODS).options) for name, m in config.methods.items()}
    known = {option for options in has.values() for option in options}
    for option, values in config.grid.items():
        if option not in known:
            suggestion = did_you_mean(option, sorted(known))
            raise ConfigError(f"grid.{option}: no method of the recipe has this option; {suggestion}")
        if not values:
            raise ConfigError(f"grid.{option}: no value to try")
    methods = {
        name: replace(method, trials=_combinations({o: v for o, v in config.grid.items() if o in has[name]}))
        for name, method in config.methods.items()
    }
    return replace(config, name=f"{config.name}-sweep", methods=methods, grid={})


def _combinations(grid: Mapping[str, tuple[float, ...]]) -> tuple[Mapping[str, float], ...]:
    return tuple(dict(zip(grid, values, strict=True)) for values in product(*grid.values())) if grid else ()


def with_settings(method: MethodConfig, settings: Mapping[str, float]) -> MethodConfig:
    """The method with a trial's settings: training options by their names, anything else is the method's own."""
    return replace(
        method,
        train={**method.train, **{k: TRAINING[k](v) for k, v in settings.items() if k in TRAINING}},
        options={**method.options, **{k: v for k, v in settings.items() if k not in TRAINING}},
        trials=(),
    )
