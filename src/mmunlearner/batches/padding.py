"""Rows -> what a model's forward pass takes, as the model's own processor would batch them.

Shapes: B rows, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

import torch
from torch import Tensor

from mmunlearner.batches.encoder import Encoder
from mmunlearner.batches.rows import Row

TYPES = "mm_token_type_ids"
"""The one field that says nothing of attention: which tokens are images', from which multi-dimensional positions
follow. It is zero for a text's tokens."""

Side = Callable[[Tensor, int], Tensor]
"""[L, ...] -> [length, ...] with zeros."""


def right(values: Tensor, length: int) -> Tensor:
    """Padding behind: for training."""
    return torch.cat([values, values.new_zeros(length - len(values), *values.shape[1:])])


def left(values: Tensor, length: int) -> Tensor:
    """Padding before: for generation."""
    return torch.cat([values.new_zeros(length - len(values), *values.shape[1:]), values])


def alike(rows: Sequence[Row]) -> list[list[int]]:
    """Numbers of rows that a model can take in one pass: all, unless the attention of some follows from fields that
    the others have not, or of another shape (who sees which image, of how many; where a prompt ends).
    """
    kinds: dict[frozenset[tuple[str, torch.Size]], list[int]] = {}
    for i, row in enumerate(rows):
        kind = frozenset((name, values.shape[1:]) for name, values in row.fields.items() if name != TYPES)
        kinds.setdefault(kind, []).append(i)
    return list(kinds.values())


def plain(rows: Sequence[Row], encoder: Encoder, side: Side, taken: Container[str] | None = None) -> dict[str, Tensor]:
    """Rows as they are, padded on one side: input_ids and attention_mask [B, L], fields [B, L, ...], and what is
    `taken` of their images (None: everything).
    """
    lengths = [len(row.input_ids) for row in rows]
    length = max(lengths)
    ids = torch.stack([side(torch.tensor(row.input_ids), length) for row in rows])
    mask = torch.stack([side(torch.ones(n, dtype=torch.long), length) for n in lengths])
    examples = {name: values for row in rows for name, values in row.fields.items()}
    fields = {
        name: torch.stack([side(row.fields.get(name, some[:0]), length) for row in rows])
        for name, some in examples.items()
    }
    return {
        "input_ids": ids.where(mask.bool(), encoder.pad_id),
        "attention_mask": mask,
        **fields,
        **images(rows, encoder, taken),
    }


def images(rows: Sequence[Row], encoder: Encoder, taken: Container[str] | None = None) -> dict[str, Tensor]:
    """What the processor made of each row's images, one row after the other; where they differ in size, in number or
    in their number of patches, filled up with zeros behind, as processors do.
    """
    pictures = [encoder.pixels(row.images) for row in rows if row.images]
    names = [name for name in (pictures[0] if pictures else {}) if taken is None or name in taken]
    return {name: _together([picture[name] for picture in pictures]) for name in names}


def _together(tensors: Sequence[Tensor]) -> Tensor:
    shape = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    return torch.cat([_filled(tensor, shape) for tensor in tensors])


def _filled(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """[N, ...] -> [N, *shape]."""
    missing = [n for size, wanted in zip(tensor.shape[1:], shape, strict=True) for n in (wanted - size, 0)]
    return torch.nn.functional.pad(tensor, missing[::-1]) if any(missing) else tensor
