"""KL_Min: ascent on the forget set, the vanilla model's distribution held on the retain set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmunlearner.methods.ga import ascent
from mmunlearner.methods.method import Method, Reference

if TYPE_CHECKING:
    from torch import Tensor

    from mmunlearner.batches import Answers


def kl(answers: Answers, reference: Reference, *, retain_weight: float = 1.0) -> Tensor:
    """lambda KL(p0 || p) per answer token, mean over each question's tokens, then over questions.

    Where the reference keeps only its K likeliest tokens, what remains of both distributions is one more class: a
    lower bound of the full divergence, exact when K is the vocabulary.
    """
    logps = answers.logits.log_softmax(-1).gather(-1, reference.topk_ids)
    divergence = (reference.topk_logps.exp() * (reference.topk_logps - logps)).sum(-1)
    if reference.topk_ids.shape[-1] < answers.logits.shape[-1]:
        rest0, rest = _rest(reference.topk_logps), _rest(logps)
        divergence = divergence + rest0 * (rest0.log() - rest.log())
    return retain_weight * (answers.per_question(divergence) / answers.lengths).mean()


def _rest(logps: Tensor) -> Tensor:
    """Probability outside the listed tokens, [T]."""
    return (1 - logps.exp().sum(-1)).clamp_min(1e-6)


METHOD = Method("kl_min", forget=ascent, retain=kl, needs_reference=True, paper="Yao et al. 2024, arXiv 2402.15159")
