"""Records of a run beside results.json: training, trials, masks' statistics, logs.

What earlier versions did not write may be absent. A record may have further entries, which are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from mmunlearner.config import Count, Fraction, NotNegative, Part


class StopCheck(TypedDict):
    """The last check of early stopping; `unlearn.early_stopping.StopCheck` says what is in it."""

    accuracy: Mapping[str, float]
    level: Mapping[str, float]
    source: Literal["oracle", "chance"]
    reached: bool
    step: Count
    of: Count


class Trial(TypedDict):
    """Settings that were tried."""

    settings: Mapping[str, float]
    objective: float
    """Distance to the goal, on the validation half."""


class Tuning(TypedDict):
    """All trials of a method, and their cost."""

    trials: list[Trial]
    seconds: NotRequired[NotNegative]
    peak_memory_bytes: NotRequired[Count]


class Training(TypedDict):
    """Content of `train.json`, beside a model that this package trained."""

    settings: NotRequired[Mapping[str, Any]]
    steps: NotRequired[Count]
    moved: NotRequired[Mapping[str, Count]]
    """Counts of weights that moved; `unlearn.masking.WeightChanges`."""
    look: NotRequired[StopCheck]
    objective: NotRequired[float]
    tuning: NotRequired[Tuning]
    tokens: NotRequired[Count]
    seconds: NotRequired[NotNegative]
    peak_memory_bytes: NotRequired[Count]


class Cost(TypedDict):
    """Cost of a step."""

    seconds: NotRequired[NotNegative]
    peak_memory_bytes: NotRequired[Count]


class LayerStatistics(TypedDict):
    """One weight of a mask's statistics."""

    part: str
    selected: Count
    candidates: Count
    name: NotRequired[str]
    saliency_forget: NotRequired[NotNegative]
    saliency_preserve: NotRequired[NotNegative]


class MaskStatistics(Cost):
    """Content of `masks/NAME.json`."""

    parts: NotRequired[list[Part]]
    beta: NotRequired[float]
    unit: NotRequired[str]
    random: NotRequired[bool]
    density: Fraction
    forget_share: NotRequired[Fraction]
    layers: NotRequired[list[LayerStatistics]]


class LogLine(TypedDict):
    """One optimizer step of a log."""

    step: Count
    forget: NotRequired[float]
    retain: NotRequired[float]
