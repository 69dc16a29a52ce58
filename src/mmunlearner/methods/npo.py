"""Negative preference optimisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmunlearner.methods.method import Method, Needs, Options, Reference, TermName

if TYPE_CHECKING:
    from torch import Tensor

    from mmunlearner.batches import Answers


def npo(answers: Answers, reference: Reference, *, beta: float = 0.4) -> Tensor:
    """Return -(2 / beta) E log sigmoid(-beta (log p - log p0)), per answer as a whole (eq. 3).

    It becomes GA as beta -> 0.
    """
    exponent = beta * (answers.logp_sum - reference.logp_sum)
    # -log sigmoid(-x) = log(1 + e^x), in a form that does not overflow
    return (2 / beta) * exponent.logaddexp(exponent.new_zeros(())).mean()


def needs(options: Options) -> dict[TermName, Needs]:
    """Return the needs of the terms: the vanilla model's log-probabilities."""
    return {"forget": Needs(vanilla=("answers",))}


METHOD = Method("npo", forget=npo, needs=needs, paper="Zhang et al. 2024, arXiv 2404.05868")
