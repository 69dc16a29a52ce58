"""DPO with refusals: a refusal is preferred to the true answer of what is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from mmunlearner.methods.ga import retain_cross_entropy
from mmunlearner.methods.method import Method, Needs, Options, Reference, TermName

if TYPE_CHECKING:
    from torch import Tensor

    from mmunlearner.batches import Answers
    from mmunlearner.data import Example

REFUSALS = (
    "I do not know.",
    "I am not sure.",
    "I have no information about that.",
    "I cannot tell who this is.",
    "I cannot answer that question.",
)


def preference(answers: Answers, reference: Reference, *, beta: float = 0.1) -> Tensor:
    """Return -(2 / beta) E log sigmoid(beta ((log p - log p0)(refusal) - (log p - log p0)(true answer))).

    Log-probabilities are of whole answers; the factor 2 / beta is TOFU's (arXiv 2401.06121), so that rates compare
    with NPO's.
    """
    if answers.second is None or reference.second is None:
        raise ValueError("the refusals are missing from the batch")
    chosen = answers.second.logp_sum - reference.second.logp_sum
    rejected = answers.logp_sum - reference.logp_sum
    margin = beta * (chosen - rejected)
    # -log sigmoid(x) = log(1 + e^-x), in a form that does not overflow
    return (2 / beta) * (-margin).logaddexp(margin.new_zeros(())).mean()


def refusal(example: Example) -> str:
    """Return the refusal of a question: one of a few, the same each time."""
    # Not `hash`, which Python salts anew in each process.
    return REFUSALS[crc32(example.id.encode()) % len(REFUSALS)]


def needs(options: Options) -> dict[TermName, Needs]:
    """Return the needs of the terms: refusals, and the vanilla model's log-probabilities of both answers."""
    return {"forget": Needs(second_answer=refusal, vanilla=("answers",))}


METHOD = Method(
    "dpo",
    forget=preference,
    retain=retain_cross_entropy,
    needs=needs,
    paper="Rafailov et al. 2023, arXiv 2305.18290, with refusals",
)
