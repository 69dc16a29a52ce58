"""Accuracy of a model on the people: exact answers, by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from mmunlearner.batches import Encoder, answers, share_prefixes
from mmunlearner.data import Example

CHUNK = 120
"""Questions in a batch."""


def accuracy(encoder: Encoder, columns: Mapping[str, Sequence[Example]]) -> dict[str, float]:
    """Return column -> fraction of items whose greedy answer is the target, word for word."""
    correct = {name: exact_answers(encoder, items) for name, items in columns.items()}
    return {name: sum(hits) / len(hits) for name, hits in correct.items() if hits}


@torch.inference_mode()
def exact_answers(encoder: Encoder, items: Sequence[Example]) -> list[bool]:
    """Return a truth value per item: greedy generation would give the target, including its end."""
    encoder.loaded.model.eval()
    rows = encoder.rows(items)
    exact: list[bool] = []
    for start in range(0, len(rows), CHUNK):
        output = answers(encoder.loaded.model, share_prefixes(rows[start : start + CHUNK], encoder))
        # One forward pass instead of generation: each token is predicted after the true ones before it, so if all are
        # right, greedy decoding gives the same tokens.
        correct = output.per_question((output.logits.argmax(-1) == output.tokens).float())
        exact += (correct == output.lengths).tolist()
    return exact
