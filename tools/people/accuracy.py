"""How well a model knows the people: exact answers, by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from mmunlearner.batches import Encoder, answers, share_prefixes
from mmunlearner.data import Example

CHUNK = 120
"""Questions answered at once."""


def figures(encoder: Encoder, columns: Mapping[str, Sequence[Example]]) -> dict[str, float]:
    """Column -> fraction of items to which the model's greedy answer is the truth, word for word."""
    return {name: sum(hits) / len(hits) for name, items in columns.items() if (hits := right(encoder, items))}


@torch.inference_mode()
def right(encoder: Encoder, items: Sequence[Example]) -> list[bool]:
    """Whether each answer, its end included, is what greedy generation would say."""
    encoder.loaded.model.eval()
    rows = encoder.rows(items)
    hits: list[bool] = []
    for start in range(0, len(rows), CHUNK):
        said = answers(encoder.loaded.model, share_prefixes(rows[start : start + CHUNK], encoder))
        correct = said.per_question((said.logits.argmax(-1) == said.tokens).float())
        hits += (correct == said.lengths).tolist()
    return hits
