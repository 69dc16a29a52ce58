"""Batches for inference alone: prefixes of any depth shared, and prompts padded on the left for generation.

Shapes: B sequences, L tokens, T answer tokens of all questions together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor

from mmunlearner.batches.batch import Batch, _for_attention, _images
from mmunlearner.batches.rows import Encoder, Row, common


@dataclass
class _Tree:
    """Rows as a tree of tokens in depth-first order, so that the descendants of a token stand behind it in one run."""

    ids: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    """Tokens before this one on its path: its position for the model."""
    ends: list[int] = field(default_factory=list)
    """Where the run of a token's descendants ends."""
    places: list[list[int]] = field(default_factory=list)
    """For each row, the places whose logits predict its answer tokens."""


def _grow(rows: Sequence[Row]) -> _Tree:
    """What each row's last token predicts is never asked, so that it is no part of the tree."""
    tree = _Tree(places=[[] for _ in rows])
    path: list[int] = []  # places of the tokens of the row before
    before: tuple[int, ...] = ()
    for number in sorted(range(len(rows)), key=lambda i: rows[i].input_ids):
        ids = rows[number].input_ids[:-1]
        shared = common(before, ids)
        for place in path[shared:]:
            tree.ends[place] = len(tree.ids)
        new = range(len(tree.ids), len(tree.ids) + len(ids) - shared)
        path[shared:] = new
        tree.ids += ids[shared:]
        tree.depths += range(shared, len(ids))
        tree.ends += [0] * len(new)
        tree.places[number] = path[rows[number].answer_start - 1 :]
        before = ids
    for place in path:
        tree.ends[place] = len(tree.ids)
    return tree


def tree(groups: Sequence[Sequence[Row]], encoder: Encoder) -> Batch:
    """One sequence per group of rows (of one image, or texts), in which every common beginning is computed once.

    Each token sees its own row up to itself, at the position that it has there: predictions are those of `pad` up to
    rounding. Questions are numbered through the groups in order.
    """
    trees = [_grow(group) for group in groups]
    length = max(len(t.ids) for t in trees)

    def padded(values: Sequence[int], filler: int) -> list[int]:
        return [*values, *[filler] * (length - len(values))]

    ends = torch.tensor([padded(t.ends, length) for t in trees])
    inputs = {
        "input_ids": torch.tensor([padded(t.ids, encoder.pad_id) for t in trees]),
        "attention_mask": _for_attention(ancestors(ends), encoder),
        "position_ids": torch.tensor([padded(t.depths, 0) for t in trees]),
        **_images([group[0] for group in groups], encoder),
    }
    rows = list(chain.from_iterable(groups))
    predicting = [[b * length + place for place in places] for b, t in enumerate(trees) for places in t.places]
    keep = torch.zeros(len(trees), length, dtype=torch.bool)
    places = torch.tensor(list(chain.from_iterable(predicting)))
    keep.view(-1)[places] = True
    rank = keep.view(-1).cumsum(0) - 1
    tokens = torch.tensor([token for row in rows for token in row.input_ids[row.answer_start :]])
    question = torch.arange(len(rows)).repeat_interleave(torch.tensor([len(p) for p in predicting]))
    return Batch(inputs, keep, rank[places], tokens, question, len(rows))


def ancestors(ends: Tensor) -> Tensor:
    """bool [B, 1, L, L]: token i sees token j where j <= i < ends[j] (ends [B, L]), in depth-first order."""
    place = torch.arange(ends.shape[1], device=ends.device)
    return ((place[None, None, :] <= place[None, :, None]) & (place[None, :, None] < ends[:, None, :]))[:, None]


def prompts(rows: Sequence[Row], encoder: Encoder) -> dict[str, Tensor]:
    """What the rows ask, padded on the left, for `model.generate`: input_ids and attention_mask [B, L], pixels."""
    length = max(row.answer_start for row in rows)
    missing = [length - row.answer_start for row in rows]
    asked = [row.input_ids[: row.answer_start] for row in rows]
    return {
        "input_ids": torch.tensor([[encoder.pad_id] * n + list(ids) for n, ids in zip(missing, asked, strict=True)]),
        "attention_mask": torch.tensor([[0] * n + [1] * (length - n) for n in missing]),
        **_images(rows, encoder),
    }
