"""MMUnlearner: ascent on the forget VQA through a saliency mask, descent on the retain VQA."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

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


METHOD = Method(
    "mmunlearner", forget=bounded_ascent, retain=retain_cross_entropy, needs_mask=True, paper="arXiv 2502.11051"
)
BOUNDED = Method(
    "ga_diff_bounded", forget=bounded_ascent, retain=retain_cross_entropy, paper="GA_Diff with MMUnlearner's bound"
)
