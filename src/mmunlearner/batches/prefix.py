"""Rows that share a sequence: what their common beginning is made of is computed once.

Whether a model allows that follows from its config and from what its processor says of tokens, never from its name.
Shapes: B sequences, L tokens, A axes of positions.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask

from mmunlearner.batches.encoder import Encoder
from mmunlearner.batches.padding import TYPES, images, plain, right
from mmunlearner.batches.rows import Row
from mmunlearner.models.attention import NAME as IN_PIECES

_log = logging.getLogger(__name__)
_CAUSAL = {"full_attention", "sliding_attention"}


@dataclass
class Joined:
    """Rows of one group as one sequence, in which those that see a token stand behind it in one run."""

    ids: list[int]
    sources: list[tuple[int, int]]
    """(row of the group, place in it) of each token."""
    ends: list[int]
    """Where the run of those that see a token ends."""
    places: list[list[int]]
    """For each row, the places whose logits predict its answer tokens."""


def may_share(rows: Sequence[Row], encoder: Encoder) -> bool:
    """Whether these rows come out of a shared sequence as they do alone; if not, the reason is logged once."""
    reason = obstacle(rows, encoder)
    if reason:
        _say(encoder.loaded.source, reason)
    return not reason


@cache
def _say(source: str, reason: str) -> None:
    _log.warning("%s: each question gets a row of its own, since %s", source, reason)


def obstacle(rows: Sequence[Row], encoder: Encoder) -> str:
    """Why these rows cannot share a sequence; empty if they can."""
    config = encoder.loaded.model.config
    text = config.get_text_config()
    attention = text._attn_implementation
    if attention not in _MASKS:
        return f"attention by {attention} takes no mask of ours"
    ruled = sorted({name for row in rows for name in row.fields} - {TYPES})
    if ruled:
        return f"its attention follows from {', '.join(ruled)}"
    kinds = set(getattr(text, "layer_types", None) or ())
    if kinds - _CAUSAL:
        return f"it has layers of {', '.join(sorted(kinds - _CAUSAL))}"
    window = getattr(text, "sliding_window", None) if not kinds or "sliding_attention" in kinds else None
    longest = max(len(row.input_ids) for row in rows)
    if window and longest > window:
        return f"its attention reaches {window} tokens back and a row has {longest}"
    return ""


def shared(groups: Sequence[Sequence[Row]], sequences: Sequence[Joined], encoder: Encoder) -> dict[str, Tensor]:
    """A forward pass's inputs: input_ids [B, L], attention_mask bool [B, 1, L, L], position_ids [B, L] or [A, B, L]."""
    length = max(len(sequence.ids) for sequence in sequences)

    def padded(values: Sequence[int], filler: int) -> list[int]:
        return [*values, *[filler] * (length - len(values))]

    ends = torch.tensor([padded(sequence.ends, length) for sequence in sequences])
    return {
        "input_ids": torch.tensor([padded(sequence.ids, encoder.pad_id) for sequence in sequences]),
        "attention_mask": ancestors(ends),
        "position_ids": _positions(groups, sequences, length, encoder),
        **images([group[0] for group in groups], encoder),
    }


def ancestors(ends: Tensor) -> Tensor:
    """bool [B, 1, L, L]: token i sees token j where j <= i < ends[j] (ends [B, L]).

    Padding ends with the sequence and sees itself, since a row that sees nothing would be NaN.
    """
    place = torch.arange(ends.shape[1], device=ends.device)
    return ((place[None, None, :] <= place[None, :, None]) & (place[None, :, None] < ends[:, None, :]))[:, None]


def for_model(inputs: Mapping[str, Tensor], model: Any) -> dict[str, Any]:
    """A pass's inputs, with its mask of a shared sequence as this model's attention takes it."""
    sees = inputs["attention_mask"]
    if sees.dtype != torch.bool:
        return dict(inputs)
    return {**inputs, "attention_mask": _MASKS[model.config.get_text_config()._attn_implementation](sees, model.dtype)}


def _added(sees: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill(~sees, torch.finfo(dtype).min)


def _blocks(sees: Tensor, _: torch.dtype) -> Any:
    """Blocks of 128 x 128 pairs of tokens; those in which no token sees another are not computed."""

    def mask(batch: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return sees[batch, 0, query, key]

    return create_block_mask(mask, len(sees), None, *sees.shape[-2:], device=sees.device)


_MASKS: Mapping[str, Callable[[Tensor, torch.dtype], Any]] = {
    "sdpa": lambda sees, _: sees, IN_PIECES: lambda sees, _: sees, "eager": _added, "flex_attention": _blocks
}  # fmt: skip
"""Attention -> its form of a mask bool [B, 1, L, L]: SDPA takes it as it is, eager attention adds it to the scores."""


def _positions(groups: Sequence[Sequence[Row]], sequences: Sequence[Joined], length: int, encoder: Encoder) -> Tensor:
    """Every token's position is the one that it has in its own row."""
    alone = rotary(list(chain.from_iterable(groups)), encoder)
    if alone is None:
        ours = [torch.tensor([place for _, place in sequence.sources]) for sequence in sequences]
        return torch.stack([right(each, length) for each in ours])
    first = 0
    made: list[Tensor] = []
    for group, sequence in zip(groups, sequences, strict=True):
        rows, places = torch.tensor(sequence.sources).T
        made.append(right(alone[:, first + rows, places].T, length))
        first += len(group)
    return torch.stack(made).movedim(-1, 0)


def rotary(rows: Sequence[Row], encoder: Encoder) -> Tensor | None:
    """Multi-dimensional rotary positions of plain rows by the model's own rule, [A, rows, longest row]; None where
    positions count tokens.
    """
    own: Any = getattr(encoder.loaded.model.base_model, "get_rope_index", None)
    if own is None:
        return None
    taken = inspect.signature(own).parameters
    inputs = plain(rows, encoder, right, taken)  # pixels are not: every row would have its own copy
    inputs.setdefault(TYPES, torch.zeros_like(inputs["input_ids"]))
    positions, _ = own(**{name: values for name, values in inputs.items() if name in taken})
    return positions
