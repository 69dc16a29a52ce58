"""Rows that share a sequence, so that their common tokens are computed once: a common prefix, or a tree.

Whether a model allows that follows from its config and from its processor's fields of tokens, never from its name.
Shapes: B sequences, L tokens, A axes of positions.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from mmunlearner.batches.encoder import Encoder
from mmunlearner.batches.padding import TOKEN_TYPES, image_inputs, pad_right, padded_inputs
from mmunlearner.batches.rows import Row, common_prefix_length, shared_prompt_length
from mmunlearner.models.attention import MASK_FORMS

_log = logging.getLogger(__name__)
_CAUSAL = {"full_attention", "sliding_attention"}


@dataclass
class SharedSequence:
    """Rows of one group in one sequence: a tree of tokens in depth-first order.

    A token sees its ancestors and itself; those that see it, its descendants, stand behind it in one run.
    """

    ids: list[int]
    sources: list[tuple[int, int]]
    """(number of a row in the group, position in that row) of each token."""
    ends: list[int]
    """For each token, the index at which the run of its descendants ends."""
    predictors: list[list[int]]
    """For each row, the indices of the tokens whose logits predict its answer."""


def shared_prefix(rows: Sequence[Row]) -> SharedSequence:
    """Return a tree with one fork: the prefix that all rows have in common, then the rest of each row as a block."""
    start = shared_prompt_length(rows)
    length = start + sum(len(row.input_ids) - start for row in rows)
    sequence = SharedSequence(
        ids=list(rows[0].input_ids[:start]),
        sources=[(0, i) for i in range(start)],
        ends=[length] * start,  # everything behind the prefix descends from it
        predictors=[],
    )
    for number, row in enumerate(rows):
        offset = len(sequence.ids) - start  # token i >= start of the row has index offset + i
        rest = range(start, len(row.input_ids))
        sequence.ids += row.input_ids[start:]
        sequence.sources += [(number, i) for i in rest]
        sequence.ends += [offset + len(row.input_ids)] * len(rest)
        # The token before predicts; before a row's first own token, that is the prefix's last, which rows share.
        sequence.predictors.append(
            [i - 1 if i == start else offset + i - 1 for i in range(row.answer_start, len(row.input_ids))]
        )
    return sequence


def prefix_tree(rows: Sequence[Row]) -> SharedSequence:
    """Return a tree that has every common prefix of the rows once, without each row's last token."""
    tree = SharedSequence([], [], [], [[] for _ in rows])
    path: list[int] = []  # indices of the tokens of the row before, from the root
    previous: tuple[int, ...] = ()
    # In sorted order, each row's longest common prefix with any row before it is that with the row just before.
    for number in sorted(range(len(rows)), key=lambda i: rows[i].input_ids):
        ids = rows[number].input_ids[:-1]  # nothing reads the prediction behind the last token
        common = common_prefix_length(previous, ids)
        for index in path[common:]:  # branches that this row leaves have got all their descendants
            tree.ends[index] = len(tree.ids)
        path[common:] = range(len(tree.ids), len(tree.ids) + len(ids) - common)
        tree.ids += ids[common:]
        tree.sources += [(number, depth) for depth in range(common, len(ids))]
        tree.ends += [0] * (len(ids) - common)  # known once a later row leaves the branch
        tree.predictors[number] = path[rows[number].answer_start - 1 :]
        previous = ids
    for index in path:
        tree.ends[index] = len(tree.ids)
    return tree


def can_share(rows: Sequence[Row], encoder: Encoder) -> bool:
    """Return whether a shared sequence gives these rows the same answers as alone; if not, log the reason once."""
    reason = obstacle(rows, encoder)
    if reason:
        _warn(encoder.loaded.source, reason)
    return not reason


@cache
def _warn(source: str, reason: str) -> None:
    _log.warning("%s: each question gets a row of its own, since %s", source, reason)


def obstacle(rows: Sequence[Row], encoder: Encoder) -> str:
    """Return why these rows cannot share a sequence; empty if they can."""
    text = encoder.loaded.model.config.get_text_config()
    attention = text._attn_implementation
    if attention not in MASK_FORMS:
        return f"attention by {attention} takes no mask of ours"
    fields = sorted({name for row in rows for name in row.fields} - {TOKEN_TYPES})
    if fields:
        return f"its attention follows from {', '.join(fields)}"
    layers = set(getattr(text, "layer_types", None) or ())
    if layers - _CAUSAL:
        return f"it has layers of {', '.join(sorted(layers - _CAUSAL))}"
    # Our mask takes the place of a sliding layer's and knows of no window: rows have to fit into it.
    window = getattr(text, "sliding_window", None) if not layers or "sliding_attention" in layers else None
    longest = max(len(row.input_ids) for row in rows)
    if window and longest > window:
        return f"its attention reaches {window} tokens back and a row has {longest}"
    return ""


def shared_inputs(
    groups: Sequence[Sequence[Row]], sequences: Sequence[SharedSequence], encoder: Encoder
) -> dict[str, Tensor]:
    """Return a sequence per group: input_ids [B, L], attention_mask bool [B, 1, L, L], position_ids [B, L] or
    [A, B, L], and the inputs of each group's images, once.
    """
    length = max(len(sequence.ids) for sequence in sequences)

    def padded(values: Sequence[int], filler: int) -> list[int]:
        return [*values, *[filler] * (length - len(values))]

    return {
        "input_ids": torch.tensor([padded(sequence.ids, encoder.pad_id) for sequence in sequences]),
        # Padding tokens see each other, and no other token sees them: attention that sees nothing would be NaN.
        "attention_mask": ancestor_mask(torch.tensor([padded(sequence.ends, length) for sequence in sequences])),
        "position_ids": _positions(groups, sequences, length, encoder),
        **image_inputs([group[0] for group in groups], encoder),
    }


def ancestor_mask(ends: Tensor) -> Tensor:
    """Return bool [B, 1, L, L]: query i sees key j where j <= i < ends[j], ends [B, L]."""
    index = torch.arange(ends.shape[1], device=ends.device)
    return ((index[None, None, :] <= index[None, :, None]) & (index[None, :, None] < ends[:, None, :]))[:, None]


def _positions(
    groups: Sequence[Sequence[Row]], sequences: Sequence[SharedSequence], length: int, encoder: Encoder
) -> Tensor:
    """Return each token's position in its own row, padded: [B, L], or [A, B, L] where positions have several axes."""
    # By the model's rule for the plain rows: a token in a shared sequence is where it would be alone.
    rotary = rotary_positions(list(chain.from_iterable(groups)), encoder)
    if rotary is None:
        positions = [torch.tensor([position for _, position in sequence.sources]) for sequence in sequences]
        return torch.stack([pad_right(values, length) for values in positions])
    first = 0  # number of the group's first row among the rows of all groups
    padded: list[Tensor] = []
    for group, sequence in zip(groups, sequences, strict=True):
        numbers, positions = torch.tensor(sequence.sources).T
        padded.append(pad_right(rotary[:, first + numbers, positions].T, length))
        first += len(group)
    return torch.stack(padded).movedim(-1, 0)


def rotary_positions(rows: Sequence[Row], encoder: Encoder) -> Tensor | None:
    """Return multi-dimensional rotary positions by the model's own rule, [A, rows, longest row].

    None where positions simply count tokens.
    """
    rule: Any = getattr(encoder.loaded.model.base_model, "get_rope_index", None)
    if rule is None:
        return None
    parameters = inspect.signature(rule).parameters
    # By name, so that no row gets a copy of its pixels: the rule asks for the grids alone.
    inputs = padded_inputs(rows, encoder, pad_right, parameters)
    # Texts alone have no token types, which the rule reads all the same.
    inputs.setdefault(TOKEN_TYPES, torch.zeros_like(inputs["input_ids"]))
    positions, _ = rule(**{name: values for name, values in inputs.items() if name in parameters})
    return positions
