"""Rows side by side: the inputs of a model's forward pass, as the model's own processor would batch them.

Shapes: B rows, L tokens, N images.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mmunlearner.batches.encoder import Encoder
from mmunlearner.batches.rows import Row
from mmunlearner.data import group_by

TOKEN_TYPES = "mm_token_type_ids"
"""The one field that does not change attention: it marks the tokens of images, for multi-dimensional positions. A
text's tokens are of type 0, so that rows without the field can share a pass with rows that have it."""

Padding = Callable[[Tensor, int], Tensor]
"""Pads [L, ...] with zeros to [length, ...], on one side."""


def pad_right(values: Tensor, length: int) -> Tensor:
    """Append zeros (training): [L, ...] -> [length, ...]."""
    return torch.cat([values, values.new_zeros(length - len(values), *values.shape[1:])])


def pad_left(values: Tensor, length: int) -> Tensor:
    """Prepend zeros (generation): [L, ...] -> [length, ...]."""
    return torch.cat([values.new_zeros(length - len(values), *values.shape[1:]), values])


def compatible_rows(rows: Sequence[Row]) -> list[list[int]]:
    """Return the numbers of the rows in groups that one forward pass can take: mostly all in one group."""
    # A field may say which token sees which image, or where a prompt ends: a row with it cannot share a pass with a row
    # that lacks it or has it in another shape (another number of images).

    def layout(number: int) -> frozenset[tuple[str, torch.Size]]:
        fields = rows[number].fields.items()
        return frozenset((name, values.shape[1:]) for name, values in fields if name != TOKEN_TYPES)

    return group_by(range(len(rows)), layout)


def padded_inputs(
    rows: Sequence[Row], encoder: Encoder, pad: Padding, names: Container[str] | None = None
) -> dict[str, Tensor]:
    """Return a row per question: input_ids and attention_mask [B, L], fields [B, L, ...], and the image inputs.

    `names` selects image inputs; None takes all.
    """
    lengths = [len(row.input_ids) for row in rows]
    length = max(lengths)
    ids = torch.stack([pad(torch.tensor(row.input_ids), length) for row in rows])
    # By length, not by token: the pad token may be the end token, which an answer needs to be seen.
    mask = torch.stack([pad(torch.ones(n, dtype=torch.long), length) for n in lengths])
    # Rows without a field get zeros, of the type and shape that another row has it in.
    samples = {name: values for row in rows for name, values in row.fields.items()}
    fields = {
        name: torch.stack([pad(row.fields.get(name, sample[:0]), length) for row in rows])
        for name, sample in samples.items()
    }
    return {
        "input_ids": ids.where(mask.bool(), encoder.pad_id),
        "attention_mask": mask,
        **fields,
        **image_inputs(rows, encoder, names),
    }


def prompt_inputs(rows: Sequence[Row], encoder: Encoder) -> dict[str, Tensor]:
    """Return the rows' prompts without their answers, padded on the left, as `model.generate` takes them."""
    prompts = [
        replace(
            row,
            input_ids=row.input_ids[: row.answer_start],
            fields={name: values[: row.answer_start] for name, values in row.fields.items()},
        )
        for row in rows
    ]
    return padded_inputs(prompts, encoder, pad_left)


def image_inputs(rows: Sequence[Row], encoder: Encoder, names: Container[str] | None = None) -> dict[str, Tensor]:
    """Return what the processor made of the rows' images (`pixel_values`, grids...), row after row, [N, ...].

    `names` selects some of it; None takes all.
    """
    images = [encoder.pixels(row.images) for row in rows if row.images]
    selected = [name for name in (images[0] if images else {}) if names is None or name in names]
    return {name: _concatenated([image[name] for image in images]) for name in selected}


def _concatenated(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate [n, ...] to [N, ...]; where images differ in size or in patches, fill with zeros as processors do."""
    shape = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    filled: list[Tensor] = []
    for tensor in tensors:
        missing = [longest - size for size, longest in zip(tensor.shape[1:], shape, strict=True)]
        # torch lists paddings from the last dimension on: (before, after) of the last, of the last but one, ...
        paddings = [n for count in reversed(missing) for n in (0, count)]
        filled.append(torch.nn.functional.pad(tensor, paddings) if any(missing) else tensor)
    return torch.cat(filled)
