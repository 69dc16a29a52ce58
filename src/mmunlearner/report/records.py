"""Records of a run beside results.json: training, trials, masks' statistics, logs.

What earlier versions did not write may be absent. A record may have further entries, which are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from mmunlearner.config import Part
from mmunlearner.core.validation import WholeNumber
from mmunlearner.option_types import Fraction, NotNegative


class StopCheck(TypedDict):
    """The last check of early stopping; `unlearn.early_stopping.StopCheck` says what is in it."""

    accuracy: Mapping[str, float]
    level: Mapping[str, float]
    source: Literal["oracle", "chance"]
    reached: bool
    step: WholeNumber
    of: WholeNumber


class Trial(TypedDict):
    """Settings that were tried."""

    settings: Mapping[str, float]
    objective: float
    """Distance to the goal, on the validation half."""


class Tuning(TypedDict):
    """All trials of a method, and their cost."""

    trials: list[Trial]
    seconds: NotRequired[NotNegative]
    peak_memory_bytes: NotRequired[WholeNumber]


class Training(TypedDict):
    """Content of `train.json`, beside a model that this package trained."""

    settings: NotRequired[Mapping[str, Any]]
    steps: NotRequired[WholeNumber]
    moved: NotRequired[Mapping[str, WholeNumber]]
    """Counts of weights that moved; `unlearn.masking.WeightChanges`."""
    look: NotRequired[StopCheck]
    objective: NotRequired[float]
    tuning: NotRequired[Tuning]
    tokens: NotRequired[WholeNumber]
    seconds: NotRequired[NotNegative]
    peak_memory_bytes: NotRequired[WholeNumber]


class Cost(TypedDict):
    """Cost of a step."""

    seconds: NotRequired[NotNegative]
    peak_memory_bytes: NotRequired[WholeNumber]


class LayerStatistics(TypedDict):
    """One weight of a mask's statistics."""

    part: str
    selected: WholeNumber
    candidates: WholeNumber
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

    step: WholeNumber
    forget: NotRequired[float]
    retain: NotRequired[float]
