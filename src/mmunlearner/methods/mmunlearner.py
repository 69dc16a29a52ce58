"""MMUnlearner: ascent on the forget VQA through a saliency mask, descent on the retain VQA."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mmunlearner.errors import ModelError
from mmunlearner.methods.ga import retain_cross_entropy
from mmunlearner.methods.method import Method, Reference

if TYPE_CHECKING:
    from torch import Tensor

    from mmunlearner.batches import Answers


def bounded_ascent(answers: Answers, reference: Reference | None, *, bound: float = math.inf) -> Tensor:
    """-min(CE, bound) of each question, mean over questions.

    The paper's ascent (method step 4) is bound = inf. With a bound, an answer that has become unlikely enough pushes
    no further: ascent without end is what ruins the rest.
    """
    return -answers.nll.clamp(max=bound).mean()


def anchored_cross_entropy(
    answers: Answers, reference: Reference | None, *, retain_weight: float = 1.0, anchor: float = 0.0
) -> Tensor:
    """lambda CE(retain) + anchor |f - f0|^2 / |f0|^2, f being what the language model is shown of the retain images.

    The paper's descent is anchor = 0. Cross-entropy says nothing more once the answers are right; the anchor goes on to
    hold the projector's output at the vanilla model's, and with it what no retain question asks about. With lambda = 0
    it is all that is held, and the language model is not run for it.

    Raises:
        ModelError: an anchor is asked for, and the model reads its images by cross-attention.
    """
    loss = answers.logits.new_zeros(())
    if retain_weight:  # otherwise there may be no answers
        loss = retain_cross_entropy(answers, reference, retain_weight=retain_weight)
    if not anchor:
        return loss
    shown = answers.features
    if shown is None or reference is None or reference.features is None:
        raise ModelError("option anchor: this model does not read its images as tokens; leave anchor at 0")
    if not len(reference.features):  # a batch of texts
        return loss
    now, was = shown.float(), reference.features.float()
    return loss + anchor * (now - was).pow(2).sum() / (
        was.pow(2).sum() if reference.square is None else reference.square
    )


METHOD = Method(
    "mmunlearner",
    forget=bounded_ascent,
    retain=anchored_cross_entropy,
    needs_mask=True,
    feature_option="anchor",
    word_option="retain_weight",
    paper="arXiv 2502.11051",
)
BOUNDED = Method(
    "ga_diff_bounded", forget=bounded_ascent, retain=retain_cross_entropy, paper="GA_Diff with MMUnlearner's bound"
)
