"""Answers of a model, their scores with uncertainty, and the gate that allows or forbids claims.

Scores come from saved answers alone, so this half imports no torch (`metrics`, `scores`, `clear`, `judge`, `lmms`).
What asks a model is imported at its first use: `evaluate_model`, `quick_answers` and `quick_scores` of `answer`,
`inquiry` and `replies` of `dialogue`.
"""

from __future__ import annotations

from importlib import import_module
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
    from mmunlearner.evaluate.answer import evaluate_model, quick_answers, quick_scores
    from mmunlearner.evaluate.dialogue import Reply, inquiry, replies

_ASKING = {
    "Reply": "dialogue",
    "evaluate_model": "answer",
    "inquiry": "dialogue",
    "quick_answers": "answer",
    "quick_scores": "answer",
    "replies": "dialogue",
}
"""Public name -> module of this room that imports torch."""

__all__ = [
    "METRICS",
    "Difference",
    "ForgetQuality",
    "Gate",
    "Metric",
    "ModelScores",
    "Reply",
    "Score",
    "distance_to_oracle",
    "evaluate_model",
    "inquiry",
    "memorisation_gate",
    "quick_answers",
    "quick_scores",
    "read_columns",
    "replies",
    "rescore",
]


def __getattr__(name: str) -> Any:
    """Import a module that asks models, and with it torch, when one of its names is first used."""
    if name not in _ASKING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ASKING[name]}"), name)
