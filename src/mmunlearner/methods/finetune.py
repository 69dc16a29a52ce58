"""Ordinary fine-tuning: it makes the vanilla model and the retain oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmunlearner.methods.method import Method, Reference, mean_nll

if TYPE_CHECKING:
    from torch import Tensor

    from mmunlearner.batches import Answers


def cross_entropy(answers: Answers, reference: Reference | None) -> Tensor:
    """Return CE over answer tokens."""
    return mean_nll(answers)


METHOD = Method("finetune", retain=cross_entropy, paper="ordinary fine-tuning")
