"""A method of your own: two functions of answer log-probabilities, one for each term.

    python -m mmunlearner mask --model people:vanilla --data.root people --out mask.safetensors
    python -m mmunlearner unlearn --model people:vanilla --data.root people --mask mask.safetensors \\
        --method examples.your_method:METHOD --options.margin 0.1 --train.learning_rate 1e-3 --out unlearned

In a recipe: `method: examples.your_method:METHOD`. `python -m` finds modules in the present folder.
"""

import torch

from mmunlearner.methods import Method
from mmunlearner.methods.ga import retain_cross_entropy


def unlikelihood(answers, reference, *, margin: float = 0.0):
    """-log(1 - p) of each answer token, mean over each answer, then over questions.

    Unlike ascent on cross-entropy it ends: a token whose probability p is below `margin` pushes no further.
    """
    p = answers.logps.exp()  # [T], the tokens of all answers
    tokens = -torch.log1p(-p.clamp(max=1 - 1e-4)) * (p > margin)
    return (answers.per_question(tokens) / answers.lengths).mean()  # [Q] -> []


METHOD = Method(
    "unlikelihood",
    forget=unlikelihood,  # minimised, with its gradient masked
    retain=retain_cross_entropy,  # lambda CE(retain), with an option `retain_weight`
    paper="Welleck et al. 2020, arXiv 1908.04319",
)
