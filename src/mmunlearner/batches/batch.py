"""Rows -> the tensors of a model's forward passes: plain, or with what rows have in common computed once.

Shapes: B sequences, L tokens, Q questions (rows), T answer tokens of all questions together, K positions with logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import Any

import torch
from torch import Tensor

from mmunlearner.batches.encoder import Encoder
from mmunlearner.batches.padding import compatible_rows, pad_right, padded_inputs
from mmunlearner.batches.prefix import SharedSequence, can_share, prefix_tree, shared_inputs, shared_prefix
from mmunlearner.batches.rows import Row
from mmunlearner.data import group_by

TEXTS_PER_SEQUENCE = 8
"""Texts that share a sequence where the caller does not say which do."""


@dataclass(frozen=True)
class ForwardInputs:
    """Inputs of one forward pass."""

    inputs: dict[str, Tensor]
    """For the model: input_ids [B, L], attention_mask [B, L], or bool [B, 1, L, L] of shared sequences
    (`attention.mask_for`), pixel_values..."""
    keep: Tensor
    """bool [B, L]: positions whose logits are computed."""

    def to(self, device: torch.device | str, **kwargs: Any) -> ForwardInputs:
        """Return the same inputs on another device."""
        inputs = {name: values.to(device, **kwargs) for name, values in self.inputs.items()}
        return ForwardInputs(inputs, self.keep.to(device, **kwargs))


@dataclass(frozen=True)
class Batch:
    """Q questions in as few forward passes as the model allows, and where in them their answers are predicted."""

    passes: tuple[ForwardInputs, ...]
    """One, except where a model cannot take texts beside images; K positions are kept in all of them together."""
    index: Tensor
    """int [T]: for each answer token, the number of the kept position that predicts it, of K."""
    tokens: Tensor
    """int [T]: the answer tokens, question by question."""
    question: Tensor
    """int [T]: the number of the question that a token belongs to; ascending."""
    count: int
    """Q."""
    images: tuple[tuple[str, ...], ...] = ()
    """Keys of the images in the passes, for each sequence that has any, in their order."""

    def to(self, device: torch.device | str, **kwargs: Any) -> Batch:
        """Return the same batch on another device (accelerate looks for a method of this name)."""
        tensors = {name: getattr(self, name).to(device, **kwargs) for name in ("index", "tokens", "question")}
        return replace(self, passes=tuple(inputs.to(device, **kwargs) for inputs in self.passes), **tensors)

    @property
    def size(self) -> int:
        """Tokens that the model reads, padding included."""
        return sum(inputs.keep.numel() for inputs in self.passes)


def pad(rows: Sequence[Row], encoder: Encoder) -> Batch:
    """Return the plain batch: a sequence per question, padded on the right, each with its own images."""
    return _assemble([[row] for row in rows], [[i] for i in range(len(rows))], encoder, None)


def share_prefixes(rows: Sequence[Row], encoder: Encoder, groups: Sequence[Sequence[int]] = ()) -> Batch:
    """Return the same questions in shared sequences: the prefix that rows of the same images share is computed once.

    `groups` has the numbers of the rows that share a sequence; by default those of the same images, and texts in
    eights.

    Behind the prefix each question sees the prefix and itself (a block attention mask), and its positions continue
    from the end of the prefix, so that losses and gradients are those of `pad` up to rounding. Rows whose attention
    does not allow that are batched plainly (`can_share`).
    """
    # Changing which texts share a sequence would change rounding, and with it the bits of every training.
    order = groups or group_by(range(len(rows)), lambda i: rows[i].subject(str(i // TEXTS_PER_SEQUENCE)))
    return _assemble([[rows[i] for i in group] for group in order], order, encoder, shared_prefix)


def tree(groups: Sequence[Sequence[Row]], encoder: Encoder) -> Batch:
    """Return a sequence per group of rows (of the same images, or texts), in which every common prefix is computed
    once.

    Each token sees its own row up to itself, at the position that it has there: predictions are those of `pad` up to
    rounding. Questions are numbered through the groups in order. Rows whose attention does not allow that are batched
    plainly.
    """
    number = count()
    return _assemble(groups, [[next(number) for _ in group] for group in groups], encoder, prefix_tree)


def _assemble(
    groups: Sequence[Sequence[Row]],
    order: Sequence[Sequence[int]],
    encoder: Encoder,
    join: Callable[[Sequence[Row]], SharedSequence] | None,
) -> Batch:
    """Return the batch of these groups; `order` numbers the questions, `join` makes a group one sequence.

    Rows that the model cannot take beside each other get passes of their own; where they cannot share a sequence, or
    without `join`, each row is one.
    """
    passes: list[ForwardInputs] = []
    predictors: dict[
        int, tuple[Row, list[int]]
    ] = {}  # question -> numbers of the kept positions that predict its answer
    offset, images = 0, []  # of the kept positions in earlier passes; keys of images
    for compatible in compatible_rows([group[0] for group in groups]):
        members = [groups[i] for i in compatible]
        rows = list(chain.from_iterable(members))
        if join is not None and can_share(rows, encoder):
            sequences = [join(group) for group in members]
            inputs, with_images = shared_inputs(members, sequences, encoder), [group[0] for group in members]
            positions = [(b, indices) for b, sequence in enumerate(sequences) for indices in sequence.predictors]
        else:
            inputs, with_images = padded_inputs(rows, encoder, pad_right), rows
            # The token before an answer token predicts it.
            positions = [(b, list(range(row.answer_start - 1, len(row.input_ids) - 1))) for b, row in enumerate(rows)]
        keep, ranks = _keep(positions, inputs["input_ids"].shape)
        numbers = chain.from_iterable(order[i] for i in compatible)
        for number, row, local in zip(numbers, rows, ranks, strict=True):
            predictors[number] = row, [offset + rank for rank in local]
        offset += int(keep.sum())
        passes.append(ForwardInputs(inputs, keep))
        images += [row.group for row in with_images if row.images]
    # Passes change the order of the questions; the batch has them in the caller's.
    questions = [predictors[number] for number in range(len(predictors))]
    return Batch(
        passes=tuple(passes),
        index=torch.tensor([rank for _, ranks in questions for rank in ranks]),
        tokens=torch.tensor([token for row, _ in questions for token in row.answer]),
        question=torch.arange(len(questions)).repeat_interleave(torch.tensor([len(ranks) for _, ranks in questions])),
        count=len(questions),
        images=tuple(images),
    )


def _keep(positions: Sequence[tuple[int, list[int]]], shape: torch.Size) -> tuple[Tensor, list[list[int]]]:
    """Return a mask bool [B, L] of all positions, and for each row's (sequence, indices) their ranks in the mask."""
    # Ranks, since rows may share a position (the prefix's last token predicts each row's first answer token): it is
    # kept once, and its rank is there twice.
    keep = torch.zeros(shape, dtype=torch.bool)
    flat = [[sequence * shape[1] + index for index in indices] for sequence, indices in positions]
    keep.view(-1)[torch.tensor(list(chain.from_iterable(flat)))] = True
    rank = (keep.view(-1).cumsum(0) - 1).tolist()
    return keep, [[rank[index] for index in indices] for indices in flat]
