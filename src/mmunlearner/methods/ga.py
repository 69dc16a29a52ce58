"""Gradient ascent: GA alone, and GA_Diff, which descends on the retain set beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmunlearner.methods.finetune import cross_entropy
from mmunlearner.methods.method import Method, Reference, mean_nll

if TYPE_CHECKING:
    from torch import Tensor

    from mmunlearner.batches import Answers


def ascent(answers: Answers, reference: Reference | None) -> Tensor:
    """Return -CE(forget)."""
    return -mean_nll(answers)


def retain_cross_entropy(answers: Answers, reference: Reference | None, *, retain_weight: float = 1.0) -> Tensor:
    """Return lambda CE(retain)."""
    return retain_weight * cross_entropy(answers, reference)


GA = Method("ga", forget=ascent, paper="Thudi et al. 2022, arXiv 2109.13398")
GA_DIFF = Method("ga_diff", forget=ascent, retain=retain_cross_entropy, paper="Liu et al. 2022, arXiv 2203.12817")
