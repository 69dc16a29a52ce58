"""Answers of a model, their scores with uncertainty, and the gate that allows or forbids claims.

Scores come from saved answers alone, so this half imports no torch (`metrics`, `scores`, `clear`, `judge`, `lmms`).
`evaluate_model` and `quick_scores` ask a model: they live in `answer`, which is imported at their first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmunlearner.evaluate.metrics import METRICS, Metric
from mmunlearner.evaluate.scores import (
    Difference,
    ForgetQuality,
    Gate,
    ModelScores,
    Score,
    distance_to_oracle,
    memorisation_gate,
    read_columns,
    rescore,
)

# Editors and type checkers find the definition here; at run time `__getattr__` below does it.
if TYPE_CHECKING:
    from mmunlearner.evaluate.answer import evaluate_model, quick_scores

__all__ = [
    "METRICS",
    "Difference",
    "ForgetQuality",
    "Gate",
    "Metric",
    "ModelScores",
    "Score",
    "distance_to_oracle",
    "evaluate_model",
    "memorisation_gate",
    "quick_scores",
    "read_columns",
    "rescore",
]


def __getattr__(name: str) -> Any:
    """Import `answer`, and with it torch, when one of its two functions is first used."""
    if name not in {"evaluate_model", "quick_scores"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mmunlearner.evaluate import answer

    return getattr(answer, name)
