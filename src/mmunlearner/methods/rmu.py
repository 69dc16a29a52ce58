"""RMU: representation misdirection. Hidden states of what is forgotten go to a random direction, others stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmunlearner.methods.method import Method, Needs, Options, Reference, TermName

if TYPE_CHECKING:
    from torch import Tensor

    from mmunlearner.batches import Answers

LAYER_DEPTH = 7 / 32
"""Layer 7 of a 7-billion-weight model's 32, as published, by its depth."""


def misdirection(
    answers: Answers, reference: Reference | None, *, steering: float = 20.0, depth: float = LAYER_DEPTH
) -> Tensor:
    """Return mean (h - c u)^2 of the hidden states that predict answer tokens: mean over each question's, then over
    questions. c is `steering`, u a unit vector of positive entries that is drawn once; `depth` chooses the layer.
    """
    import torch  # `mmunlearner list` reads this module without it

    (hidden,) = answers.hidden.values()
    # Of a fixed seed: all steps, and all processes, push to one direction.
    direction = torch.rand(hidden.shape[-1], generator=torch.Generator().manual_seed(0))
    target = steering * direction / direction.norm()
    return per_question_mse(answers, hidden, target.to(hidden.device))


def retained_states(answers: Answers, reference: Reference, *, retain_weight: float = 100.0) -> Tensor:
    """Return alpha mean (h - h0)^2, h0 being the vanilla model's hidden states at the same positions."""
    (hidden,) = answers.hidden.values()
    return retain_weight * per_question_mse(answers, hidden, reference.hidden[0])


def per_question_mse(answers: Answers, hidden: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference of hidden states [T, D], over each question's tokens, then over questions."""
    squares = (hidden.float() - target.float()).pow(2).mean(-1)
    return (answers.per_question(squares) / answers.lengths).mean()


def needs(options: Options) -> dict[TermName, Needs]:
    """Return the needs of the terms: hidden states of one layer, of the vanilla model too."""
    depth = (options["depth"],)
    return {"forget": Needs(hidden=depth), "retain": Needs(hidden=depth, vanilla=("hidden",))}


METHOD = Method(
    "rmu", forget=misdirection, retain=retained_states, needs=needs, paper="Li et al. 2024, arXiv 2403.03218"
)
