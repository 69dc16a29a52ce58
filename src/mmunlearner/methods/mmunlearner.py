"""MMUnlearner: ascent on the forget VQA through a saliency mask, descent on the retain VQA."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mmunlearner.errors import ModelError
from mmunlearner.methods.ga import retain_cross_entropy
from mmunlearner.methods.method import Method, Needs, Options, Reference, TermName

if TYPE_CHECKING:
    from torch import Tensor

    from mmunlearner.batches import Answers


def bounded_ascent(answers: Answers, reference: Reference | None, *, bound: float = math.inf) -> Tensor:
    """Return -min(CE, bound) of each question, mean over questions.

    The paper's ascent (method step 4) is bound = inf. With a bound, an answer that has become unlikely enough pushes
    no further: ascent without end is what ruins the rest.
    """
    return -answers.nll.clamp(max=bound).mean()


def anchored_cross_entropy(
    answers: Answers, reference: Reference | None, *, retain_weight: float = 1.0, anchor: float = 0.0
) -> Tensor:
    """Return lambda CE(retain) + anchor |f - f0|^2 / |f0|^2, f being the features of the retain images.

    The paper's descent is anchor = 0. Cross-entropy stops pulling once the answers are right; the anchor goes on to
    hold the projector's output at the vanilla model's, and with it what no retain question asks about.

    Raises:
        ModelError: an anchor is asked for, and the model reads its images by cross-attention.
    """
    loss = answers.logits.new_zeros(())
    if retain_weight:  # otherwise the batch has no answers (`needs`)
        loss = retain_cross_entropy(answers, reference, retain_weight=retain_weight)
    if not anchor:
        return loss
    if answers.features is None or reference is None:  # images go by cross-attention: there is no output to hold
        raise ModelError("option anchor: this model does not read its images as tokens; leave anchor at 0")
    if not len(reference.features):  # a batch of texts
        return loss
    # In float32: a sum of a million squares does not fit into shorter formats.
    distance = (answers.features.float() - reference.features.float()).pow(2).sum()
    return loss + anchor * distance / reference.features_scale


def needs_of_anchor(options: Options) -> Needs:
    """Return the needs of `anchored_cross_entropy`: image features for an anchor, answers for cross-entropy.

    With retain_weight = 0 the anchor alone holds the model, and the language model is not run for it.
    """
    return Needs(answers=bool(options["retain_weight"]), vanilla=("features",) if options["anchor"] else ())


def needs(options: Options) -> dict[TermName, Needs]:
    """Return the needs of the terms: a mask, and those of the anchor."""
    return {"forget": Needs(mask=True), "retain": needs_of_anchor(options)}


METHOD = Method(
    "mmunlearner", forget=bounded_ascent, retain=anchored_cross_entropy, needs=needs, paper="arXiv 2502.11051"
)
BOUNDED = Method(
    "ga_diff_bounded", forget=bounded_ascent, retain=retain_cross_entropy, paper="GA_Diff with MMUnlearner's bound"
)
