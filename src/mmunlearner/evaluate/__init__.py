"""Answers of a model, their scores with uncertainty, and what may be claimed of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmunlearner.evaluate.gate import Gate, distance_to_oracle, memorisation_gate, oracle_gap
from mmunlearner.evaluate.metrics import ForgetQuality, Score
from mmunlearner.evaluate.scores import ModelScores, read_columns, read_scores, rescore

if TYPE_CHECKING:
    from mmunlearner.evaluate.answer import evaluate_model, quick_scores

__all__ = [
    "ForgetQuality",
    "Gate",
    "ModelScores",
    "Score",
    "distance_to_oracle",
    "evaluate_model",
    "memorisation_gate",
    "oracle_gap",
    "quick_scores",
    "read_columns",
    "read_scores",
    "rescore",
]


def __getattr__(name: str) -> Any:
    """The two names that need a model, and so torch, are imported when they are asked for."""
    if name not in {"evaluate_model", "quick_scores"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mmunlearner.evaluate import answer

    return getattr(answer, name)
