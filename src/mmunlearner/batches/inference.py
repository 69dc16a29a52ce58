"""Batches for inference alone: prefixes of any depth shared, and prompts padded on the left for generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from torch import Tensor

from mmunlearner.batches.batch import Batch, assemble
from mmunlearner.batches.encoder import Encoder
from mmunlearner.batches.padding import left, plain
from mmunlearner.batches.prefix import Joined
from mmunlearner.batches.rows import Row, common


def tree(groups: Sequence[Sequence[Row]], encoder: Encoder) -> Batch:
    """One sequence per group of rows (of the same images, or texts), in which every common beginning is computed once.

    Each token sees its own row up to itself, at the position that it has there: predictions are those of `pad` up to
    rounding. Questions are numbered through the groups in order. Rows whose attention does not allow that are batched
    plainly.
    """
    number = count()
    return assemble(groups, [[next(number) for _ in group] for group in groups], encoder, _grow)


def _grow(rows: Sequence[Row]) -> Joined:
    """Rows as a tree of tokens in depth-first order, so that the descendants of a token stand behind it in one run.

    What each row's last token predicts is never asked, so that it is no part of the tree.
    """
    tree = Joined([], [], [], [[] for _ in rows])
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
        tree.sources += [(number, depth) for depth in range(shared, len(ids))]
        tree.ends += [0] * len(new)
        tree.places[number] = path[rows[number].answer_start - 1 :]
        before = ids
    for place in path:
        tree.ends[place] = len(tree.ids)
    return tree


def prompts(rows: Sequence[Row], encoder: Encoder) -> dict[str, Tensor]:
    """What the rows ask, padded on the left, for `model.generate`: input_ids and attention_mask [B, L], pixels..."""
    return plain([_asking(row) for row in rows], encoder, left)


def _asking(row: Row) -> Row:
    start = row.answer_start
    return replace(
        row, input_ids=row.input_ids[:start], fields={name: values[:start] for name, values in row.fields.items()}
    )
