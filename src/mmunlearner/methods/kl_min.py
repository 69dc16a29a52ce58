"""KL_Min: ascent on the forget set, the vanilla model's distribution held on the retain set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmunlearner.methods.ga import ascent
from mmunlearner.methods.method import Method, Needs, Options, Reference, TermName

if TYPE_CHECKING:
    from torch import Tensor

    from mmunlearner.batches import Answers


def kl(answers: Answers, reference: Reference, *, retain_weight: float = 1.0) -> Tensor:
    """Return lambda KL(p0 || p) per answer token, mean over each question's tokens, then over questions.

    Where the reference has only its K likeliest tokens, the rest of both distributions is one more class: a lower bound
    of the full divergence, exact when K is the vocabulary.
    """
    logps = answers.logits.log_softmax(-1).gather(-1, reference.topk_ids)
    divergence = (reference.topk_logps.exp() * (reference.topk_logps - logps)).sum(-1)
    if reference.topk_ids.shape[-1] < answers.logits.shape[-1]:
        # Over the listed tokens alone the sum is no divergence: it would reward moving probability to them.
        rest0, rest = rest_class(reference.topk_logps), rest_class(logps)
        divergence = divergence + rest0 * (rest0.log() - rest.log())
    return retain_weight * (answers.per_question(divergence) / answers.lengths).mean()


def rest_class(logps: Tensor) -> Tensor:
    """Return the probability outside the listed tokens, [T]."""
    return (1 - logps.exp().sum(-1)).clamp_min(1e-6)  # rounding may make it 0 or less, and its logarithm is taken


def needs(options: Options) -> dict[TermName, Needs]:
    """Return the needs of the terms: the vanilla model's distribution."""
    return {"retain": Needs(vanilla=("answers",))}


METHOD = Method("kl_min", forget=ascent, retain=kl, needs=needs, paper="Yao et al. 2024, arXiv 2402.15159")
