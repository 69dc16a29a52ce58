"""Unlikelihood of the whole answer, with the retain images' features held: the default of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmunlearner.methods.method import Budget, Method, Needs, Options, Reference, Relearning, TermName
from mmunlearner.methods.mmunlearner import anchored_cross_entropy, needs_of_anchor

if TYPE_CHECKING:
    from torch import Tensor

    from mmunlearner.batches import Answers

CERTAINTY = 0.999
"""Factor of the probability: it bounds the loss of an answer by 6.9, and its gradient on log p by 999."""


def unlikelihood(answers: Answers, reference: Reference | None, *, floor: float = 0.0, guess: float = 0.0) -> Tensor:
    """Return -(1 - g) log(1 - p) - g log p of the answer as a whole, mean over questions.

    With `guess` = 0, g is 0 and this is unlikelihood (of token: Welleck et al. 2020, eq. 4). Otherwise g is `guess`
    times the probability that the vanilla model gives the answer for other faces (`Reference.guess`), which is where
    the loss is least: an answer that has become less probable than a guess would give the entity away, and is raised.

    Its gradient on log p is p / (1 - p): what the model is surest of is moved most, and what has become unlikely is
    hardly moved, so that the anchor decides the end of training. Ascent pushes on without end. `floor` is a
    probability: answers below it are not moved at all.
    """
    probability = answers.logp_sum.exp()
    # log1p keeps the digits of small probabilities. A factor, not a clamp: a certain answer still has a gradient.
    loss = -(-CERTAINTY * probability).log1p()
    if guess and reference is not None:
        aim = (guess * reference.guess).clamp(max=1.0)
        loss = (1 - aim) * loss - aim * answers.logp_sum
    return (loss * (probability.detach() > floor)).mean()


def feature_anchor(
    answers: Answers, reference: Reference | None, *, anchor: float = 30.0, retain_weight: float = 0.0
) -> Tensor:
    """Return anchor |f - f0|^2 / |f0|^2 of the retain images' features, and lambda CE(retain) beside it if asked for.

    Raises:
        ModelError: the model reads its images by cross-attention, so that there are no features to hold.
    """
    return anchored_cross_entropy(answers, reference, retain_weight=retain_weight, anchor=anchor)


def needs(options: Options) -> dict[TermName, Needs]:
    """Return the needs of the terms: features of the vanilla model, and its guesses where they are aimed at.

    The language model is not run for the anchor.
    """
    return {"forget": Needs(vanilla=("guess",) if options["guess"] else ()), "retain": needs_of_anchor(options)}


METHOD = Method(
    "unlikelihood",
    forget=unlikelihood,
    retain=feature_anchor,
    needs=needs,
    relearning=Relearning,
    # The facts stay in the language model, whose weights nothing would hold: it does not train.
    budget=Budget(1e-3, images_per_entity=120, parts=("vision", "projector"), augment="forget"),
    paper="Welleck et al. 2020, arXiv 1908.04319, for the forget term",
)
