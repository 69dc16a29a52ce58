"""Negative preference optimisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmunlearner.methods.method import Method, Reference

if TYPE_CHECKING:
    from torch import Tensor

    from mmunlearner.batches import Answers


def npo(answers: Answers, reference: Reference, *, beta: float = 0.4) -> Tensor:
    """-(2 / beta) E log sigmoid(-beta (log p - log p0)), per answer as a whole (eq. 3); becomes GA as beta -> 0."""
    exponent = beta * (answers.logp_sum - reference.logp_sum)
    return (2 / beta) * exponent.logaddexp(exponent.new_zeros(())).mean()  # -log sigmoid(-x) = log(1 + e^x)


METHOD = Method("npo", forget=npo, retain=None, needs_reference=True, paper="Zhang et al. 2024, arXiv 2404.05868")
