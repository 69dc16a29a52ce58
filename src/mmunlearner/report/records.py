"""Records of a run beside results.json: training, trials, masks' statistics, logs.

What earlier versions did not write may be absent. A record may have further entries, which are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """Settings that were tried; of files of earlier versions, `settings` and `objective` alone."""

    settings: Mapping[str, float]
    objective: float
    """Distance to the goal: missed forgetting and lost accuracy on the items that judge, a mean over choosing folds."""
    accuracy: NotRequired[Mapping[str, float]]
    """Column -> accuracy, also of columns that do not judge; absent over several folds."""
    gaps: NotRequired[Mapping[str, Mapping[str, Sequence[float]]]]
    """What is to be forgotten -> entity -> the model's score minus its target's, of each item."""
    excess: NotRequired[NotNegative]
    """Distance of what is to be forgotten from its target, beyond one standard error: 0 within noise."""
    distortion: NotRequired[NotNegative]
    """Change of what the model computes for retained questions, a mean over its parts, and over choosing folds."""
    distortions: NotRequired[Mapping[str, NotNegative]]
    """The same by part: image features, questions about images, questions in words."""
    folds: NotRequired[Mapping[str, Mapping[str, Any]]]
    """Choosing fold -> its own record."""
    chosen: NotRequired[bool]
    seconds: NotRequired[NotNegative]
    peak_memory_bytes: NotRequired[WholeNumber]


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
    trainable: NotRequired[WholeNumber]
    """Weights that trained, numbers of an adapter among them."""
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
