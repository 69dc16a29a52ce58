"""Choosing a method's settings on the validation half: how far a model is from the run's goal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

from mmunlearner.config import Goal, MethodConfig, TrainConfig

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


def with_settings(method: MethodConfig, settings: Mapping[str, float]) -> MethodConfig:
    """The method with a trial's settings: training options by their names, anything else is the method's own."""
    training = {field.name for field in fields(TrainConfig)}
    return replace(
        method,
        train={**method.train, **{k: v for k, v in settings.items() if k in training}},
        options={**method.options, **{k: v for k, v in settings.items() if k not in training}},
        trials=(),
    )
