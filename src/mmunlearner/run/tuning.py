"""Choice of a method's settings on the validation half, by the distance of a model to the run's goal."""

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
RETAINED: Mapping[Goal, tuple[tuple[str, ...], ...]] = {
    "visual": (("forget_qa", "forget_qa_test"), ("retain_vqa", "retain_vqa_test"), ("retain_qa", "retain_qa_test")),
    "full": (("retain_vqa", "retain_vqa_test"), ("retain_qa", "retain_qa_test")),
}
"""Groups of columns that should stay at vanilla's level."""
COLUMNS = tuple(column for group in (*FORGOTTEN["full"], *RETAINED["full"]) for column in group)
"""Columns that judge a trial: of forget and retain people only, never neighbours or general ability."""
TITLES = {"vqa": "VQA", "qa": "QA", "test": "(unseen)"}


def in_words(column: str) -> str:
    """Return the name of a column in words: `forget_vqa_test` -> `forget VQA (unseen)`."""
    return " ".join(TITLES.get(word, word) for word in column.split("_"))


def objective(model: Values, vanilla: Values, target: Values, goal: Goal) -> float:
    """Return the distance to the goal, lower is better: |model - target| of forgotten columns + loss of retained ones.

    `target` is the oracle's accuracy, or chance where there is no oracle. Each group of columns counts once.
    """
    # Forgetting too much counts as a miss as well; more accuracy than vanilla on a retained column earns nothing.
    missed = {column: abs(model[column] - target[column]) for column in model if column in target}
    lost = {column: max(0.0, vanilla[column] - model[column]) for column in model if column in vanilla}
    return sum(_mean(missed, group) for group in FORGOTTEN[goal]) + sum(_mean(lost, group) for group in RETAINED[goal])


def _mean(values: Values, group: tuple[str, ...]) -> float:
    present = [values[column] for column in group if column in values]
    return sum(present) / len(present) if present else 0.0


# A grid has numbers only, so that other training options cannot be tuned. Option -> int or float.
TRAINING: Mapping[str, type] = {f.name: type(f.default) for f in fields(TrainConfig) if type(f.default) in (int, float)}


def sweep(config: RunConfig) -> RunConfig:
    """Return the recipe with its grid as trials: for every method all combinations of the options that it has.

    Raises:
        ConfigError: there is no grid, or no method has one of its options.
    """
    if not config.grid:
        raise ConfigError("grid: nothing to try; name options and values, e.g. --grid.learning_rate 1e-5,3e-5")
    options_of = {name: (*TRAINING, *resolve(m.method, METHODS).options) for name, m in config.methods.items()}
    available = {option for options in options_of.values() for option in options}
    for option, values in config.grid.items():
        if option not in available:
            suggestion = did_you_mean(option, sorted(available))
            raise ConfigError(f"grid.{option}: no method of the recipe has this option; {suggestion}")
        if not values:
            raise ConfigError(f"grid.{option}: no value to try")
    methods = {}
    for name, method in config.methods.items():
        # A method is not tried at values of options that it does not have: these trials would all be equal.
        grid = {option: values for option, values in config.grid.items() if option in options_of[name]}
        trials = tuple(dict(zip(grid, values, strict=True)) for values in product(*grid.values())) if grid else ()
        methods[name] = replace(method, trials=trials)
    return replace(config, name=f"{config.name}-sweep", methods=methods, grid={})


def with_settings(method: MethodConfig, settings: Mapping[str, float]) -> MethodConfig:
    """Return the method with a trial's settings.

    A name is that of a training option or of one of the method's own; `train.NAME` and `options.NAME` say which.

    Raises:
        ConfigError: training and the method both have an option of that name, or training has none that is a number.
    """
    available = resolve(method.method, METHODS).options
    groups: dict[str, dict[str, object]] = {"train": {}, "options": {}}
    for name, value in settings.items():
        group, _, option = name.rpartition(".")
        if not group:
            if name in TRAINING and name in available:  # e.g. a method's own `steps`
                raise ConfigError(
                    f"trials: {name} is an option of training and of method {method.method}; write train.{name} or "
                    f"options.{name}"
                )
            group = "train" if name in TRAINING else "options"
        if group not in groups:
            raise ConfigError(f"trials: {name} is neither train.NAME nor options.NAME")
        if group == "train" and option not in TRAINING:
            raise ConfigError(f"trials: {name} is no number of training; {did_you_mean(option, TRAINING)}")
        # Grids are floats: `steps: 40.0` becomes the whole number that training expects, 2.5 stays and is refused.
        whole = group == "train" and TRAINING[option] is int and float(value).is_integer()
        groups[group][option] = int(value) if whole else value
    return replace(
        method,
        train={**method.train, **groups["train"]},
        options={**method.options, **groups["options"]},  # pyright: ignore[reportArgumentType]
        trials=(),  # else the trial would be tuned again
    )
